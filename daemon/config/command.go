package config

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokend-project/tokend/providers"
)

const (
	commandsAtOnce = 8
	commandTime    = 10 * time.Second
	maxComplaint   = 4 << 10 // bytes of standard error that are looked at
)

// commandEnv is all of tokend's environment that a command gets.
var commandEnv = [...]string{"PATH", "HOME", "LANG", "TZ", "CREDENTIALS_DIRECTORY"}

// argv reads a command. No argument of it is in a message: there may be secrets
// among them.
func (c *checker) argv(at string, n *node) (argv []string, ok bool) {
	const form = `["/usr/bin/pass", "show", "broker"]`
	if n.kind != anArray || len(n.items) == 0 {
		c.problem(n.off, at, "must be an array of the program and its arguments, such as %s", form)
		return nil, false
	}
	before := c.count()
	for i, item := range n.items {
		switch {
		case item.kind != aString:
			c.problem(item.off, at, "must be an array of strings such as %s, not of %v", form, item.kind)
		case strings.ContainsRune(item.text, 0):
			c.problem(item.off, at, "no argument can hold a null character")
		case i == 0 && item.text == "":
			c.problem(item.off, at, "must begin with the program")
		case i == 0 && strings.Contains(item.text, "/") && !filepath.IsAbs(item.text):
			c.problem(item.off, at, "the program must be an absolute path, or a name that is looked up in PATH")
		}
		argv = append(argv, item.text)
	}
	return argv, c.count() == before
}

// lookFor warns of a program that is not there, which it may be when it is run.
func (c *checker) lookFor(s located) {
	if _, err := program(s.argv[0]); err != nil {
		c.warn(s.node.off, s.at, "%v", err)
	}
}

// program finds the program, in tokend's PATH if it is no path itself.
func program(name string) (path string, err error) {
	path, err = exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case filepath.IsAbs(name):
		return "", fmt.Errorf("%s: %w", showPath(name), lookCause(err))
	}
	return "", errors.New("the program is in no directory of tokend's PATH: give its absolute path")
}

// lookCause is the error without the path, which the message names itself.
func lookCause(err error) error {
	if lookErr, ok := errors.AsType[*exec.Error](err); ok {
		err = lookErr.Err
	}
	if errors.Is(err, os.ErrNotExist) {
		return errors.New("there is no such program")
	}
	return cause(err)
}

// commands runs commands, so many at a time.
type commands struct {
	slots chan struct{}
	limit time.Duration // of one command
}

// run is what the command prints. It has a session of its own, so that it finds no
// terminal to ask on. Its errors show what it complained of, cut and without what it
// printed.
func (c *commands) run(ctx context.Context, argv []string) (providers.Secret, error) {
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return providers.Secret{}, fmt.Errorf("waiting for other commands to end: %w", ctx.Err())
	}
	path, err := program(argv[0])
	if err != nil {
		return providers.Secret{}, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, c.limit, fmt.Errorf("it was not done within %v", c.limit))
	defer cancel()
	stdout, stderr, err := output(ctx, &exec.Cmd{
		Path: path, Args: argv, Env: environment(), Dir: "/",
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	})
	if err != nil {
		return providers.Secret{}, fmt.Errorf("%s: %w%s", showPath(path), err, said(stderr, stdout))
	}
	secret, err := secretOf(string(stdout))
	if err != nil {
		return providers.Secret{}, fmt.Errorf("%s: what it printed cannot be used: %w%s", showPath(path), err, said(stderr, stdout))
	}
	return secret, nil
}

func environment() []string {
	env := make([]string, 0, len(commandEnv)) // nil would stand for all of it
	for _, name := range commandEnv {
		if value, set := os.LookupEnv(name); set {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// output starts the command and waits until it has ended and nobody has its output
// open any more, as $(…) in a shell does. Then, or when ctx ends, what is left of its
// process group is killed.
func output(ctx context.Context, cmd *exec.Cmd) (stdout, stderr []byte, err error) {
	out, errs, err := start(cmd)
	if err != nil {
		return nil, nil, err
	}
	defer out.Close()
	defer errs.Close()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var reading sync.WaitGroup
	reading.Go(func() {
		stdout, _ = io.ReadAll(io.LimitReader(out, maxSecret+1)) // up to an error is all there is
		if len(stdout) > maxSecret {
			stop(fmt.Errorf("it printed more than %s", size(maxSecret)))
		}
	})
	reading.Go(func() {
		stderr, _ = io.ReadAll(io.LimitReader(errs, maxComplaint))
		_, _ = io.Copy(io.Discard, errs) // or it would wait for us
	})
	ended, killed, result := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	go func() {
		awaitExit(cmd.Process.Pid)
		reading.Wait()
		close(ended)
		<-killed
		result <- cmd.Wait()
	}()
	select {
	case <-ended:
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	// Its number is the group's, and nobody else's before it is waited for. Whoever
	// cannot be killed, in a disk that hangs, is not waited for here.
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	close(killed)
	if err == nil {
		err = <-result
	}
	// Who left the group may have the pipes open still.
	_, _ = out.SetReadDeadline(time.Unix(1, 0)), errs.SetReadDeadline(time.Unix(1, 0))
	reading.Wait()
	return stdout, stderr, err
}

// start starts the command with pipes for what it prints. It inherits no descriptor
// beside those, not even one that tokend itself was started with.
func start(cmd *exec.Cmd) (out, errs *os.File, err error) {
	out, outEnd, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	errs, errsEnd, err := os.Pipe()
	if err != nil {
		return nil, nil, errors.Join(err, out.Close(), outEnd.Close())
	}
	_ = unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC) // Linux 5.11; without, Go's own care has to do
	cmd.Stdout, cmd.Stderr = outEnd, errsEnd
	err = cmd.Start()
	outEnd.Close()
	errsEnd.Close()
	if err != nil {
		return nil, nil, errors.Join(cause(err), out.Close(), errs.Close())
	}
	return out, errs, nil
}

// awaitExit waits until the process has ended, and leaves it there to be waited for.
func awaitExit(pid int) {
	for errors.Is(unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil), unix.EINTR) {
	}
}

// said is the first line of a program's complaints, as the end of a message. What
// the program printed is the secret, or part of it: a complaint that repeats that is
// not shown.
func said(stderr, stdout []byte) string {
	var secrets []providers.Secret
	for line := range strings.Lines(string(stdout)) {
		if line = strings.TrimSpace(line); len(line) >= 4 {
			secrets = append(secrets, providers.NewSecret(line))
		}
	}
	for line := range strings.Lines(strings.ToValidUTF8(string(stderr), "?")) {
		if line = strings.TrimSpace(providers.Clean(line, secrets...)); line != "" {
			return ": " + strconv.Quote(line)
		}
	}
	return ""
}
