package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/tokend-project/tokend/daemon/api"
)

// Exit codes of tokenctl exec beside those of the command; env, nice and shells
// have the same.
const (
	exitWrapper  = 125 // tokenctl itself failed
	exitNotRun   = 126 // the command is there and cannot be run
	exitNotFound = 127 // the command is not there
)

// notRun says that the command could not be started.
type notRun struct {
	code int
	text string
}

func (n *notRun) Error() string { return n.text }

// exec becomes the command (execve(2)), once every token is there. Nothing of
// tokenctl stays: each signal reaches the command, with its process id and its
// terminal, its end is ours, and systemd sees its main process.
func (c *call) exec() error {
	const help = "tokenctl exec --help"
	if len(c.argv) == 0 {
		return usagef(help, "exec needs -- and a command after the names")
	}
	variables := map[string]string{} // and the names that they are of
	for _, name := range c.names {
		v, err := variable(name)
		if err != nil {
			return err
		}
		if first, taken := variables[v]; taken {
			return usagef(help, "%s and %s would both be %s", first, name, v)
		}
		variables[v] = name
	}
	tokens, err := c.tokens()
	if err != nil {
		return err
	}
	var env []string
	for _, have := range os.Environ() {
		if name, _, _ := strings.Cut(have, "="); variables[name] == "" {
			env = append(env, have)
		}
	}
	for v, name := range variables {
		value, err := environmental(tokens[name])
		if err != nil {
			return err
		}
		env = append(env, v+"="+value)
	}
	return become(c.argv, env)
}

// variable is the name of the environment variable for a credential's token.
func variable(name string) (string, error) {
	if name != "" && name[0] >= '0' && name[0] <= '9' {
		return "", usagef("tokenctl exec --help", "%s begins with a digit, and a variable cannot", name)
	}
	return strings.ToUpper(strings.ReplaceAll(name, "-", "_")) + "_TOKEN", nil
}

// environmental is the token, if it can be in an environment.
func environmental(t *api.Token) (string, error) {
	if strings.Contains(t.Token, "\x00") {
		return "", api.Errorf(api.CodeInternal, "the token has a zero byte, which no variable can hold").For(t.Name)
	}
	return t.Token, nil
}

// tokens asks for all at once, since each may have to be waited for. Every problem
// but the last is reported here.
func (c *call) tokens() (map[string]*api.Token, error) {
	client := api.Client{Sockets: c.client.Sockets} // without what remembers one answer
	var (
		all   sync.WaitGroup
		mu    sync.Mutex
		got   = map[string]*api.Token{}
		wrong = map[string]error{}
	)
	for _, name := range c.names {
		all.Go(func() {
			t, err := client.Token(c.ctx, name, api.TokenOptions{MinTTL: c.opt.minTTL.pointer(), Wait: c.opt.wait.pointer()})
			mu.Lock()
			defer mu.Unlock()
			if got[name] = t; err != nil {
				wrong[name] = err
			}
		})
	}
	all.Wait()
	var last error
	for _, name := range c.names {
		err := wrong[name]
		switch {
		case err == nil || last != nil && err.Error() == last.Error(): // the same for all: no daemon
		case last != nil:
			report(last)
			last = err
		default:
			last = err
		}
	}
	return got, last
}

// become runs the command in our place; it returns if that fails. A name without a
// slash is looked for in PATH, as shells do.
func become(argv, env []string) error {
	var paths []string
	switch {
	case strings.Contains(argv[0], "/"):
		paths = []string{argv[0]}
	case argv[0] != "":
		for dir := range strings.SplitSeq(cmp.Or(os.Getenv("PATH"), "/usr/bin:/bin"), ":") {
			paths = append(paths, cmp.Or(dir, ".")+"/"+argv[0])
		}
	}
	failed := error(syscall.ENOENT)
	for _, path := range paths {
		err := syscall.Exec(path, argv, env)
		switch {
		case errors.Is(err, syscall.ENOENT) || errors.Is(err, syscall.ENOTDIR):
		case errors.Is(err, syscall.EACCES) && path != argv[0]:
			if isFile(path) { // and not in a directory that is closed to us
				failed = err // unless another directory has one that can be run
			}
		case errors.Is(err, syscall.E2BIG):
			return tooBig(argv, env)
		default:
			return &notRun{exitNotRun, argv[0] + ": " + err.Error()}
		}
	}
	switch {
	case !errors.Is(failed, syscall.ENOENT):
		return &notRun{exitNotRun, argv[0] + ": " + failed.Error()}
	case strings.Contains(argv[0], "/"):
		return &notRun{exitNotFound, argv[0] + ": " + failed.Error()}
	}
	return &notRun{exitNotFound, quoted(argv[0]) + ": command not found"}
}

// tooBig says what of the command line and the environment the kernel may not take:
// all together, or one text of 128 KiB and more (execve(2)).
func tooBig(argv, env []string) error {
	all, longest := 0, ""
	for _, text := range slices.Concat(argv, env) {
		all += len(text) + 1
		if len(text) > len(longest) {
			longest = text
		}
	}
	what := "an argument"
	if name, _, ok := strings.Cut(longest, "="); ok && slices.Contains(env, longest) {
		what = "the variable " + name // its value may be a token
	}
	return &notRun{exitNotRun, fmt.Sprintf("%s: %v: the arguments and the environment have %d bytes, %d of them in %s",
		argv[0], syscall.E2BIG, all, len(longest), what)}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && !info.IsDir()
}
