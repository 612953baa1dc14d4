// Command tokenctl asks tokend for tokens, and tells it what to do with them.
//
// A script pays for its start each time it needs a token, so it links neither
// net/http nor anything else that works before main. The verbs are rows of one
// table (verbs.go); what they print is made in print.go.
//
// Its voice: what was asked for goes to standard output, in one write. All else
// goes to standard error, each line after "tokenctl: ", in lower case and without
// a full stop; what to do about it is a line of its own that begins with "hint: ".
package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

// version is set by the linker (-X main.version=v1.2.3) where the build does not
// know it from the module.
var version string

// patience is how long a call may take beyond the wait that the daemon was asked for.
const patience = 30 * time.Second

// verb is a row of the table.
type verb struct {
	name, args, help string
	min, max         int // how many NAMEs
	flags            []option
	run              func(*call) error
}

// wraps says whether the verb runs another command, which follows "--".
func (v *verb) wraps() bool { return strings.Contains(v.args, " -- ") }

// hidden says whether the verb is for programs alone.
func (v *verb) hidden() bool { return v.help == "" }

// option adds one flag to a verb.
type option func(*flag.FlagSet, *options)

// options are the values of all flags.
type options struct {
	socket, output, fingerprint, rejected string
	json                                  bool
	timeout, minTTL, wait                 duration
}

// call is one run of a verb.
type call struct {
	ctx    context.Context
	opt    options
	flags  *flag.FlagSet // of the verb, parsed
	names  []string
	argv   []string // of the command to run
	wraps  bool     // the exit code is that of another command, and ours is 125
	client *api.Client
	raw    []byte       // the last answer, as the socket gave it
	out    bytes.Buffer // for standard output
	notes  []string     // for standard error, below what went to standard output
}

// exitCode is an error that needs no words.
type exitCode int

func (exitCode) Error() string { return "" }

func main() {
	os.Exit(run(os.Args[1:]))
}

func run(args []string) int {
	c := &call{}
	err := c.dispatch(args)
	if err == nil {
		err = writeOut(c.out.Bytes())
	}
	for _, note := range c.notes {
		say(note)
	}
	if err == nil {
		return 0
	}
	code := report(err)
	if _, ours := errors.AsType[*notRun](err); c.wraps && !ours {
		return exitWrapper
	}
	return code
}

// dispatch runs the verb of the command line.
func (c *call) dispatch(args []string) error {
	fs := newFlags("tokenctl", &c.opt, nil)
	switch err := fs.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		c.out.Write(overview())
		return nil
	case err != nil:
		c.wraps = slices.Contains(args, "exec") // the verb comes after what could not be read
		return badFlag(err, fs, "tokenctl --help")
	case fs.NArg() == 0:
		return usagef("tokenctl --help", "which verb?")
	}
	v, err := findVerb(fs.Arg(0))
	if err != nil {
		return err
	}
	rest := fs.Args()[1:]
	if c.wraps = v.wraps(); c.wraps {
		if i := slices.Index(rest, "--"); i >= 0 {
			rest, c.argv = rest[:i], rest[i+1:]
		}
	}
	fs = newFlags(v.name, &c.opt, v.flags)
	help := "tokenctl " + v.name + " --help"
	c.names, err = parse(fs, rest)
	c.flags = fs
	switch {
	case errors.Is(err, flag.ErrHelp):
		c.out.Write(describe(v, fs))
		return nil
	case err != nil:
		return badFlag(err, fs, help)
	case c.opt.timeout.set && c.opt.timeout.d == 0:
		return usagef(help, "--timeout 0 leaves no time for an answer")
	case len(c.names) < v.min:
		return usagef(help, "%s needs %s", v.name, v.args)
	case len(c.names) > v.max:
		return usagef(help, "%s has no use for %q", v.name, c.names[v.max])
	}
	return c.do(v)
}

// given says whether the verb's flag was set, though it may be to nothing.
func (c *call) given(name string) (set bool) {
	c.flags.Visit(func(f *flag.Flag) { set = set || f.Name == name })
	return set
}

func (c *call) do(v *verb) error {
	c.client = &api.Client{
		Sockets: api.Sockets(c.opt.socket, os.Getenv),
		Raw:     func(answer []byte) { c.raw = answer },
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.limit())
	defer cancel()
	c.ctx = ctx
	return v.run(c)
}

// limit is how long one call may take.
func (c *call) limit() time.Duration {
	switch {
	case c.opt.timeout.set:
		return c.opt.timeout.d
	case c.opt.wait.set:
		return patience + c.opt.wait.d
	}
	return patience + 10*time.Second // the daemon's default wait
}

