package main

import (
	"errors"
	"flag"
	"io"
	"os"
	"strings"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

// verbs is the table: what tokenctl can do. Help, completion and did-you-mean are
// made from it.
func verbs() []verb {
	return []verb{
		{"get", "NAME", "print the token", 1, 1, []option{withOutput, withMinTTL, withWait}, (*call).get},
		{"exec", "NAME... -- CMD [ARG...]", "run CMD with each token in the variable NAME_TOKEN, once all are there", 1, many, []option{withMinTTL, withWait}, (*call).exec},
		{"wait", "[NAME...]", "return once they are usable; without names, once all are that you may read", 0, many, []option{withoutEnd}, (*call).waitFor},
		{"list", "", "print a table of the credentials that you may see", 0, 0, nil, (*call).list},
		{"status", "[NAME]", "the same, or everything about one", 0, 1, nil, (*call).status},
		{"watch", "[NAME...]", "print how things stand, and then every change, as a line of JSON each", 0, many, []option{withoutEnd}, (*call).watch},
		{"check", "NAME", "say by the exit code alone whether there is a token; never waits, never renews", 1, 1, []option{withMinTTL}, (*call).check},
		{"renew", "NAME", "report a rejected token, or renew now", 1, 1, []option{withFingerprint, withRejected, withWait}, (*call).renew},
		{"retry", "NAME", "forget a refusal, a back-off or a dead challenge, and try now", 1, 1, []option{withWait}, (*call).retry},
		{"drop", "NAME", "forget a token that has leaked, and log in anew", 1, 1, []option{withWait}, (*call).drop},
		{"answer", "NAME [CODE]", "answer what the provider asks a person; without CODE it is asked for, or read from standard input", 1, 2, []option{withWait}, (*call).answer},
		{"reload", "", "read the credentials file again", 0, 0, nil, (*call).reload},
		{"whoami", "", "print as whom the daemon knows you, and what you may do", 0, 0, nil, (*call).whoami},
		{"completion", "bash|zsh|fish", "print what that shell needs to complete command lines of tokenctl", 1, 1, nil, (*call).completion},
		{"version", "", "print the version of tokenctl", 0, 0, nil, (*call).version},
		{"help", "[VERB]", "print this, or the help of one verb", 0, 1, nil, (*call).help},
		{"__complete", "WORD...", "", 0, many, nil, (*call).complete}, // for the shells alone
	}
}

// many is the bound of verbs that have none.
const many = 1 << 30

func findVerb(name string) (*verb, error) {
	var known []string
	for _, v := range verbs() {
		if v.name == name {
			return &v, nil
		}
		if !v.hidden() {
			known = append(known, v.name)
		}
	}
	return nil, usagef("tokenctl --help", "unknown verb %q%s", name, didYouMean(name, known, quoted))
}

func withOutput(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.output, "o", "", "print the token as `FORMAT`: token, header (lines for curl -H @-), json, curl (for curl -K), env (NAME_TOKEN=...) or exec-credential (for kubectl)")
}

func withMinTTL(fs *flag.FlagSet, o *options) {
	fs.Var(&o.minTTL, "min-ttl", "demand a token that is good for at least `D`")
}

func withWait(fs *flag.FlagSet, o *options) {
	fs.Var(&o.wait, "wait", "let the daemon wait for a renewal up to `D`; 10s if unset, 0s never waits")
}

// withoutEnd lets a verb go on for as long as it takes.
func withoutEnd(fs *flag.FlagSet, _ *options) {
	fs.Lookup("timeout").Usage = "give up after `D`, say 2s or 1m; never if unset"
}

func withFingerprint(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.fingerprint, "fingerprint", "", "the API rejected the token with this fingerprint `F`: renew if it is still the current one")
}

func withRejected(fs *flag.FlagSet, o *options) {
	fs.StringVar(&o.rejected, "rejected-token", "", "with `-`, the same for the token on standard input; only its fingerprint is sent")
}

func (c *call) get() error {
	format := c.opt.output
	switch {
	case format == "" && c.opt.json:
		format = "json"
	case format == "":
		format = "token"
	case c.opt.json && format != "json":
		return usagef("tokenctl get --help", "--json and -o %s exclude each other", format)
	}
	print, err := findFormat(format)
	if err != nil {
		return err
	}
	t, err := c.client.Token(c.ctx, c.names[0], api.TokenOptions{MinTTL: c.opt.minTTL.pointer(), Wait: c.opt.wait.pointer()})
	if err != nil {
		return err
	}
	return print(c, t)
}

func (c *call) list() error {
	list, err := c.client.Credentials(c.ctx)
	if err != nil {
		return err
	}
	if c.opt.json {
		c.printRaw()
	} else {
		c.out.WriteString(table(list, screenOf(os.Stdout, os.Getenv), time.Now()))
		if len(list) == 0 {
			c.notes = append(c.notes, "there is no credential on which you have a right",
				"hint: tokenctl whoami prints as whom the daemon knows you")
		}
	}
	c.warn()
	return nil
}

