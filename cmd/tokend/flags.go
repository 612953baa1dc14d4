package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/tokend-project/tokend/daemon"
)

// usage is the help of tokend.
func usage() string {
	var b strings.Builder
	b.WriteString(`usage:
  tokend [flags]              run the service in the foreground
  tokend check [FILE]         check a credentials file; touches neither network nor store
  tokend check --login NAME [FILE]
                              also log in once, and say what came, never the token
  tokend demo                 run the daemon against built-in look-alikes of real APIs
  tokend version

flags, and the environment variables that stand in for them:
`)
	for _, s := range settings() {
		fmt.Fprintf(&b, "  %-27s %-22s %s\n", "--"+s.flag+" "+s.value, s.variable, s.help)
	}
	b.WriteString(`
signals: TERM and INT stop, a second one at once; HUP reads the credentials file again
exit: 0 stopped, 1 failed, 2 wrong usage, 78 bad credentials file
`)
	return b.String()
}

// options are the flags, or the environment variables in their place.
type options struct {
	daemon.Config
	level, format string
}

// setting is a flag, and the environment variable that stands in for it.
type setting struct {
	flag, value, variable, help string
	of                          func(*options) *string
}

// settings is the table: help, man page and parse are made from it.
func settings() []setting {
	return []setting{
		{"credentials", "FILE", "TOKEND_CREDENTIALS", "the credentials file", func(o *options) *string { return &o.Credentials }},
		{"socket", "PATH", "TOKEND_SOCKET", "where to answer; an inherited socket wins", func(o *options) *string { return &o.Socket }},
		{"store", "FILE", "TOKEND_STORE", "where tokens are kept, sealed", func(o *options) *string { return &o.Store }},
		{"key-file", "FILE", "TOKEND_KEY_FILE", "key of the store, 32 bytes or more", func(o *options) *string { return &o.KeyFile }},
		{"log-level", "LEVEL", "TOKEND_LOG_LEVEL", "debug, info, warn or error", func(o *options) *string { return &o.level }},
		{"log-format", "FORMAT", "TOKEND_LOG_FORMAT", "auto, journal, text or json", func(o *options) *string { return &o.format }},
		{"metrics-listen", "ADDRESS", "TOKEND_METRICS_LISTEN", "serve /metrics on TCP, to anybody", func(o *options) *string { return &o.MetricsListen }},
	}
}

// parse reads the flags; help is true if it was asked for.
func parse(args []string, getenv func(string) string) (o options, help bool, err error) {
	o.Paths = daemon.DefaultPaths(os.Geteuid(), getenv)
	o.Service = daemon.Service(os.Geteuid(), getenv)
	o.KeyName = "tokend.key"
	o.level, o.format = "info", "auto"
	flags := flag.NewFlagSet("tokend", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	for _, s := range settings() {
		to := s.of(&o)
		if v := getenv(s.variable); v != "" {
			*to = v
		}
		flags.StringVar(to, s.flag, *to, "")
	}
	if getenv("TOKEND_KEY_FILE") != "" {
		o.KeyName = "TOKEND_KEY_FILE"
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return o, true, nil
	case err != nil:
		return o, false, err
	case flags.NArg() > 0:
		return o, false, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	flags.Visit(func(f *flag.Flag) {
		if f.Name == "key-file" {
			o.KeyName = "--key-file"
		}
	})
	o.Socket = strings.TrimPrefix(o.Socket, "unix://") // as clients may have it
	return o, false, nil
}
