package main

import (
	"context"
	_ "embed"
	"flag"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

// The scripts know nothing of tokenctl but the verb __complete, which completes
// from the same tables that the command lines are read with.
var (
	//go:embed completion/tokenctl.bash
	completionBash string
	//go:embed completion/tokenctl.zsh
	completionZsh string
	//go:embed completion/tokenctl.fish
	completionFish string
)

// completionWait is how long a person who pressed Tab waits for the daemon at most.
const completionWait = time.Second

// elsewhere in the place of the words says that the shell knows better: what
// follows is the name of a file, or the command line of another program.
const (
	aFile    = ":file"
	aCommand = ":command"
)

func shells() map[string]string {
	return map[string]string{"bash": completionBash, "zsh": completionZsh, "fish": completionFish}
}

func (c *call) completion() error {
	script, ok := shells()[c.names[0]]
	if !ok {
		return usagef("tokenctl completion --help", "there is no completion for %q; there are bash, zsh and fish", c.names[0])
	}
	c.out.WriteString(script)
	return nil
}

// complete prints the words that fit in the place of the last one, a line each.
// The others are those between tokenctl and it.
func (c *call) complete() error {
	if len(c.names) == 0 {
		return nil
	}
	last := len(c.names) - 1
	current := c.names[last]
	for _, word := range c.candidates(c.names[:last], current) {
		if word == aFile || word == aCommand || strings.HasPrefix(word, current) {
			c.out.WriteString(clean(word) + "\n")
		}
	}
	return nil
}

// candidates are the words that may stand after those given.
func (c *call) candidates(before []string, current string) []string {
	var (
		line options
		v    = &verb{}
		fs   = newFlags("", &line, nil)
		args []string
	)
	for i := 0; i < len(before); i++ {
		word := before[i]
		switch name, takes := flagged(fs, word); {
		case word == "--" && v.wraps():
			return []string{aCommand}
		case takes && i == len(before)-1:
			return values(name)
		case takes:
			i++
			_ = fs.Set(name, before[i]) // a bad one is not ours to tell
		case strings.HasPrefix(word, "-"):
			if name, value, ok := strings.Cut(strings.TrimLeft(word, "-"), "="); ok {
				_ = fs.Set(name, value)
			}
		case v.name == "":
			found, err := findVerb(word)
			if err != nil {
				return nil
			}
			v, fs = found, newFlags(found.name, &line, found.flags)
		default:
			args = append(args, word)
		}
	}
	switch {
	case strings.HasPrefix(current, "-"):
		return flagNames(fs, v)
	case v.name == "":
		return verbNames()
	case len(args) >= v.max:
		return nil
	}
	c.opt = line
	return c.arguments(v, args)
}

// flagged says whether the word is a flag that takes the next word as its value.
func flagged(fs *flag.FlagSet, word string) (name string, takes bool) {
	if !strings.HasPrefix(word, "-") || strings.Contains(word, "=") {
		return "", false
	}
	name = strings.TrimPrefix(strings.TrimPrefix(word, "-"), "-")
	f := fs.Lookup(name)
	if f == nil {
		return "", false
	}
	boolean, ok := f.Value.(interface{ IsBoolFlag() bool })
	return name, !ok || !boolean.IsBoolFlag()
}

// values are those of a flag.
func values(name string) (words []string) {
	switch name {
	case "o":
		for _, f := range formats() {
			words = append(words, f.name)
		}
	case "socket":
		return []string{aFile}
	case "rejected-token":
		return []string{"-"}
	}
	return words
}

func flagNames(fs *flag.FlagSet, v *verb) []string {
	words := []string{"--help"}
	fs.VisitAll(func(f *flag.Flag) { words = append(words, dashed(f.Name)) })
	if v.wraps() {
		words = append(words, "--")
	}
	return words
}

func verbNames() (words []string) {
	for _, v := range verbs() {
		if !v.hidden() {
			words = append(words, v.name)
		}
	}
	return words
}

// arguments are the words that the verb takes next; names are asked of the daemon,
// and there are none where it does not answer.
func (c *call) arguments(v *verb, have []string) (words []string) {
	switch {
	case v.name == "help":
		return verbNames()
	case v.name == "completion":
		return []string{"bash", "zsh", "fish"}
	case !strings.Contains(v.args, "NAME") || v.max < many && len(have) > 0:
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completionWait)
	defer cancel()
	client := api.Client{Sockets: api.Sockets(c.opt.socket, os.Getenv)}
	list, _ := client.Credentials(ctx) // nobody looks at errors while typing
	for _, s := range list {
		if !slices.Contains(have, s.Name) {
			words = append(words, s.Name)
		}
	}
	return words
}