func (c *call) status() error {
	if len(c.names) == 0 {
		return c.list()
	}
	s, err := c.client.Credential(c.ctx, c.names[0])
	if err != nil {
		return err
	}
	if c.opt.json {
		c.printRaw()
	} else {
		c.out.WriteString(block(s, screenOf(os.Stdout, os.Getenv), time.Now()))
	}
	c.warn()
	return nil
}

// warn says so when the credentials file in force is not the one on disk. That is
// beside the point of the verb, so it may fail in silence.
func (c *call) warn() {
	health := api.Client{Sockets: c.client.Sockets}
	if h, err := health.Health(c.ctx); err == nil && h.Config.Error != "" {
		c.notes = append(c.notes, "warning: the credentials file on disk is not in force: "+h.Config.Error)
	}
}

// check decides from the status: asking for the token could cause a renewal.
func (c *call) check() error {
	s, err := c.client.Credential(c.ctx, c.names[0])
	if err != nil {
		return err
	}
	if code := verdict(s, c.opt.minTTL.pointer(), time.Now()); code != "" {
		return exitCode(code.Info().Exit)
	}
	return nil
}

// verdict is the code with which a get that neither waits nor renews would end, by
// one who may read; empty if it would print a token.
func verdict(s *api.Status, minTTL *time.Duration, now time.Time) api.Code {
	left := s.ExpiresAt.Sub(now)
	switch {
	case s.Usable && !s.ExpiresAt.IsZero() && left <= 0: // since the daemon looked
		return api.CodePending
	case s.Usable && minTTL != nil && left < *minTTL:
		return api.CodeShort
	case s.Usable:
		return ""
	case s.State == api.StateRefused:
		return api.CodeRefused
	case s.State == api.StateChallenge:
		return api.CodeChallenge
	case s.Error != nil && s.Error.Code == api.CodeThrottled:
		return api.CodeThrottled
	}
	return api.CodePending
}

func (c *call) renew() error {
	fingerprint := c.opt.fingerprint
	if c.given("fingerprint") && fingerprint == "" || c.given("rejected-token") && c.opt.rejected == "" {
		// A variable that is not set, as a rule: renewing now is not what was meant.
		return usagef("tokenctl renew --help", "the fingerprint, or the token, is empty")
	}
	if c.opt.rejected != "" {
		if fingerprint != "" {
			return usagef("tokenctl renew --help", "--fingerprint and --rejected-token exclude each other")
		}
		// The value is not repeated: it may well be a token.
		if c.opt.rejected != "-" {
			return api.Errorf(api.CodeUsage, "--rejected-token takes - alone, and the token from standard input").
				WithHint("on a command line every process of this machine can read it")
		}
		token, err := readToken(os.Stdin)
		if err != nil {
			return err
		}
		fingerprint = api.Fingerprint(token)
	}
	return c.act(c.client.Renew(c.ctx, c.names[0], api.RenewOptions{Fingerprint: fingerprint, Wait: c.opt.wait.pointer()}))
}

// readToken reads one token, without the newline that get printed after it.
func readToken(r io.Reader) (string, error) {
	const most = 1 << 20 // larger than any answer of a provider
	data, err := io.ReadAll(io.LimitReader(r, most+1))
	if err != nil {
		return "", errors.New("reading the token from standard input: " + err.Error())
	}
	token := strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	switch {
	case token == "":
		return "", usagef("tokenctl renew --help", "there is no token on standard input")
	case len(data) > most || strings.ContainsAny(token, "\n\r"):
		return "", usagef("tokenctl renew --help", "what is on standard input is no token: it has more than one line or 1 MiB")
	}
	return token, nil
}

func (c *call) retry() error {
	return c.act(c.client.Retry(c.ctx, c.names[0], c.opt.wait.pointer()))
}

func (c *call) drop() error {
	return c.act(c.client.Drop(c.ctx, c.names[0], c.opt.wait.pointer()))
}

// act ends a verb that changed something: nobody asked for the status, so a line
// of it goes to standard error.
func (c *call) act(s *api.Status, err error) error {
	switch {
	case err != nil:
		return err
	case c.opt.json:
		c.printRaw()
	case s.Usable:
		c.notes = append(c.notes, s.Name+": "+string(s.State)+", "+human(time.Until(s.ExpiresAt))+" left")
	default:
		c.notes = append(c.notes, s.Name+": "+string(s.State))
	}
	return nil
}

func (c *call) reload() error {
	r, err := c.client.Reload(c.ctx)
	if err != nil {
		return err
	}
	if c.opt.json {
		c.printRaw()
	} else {
		c.printReloaded(r)
	}
	return nil
}

func (c *call) whoami() error {
	w, err := c.client.Whoami(c.ctx)
	if err != nil {
		return err
	}
	if c.opt.json {
		c.printRaw()
	} else {
		c.out.WriteString(identity(w))
	}
	return nil
}

func (c *call) version() error {
	c.out.WriteString("tokenctl " + buildVersion() + "\n")
	return nil
}

func (c *call) help() error {
	if len(c.names) == 0 {
		c.out.Write(overview())
		return nil
	}
	v, err := findVerb(c.names[0])
	if err != nil {
		return err
	}
	c.out.Write(describe(v, newFlags(v.name, &options{}, v.flags)))
	return nil
}
