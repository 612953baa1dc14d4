// Command tokend is a credential daemon: it logs in to APIs with the secrets of a
// credentials file, keeps their tokens fresh, and serves them over a unix socket to
// the local processes that may have them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/tokend-project/tokend/daemon"
)

// Exit codes beside 0.
const (
	exitFailure = 1
	exitUsage   = 2
	exitConfig  = 78 // EX_CONFIG of sysexits.h: systemd does not restart on it
)

// version is set by the linker; without, the module's own version is shown.
var version string

func main() {
	if err := shield(); err != nil { // a second line of defence: no reason not to serve
		fmt.Fprintf(os.Stderr, "tokend: warning: %v\n", err)
	}
	// net/http writes there what a server sends unasked, which may be a token.
	log.SetOutput(io.Discard)
	os.Exit(run(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
}

// run is main with its surroundings given; it returns the exit code.
func run(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	verb := ""
	if len(args) > 0 && len(args[0]) > 0 && args[0][0] != '-' {
		verb, args = args[0], args[1:]
	}
	switch verb {
	case "":
		return serve(args, getenv, stdout, stderr)
	case "check":
		return check(args, getenv, stdout, stderr)
	case "demo":
		return demo(args, getenv, stdout, stderr)
	case "version":
		return show(stdout, stderr, "tokend "+buildVersion()+"\n")
	case "help":
		return show(stdout, stderr, usage())
	}
	return wrong(stderr, fmt.Errorf("unknown command %q", verb))
}

// show prints text; a terminal or pipe that is gone is a failure.
func show(stdout, stderr io.Writer, text string) int {
	if _, err := io.WriteString(stdout, text); err != nil {
		fmt.Fprintf(stderr, "tokend: writing to standard output: %v\n", err)
		return exitFailure
	}
	return 0
}

func wrong(stderr io.Writer, err error) int {
	fmt.Fprintf(stderr, "tokend: %v\ntokend: hint: `tokend help` shows what there is\n", err)
	return exitUsage
}

// serve runs the daemon until a signal ends it; a second signal ends it at once.
func serve(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	// As early as can be: a SIGHUP that nobody waits for would be the end.
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	outliveReaders()
	o, help, err := parse(args, getenv)
	switch {
	case err != nil:
		return wrong(stderr, err)
	case help:
		return show(stdout, stderr, usage())
	}
	log, err := newLog(o.level, o.format, getenv, stderr)
	if err != nil {
		return wrong(stderr, err)
	}
	ctx, stop := untilSignal()
	defer stop()
	o.Hangup, o.Version, o.Log = hangup, buildVersion(), log
	if h, ok := log.Handler().(*journalHandler); ok {
		o.Ready = h.settle
	}
	if err := daemon.Run(ctx, o.Config); err != nil {
		if _, bad := errors.AsType[*daemon.InvalidError](err); bad {
			log.Error("not started: mend the credentials file; `tokend check` shows every problem")
			return exitConfig
		}
		log.Error("stopped by a failure", "err", err)
		return exitFailure
	}
	log.Info("stopped")
	return 0
}

// check prints every problem of a credentials file, and tries a login if asked to.
func check(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	o, _, err := parse(nil, getenv)
	flags := flag.NewFlagSet("check", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	login := flags.String("login", "", "")
	if err == nil {
		err = flags.Parse(args)
	}
	switch {
	case errors.Is(err, flag.ErrHelp):
		return show(stdout, stderr, usage())
	case err != nil:
		return wrong(stderr, err)
	case flags.NArg() > 1:
		return wrong(stderr, errors.New("check takes one FILE"))
	case flags.NArg() == 1:
		o.Service = o.Service || flags.Arg(0) != o.Credentials // it may be a service's
		o.Credentials = flags.Arg(0)
	}
	if o.Credentials == "" {
		return wrong(stderr, errors.New("no credentials file is known: give its path"))
	}
	ctx, stop := untilSignal()
	defer stop()
	text, code := checkFile(ctx, o.Config)
	if shown := show(stdout, stderr, text); shown != 0 || code != 0 || *login == "" {
		return max(shown, code)
	}
	return tryLogin(ctx, o.Config, *login, stdout, stderr)
}

// checkFile returns what there is to say about the file, and the exit code.
func checkFile(ctx context.Context, cfg daemon.Config) (text string, code int) {
	problems, warnings := daemon.Check(ctx, cfg)
	for _, w := range warnings {
		text += "warning: " + w.String() + "\n"
	}
	for _, p := range problems {
		text += p.String() + "\n"
		code = exitConfig
	}
	if code == 0 {
		text += cfg.Credentials + ": in order\n"
	}
	return text, code
}

// tryLogin logs in once and says what came; the exit code is tokenctl's for it.
func tryLogin(ctx context.Context, cfg daemon.Config, name string, stdout, stderr io.Writer) int {
	s, problem := daemon.CheckLogin(ctx, cfg, name)
	if problem == nil {
		return show(stdout, stderr, fmt.Sprintf("%s: logged in: a token with the fingerprint %s, which lives %s\n",
			name, s.Fingerprint, s.ExpiresAt.Sub(s.IssuedAt)))
	}
	fmt.Fprintf(stderr, "tokend: %s: %s: %v\n", name, problem.Code, problem)
	if problem.RetryAfter > 0 {
		fmt.Fprintf(stderr, "tokend: hint: try again in %ds\n", problem.RetryAfter)
	}
	return problem.Code.Info().Exit
}

// buildVersion is the version that the linker or the module system stamped.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "unknown"
}