// endless is the context of a verb that nothing but --timeout ends.
func (c *call) endless() (context.Context, context.CancelFunc) {
	if c.opt.timeout.set {
		return context.WithTimeout(context.Background(), c.opt.timeout.d)
	}
	return context.WithCancel(context.Background())
}

// newFlags makes the flags of a verb; those of every verb may also stand before it.
func newFlags(name string, o *options, more []option) *flag.FlagSet {
	fs := flag.NewFlagSet(name, flag.ContinueOnError)
	fs.SetOutput(io.Discard)
	fs.Usage = func() {}
	fs.StringVar(&o.socket, "socket", o.socket, "use the daemon at this `PATH`, a path or unix://PATH")
	fs.BoolVar(&o.json, "json", o.json, "print the daemon's own JSON")
	fs.Var(&o.timeout, "timeout", "give up after `D`, say 2s or 1m; 30s beyond --wait if unset")
	for _, add := range more {
		add(fs, o)
	}
	return fs
}

// parse reads flags on both sides of the names, where package flag stops at the
// first name. After "--" all are names.
func parse(fs *flag.FlagSet, args []string) (names []string, err error) {
	for {
		if err := fs.Parse(args); err != nil {
			return nil, err
		}
		left := fs.Args()
		if len(left) == 0 {
			return names, nil
		}
		if used := len(args) - len(left); used > 0 && args[used-1] == "--" {
			return append(names, left...), nil
		}
		names, args = append(names, left[0]), left[1:]
	}
}

// badFlag puts an error of package flag into our words.
func badFlag(err error, fs *flag.FlagSet, help string) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var known []string
		fs.VisitAll(func(f *flag.Flag) { known = append(known, f.Name) })
		name = strings.TrimPrefix(name, "-")
		return usagef(help, "unknown flag %s%s", dashed(name), didYouMean(name, known, dashed))
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return usagef(help, "%s needs a value", dashed(name))
	}
	return usagef(help, "%s", text)
}

func usagef(help, format string, args ...any) error {
	return api.Errorf(api.CodeUsage, format, args...).WithHint("see %s", help)
}

// duration is a flag that knows whether it was given.
type duration struct {
	d   time.Duration
	set bool
}

func (d *duration) String() string { return "" }

func (d *duration) Set(text string) error {
	v, err := time.ParseDuration(text)
	if err != nil || v < 0 {
		return errors.New("write 30s, 5m or 1h30m")
	}
	*d = duration{v, true}
	return nil
}

// pointer is nil where the flag was not given.
func (d *duration) pointer() *time.Duration {
	if !d.set {
		return nil
	}
	return &d.d
}

// longestLine is in columns; what is longer says no more to anybody.
const longestLine = 4 << 10

// say writes a line to standard error. Where even that fails nobody is left to tell.
func say(text string) {
	most := min(len(text), 4*longestLine) // in bytes: there are characters that take no column
	fmt.Fprint(os.Stderr, "tokenctl: "+cut(clean(text[:most]), longestLine)+"\n")
}

// report says what went wrong, and returns the exit code of it.
func report(err error) int {
	var silent exitCode
	if errors.As(err, &silent) {
		return int(silent)
	}
	if n, ok := errors.AsType[*notRun](err); ok {
		say(n.Error())
		return n.code
	}
	var e *api.Error
	if !errors.As(err, &e) {
		say(err.Error())
		return api.CodeInternal.Info().Exit
	}
	text := e.Detail
	if text == "" {
		text = strings.ToLower(cmp.Or(e.Title, e.Code.Info().Title))
	}
	if e.Name != "" && !strings.HasPrefix(text, e.Name+":") && !strings.Contains(text, strconv.Quote(e.Name)) {
		text = e.Name + ": " + text
	}
	say(text)
	for _, p := range e.Problems {
		if !strings.Contains(text, p.String()) { // a single one is told already
			say(p.String())
		}
	}
	if e.Hint != "" {
		say("hint: " + e.Hint)
	}
	if e.RetryAfter > 0 {
		say("hint: try again in " + human(time.Duration(e.RetryAfter)*time.Second))
	}
	return e.Code.Info().Exit
}

// writeOut writes to standard output, through a descriptor of our own: on that of
// os.Stdout a closed pipe would kill us, and a failed write has to be exit 1.
func writeOut(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	fd, err := syscall.Dup(syscall.Stdout)
	if err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	file := os.NewFile(uintptr(fd), "stdout")
	_, err = file.Write(data)
	if closed := file.Close(); err == nil {
		err = closed
	}
	var failed *os.PathError
	if errors.As(err, &failed) {
		err = failed.Err
	}
	if err != nil {
		return fmt.Errorf("writing to standard output: %w", err)
	}
	return nil
}

// buildVersion is the linker's word, else the module's.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
