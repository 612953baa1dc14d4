package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tokend-project/tokend/daemon"
	"github.com/tokend-project/tokend/providers/sandbox"
)

// demoFile is the credentials file of the demo; the secrets are those of the
// vendors' own examples.
const demoFile = `# The credentials file of the demo.
[credentials.finam]
provider = "finam"
url      = %q
secret   = { file = %q }

[credentials.exchanger]
provider = "simplejwt"
url      = %q
email    = "user@example.com"
password = "1234"

[credentials.broker]
provider = "etna"
url      = %q
app_key  = "yourEttAppKey"
username = "testusername"
password = "testpassword"
pin      = "4321"

[credentials.shop]
provider = "noventiq"
url      = %q
username = "user"
password = "1234"
`

// stop is one stop of the tour: a credential, and a resource that wants its token.
type stop struct {
	credential, what, url string
}

// tour is a running demo.
type tour struct {
	dir, socket, tokenctl string
	out                   io.Writer
	stops                 []stop
}

// demo runs the daemon on a temporary store against look-alikes of the real APIs,
// shows what it does, and stays up until a signal ends it; with DEMO_ONCE=1 only
// for the tour.
func demo(args []string, getenv func(string) string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		return wrong(stderr, errors.New("demo takes no arguments"))
	}
	outliveReaders()
	ctx, cancel := untilSignal(syscall.SIGHUP) // or its files would stay behind
	defer cancel()
	if err := runDemo(ctx, getenv("DEMO_ONCE") != "", &audience{stdout, cancel}); err != nil {
		fmt.Fprintf(stderr, "tokend: demo: %v\n", err)
		return exitFailure
	}
	return 0
}

// audience is who reads what the demo prints. Once it has gone the demo is over;
// SIGPIPE would not tell it from a caller of the socket who hangs up.
type audience struct {
	io.Writer
	gone func()
}

// Write writes, and says if nobody reads any more.
func (a *audience) Write(b []byte) (int, error) {
	n, err := a.Writer.Write(b)
	if err != nil {
		a.gone()
	}
	return n, err
}

func runDemo(ctx context.Context, once bool, out io.Writer) (err error) {
	t := &tour{out: out}
	if t.tokenctl, err = findTokenctl(); err != nil {
		return err
	}
	if t.dir, err = os.MkdirTemp("", "tokend-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(t.dir)) }()
	var wg sync.WaitGroup
	defer wg.Wait()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ready, err := t.start(ctx, &wg, stop)
	if err != nil {
		return err
	}
	select {
	case <-ready:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	if err := t.walk(ctx); err != nil || once {
		return err
	}
	t.invite()
	<-ctx.Done()
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// smsCode is what the owner of the broker's account gets by SMS.
const smsCode = "246810"

// lookAlike is a server of package sandbox, whichever API it looks like.
type lookAlike interface {
	Listen() (url string, err error)
	Run(ctx context.Context) error
}

// start starts the look-alikes and the daemon; ready is closed when it answers.
func (t *tour) start(ctx context.Context, wg *sync.WaitGroup, fail context.CancelCauseFunc) (ready <-chan struct{}, err error) {
	run := func(what string, f func(context.Context) error) {
		wg.Go(func() {
			if err := f(ctx); err != nil {
				fail(fmt.Errorf("running %s: %w", what, err))
			}
		})
	}
	owner := sandbox.EtnaUser{Password: "testpassword", TwoFactor: true, Code: smsCode, Pin: "4321"}
	var urls []any
	for _, s := range []lookAlike{
		sandbox.New(sandbox.Finam{}), sandbox.New(sandbox.SimpleJWT{}),
		sandbox.New(sandbox.Etna{Users: map[string]sandbox.EtnaUser{"testusername": owner}}),
		sandbox.New(sandbox.Noventiq{}),
	} {
		url, err := s.Listen()
		if err != nil {
			return nil, err
		}
		urls = append(urls, url)
		run("a look-alike", s.Run)
	}
	t.stops = []stop{
		{"finam", "an account", fmt.Sprint(urls[0], "/v1/accounts/TRQD05:123456")},
		{"exchanger", "the user", fmt.Sprint(urls[1], "/users/me/")},
		{"broker", "the user", fmt.Sprint(urls[2], "/v1.0/users/@me/info")},
		{"shop", "an order", fmt.Sprint(urls[3], "/v1/order/123456")},
	}
	config, err := t.configure(urls)
	if err != nil {
		return nil, err
	}
	log, err := os.OpenFile(filepath.Join(t.dir, "tokend.log"), os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	answers := make(chan struct{})
	config.Ready = func() { close(answers) }
	config.Log = slog.New(slog.NewJSONHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	run("tokend", func(ctx context.Context) error {
		return errors.Join(daemon.Run(ctx, config), log.Close())
	})
	fmt.Fprintf(t.out, "look-alikes of four APIs answer, and tokend serves their tokens from %s\n", t.socket)
	return answers, nil
}

// configure writes the files that the daemon reads.
func (t *tour) configure(urls []any) (daemon.Config, error) {
	secret := filepath.Join(t.dir, "finam.secret")
	file := filepath.Join(t.dir, "credentials.toml")
	t.socket = filepath.Join(t.dir, "tokend.sock")
	text := fmt.Sprintf(demoFile, slices.Insert(urls, 1, any(secret))...)
	return daemon.Config{
		Paths:   daemon.Paths{Credentials: file, Socket: t.socket, Store: filepath.Join(t.dir, "state", "tokens.db")},
		Version: buildVersion(),
	}, errors.Join(os.WriteFile(secret, []byte("your-api-secret-key\n"), 0o600), os.WriteFile(file, []byte(text), 0o600))
}

// walk is the tour: a token of each, a call with it, and the table. The broker wants
// to know first what its owner was sent.
func (t *tour) walk(ctx context.Context) error {
	for _, s := range t.stops {
		if s.credential == "broker" {
			if err := t.challenge(ctx, s.credential); err != nil {
				return err
			}
		}
		if _, err := t.run(ctx, true, "get", s.credential); err != nil {
			return err
		}
		headers, err := t.run(ctx, false, "get", s.credential, "-o", "header")
		if err != nil {
			return err
		}
		fmt.Fprintf(t.out, "\n$ curl -H @<(tokenctl get %s -o header) %s\n", s.credential, s.url)
		if err := t.call(ctx, s, headers); err != nil {
			return err
		}
	}
	_, err := t.run(ctx, true, "list")
	return err
}

// challenge shows what a login looks like that asks a person for a code.
func (t *tour) challenge(ctx context.Context, credential string) error {
	if _, err := t.run(ctx, true, "get", credential); err == nil {
		return fmt.Errorf("%s has a token before its owner answered", credential)
	}
	fmt.Fprintf(t.out, "\nThe owner of the account was sent the code %s. An operator answers:\n", smsCode)
	_, err := t.run(ctx, true, "answer", credential, smsCode)
	return err
}

// run runs tokenctl; show prints the command and what it printed.
func (t *tour) run(ctx context.Context, show bool, args ...string) (string, error) {
	if show {
		fmt.Fprintf(t.out, "\n$ tokenctl %s\n", strings.Join(args, " "))
	}
	cmd := exec.CommandContext(ctx, t.tokenctl, args...)
	cmd.Env = append(os.Environ(), "TOKEND_SOCKET="+t.socket)
	var stdout, stderr strings.Builder
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if show {
			fmt.Fprint(t.out, stderr.String())
		}
		return "", fmt.Errorf("running tokenctl %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
	}
	if show {
		fmt.Fprint(t.out, stdout.String(), stderr.String())
	}
	return stdout.String(), nil
}

// call calls the protected resource with the headers that tokenctl printed, as curl
// does with -H @-.
func (t *tour) call(ctx context.Context, s stop, headers string) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return err
	}
	for lines := bufio.NewScanner(strings.NewReader(headers)); lines.Scan(); {
		if name, value, ok := strings.Cut(lines.Text(), ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("asking for %s: %w", s.what, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
	switch {
	case err != nil:
		return fmt.Errorf("asking for %s: %w", s.what, err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("asking for %s: HTTP %d: %s", s.what, resp.StatusCode, body)
	}
	fmt.Fprintln(t.out, strings.TrimSpace(string(body)))
	return nil
}

// invite prints lines to copy into another terminal.
func (t *tour) invite() {
	fmt.Fprintf(t.out, `
tokend stays up until Ctrl-C. In another terminal:

  export TOKEND_SOCKET=%s PATH=%s:$PATH
  tokenctl status finam
  tokenctl get finam -o json
  curl -H @<(tokenctl get shop -o header) %s
  curl --unix-socket $TOKEND_SOCKET http://tokend/v1/tokens/finam
  tokenctl renew finam            # a new token, now
  tokenctl drop shop              # it leaked: forget it, log in anew
  echo wrong > %s; tokenctl reload; tokenctl status finam
  tail -f %s
`, t.socket, filepath.Dir(t.tokenctl), t.stops[3].url, filepath.Join(t.dir, "finam.secret"), filepath.Join(t.dir, "tokend.log"))
}

// findTokenctl looks beside this program first, so that the two fit.
func findTokenctl() (string, error) {
	if self, err := os.Executable(); err == nil {
		if path := filepath.Join(filepath.Dir(self), "tokenctl"); isFile(path) {
			return path, nil
		}
	}
	path, err := exec.LookPath("tokenctl")
	if err != nil {
		return "", fmt.Errorf("looking for tokenctl: %w", err)
	}
	return filepath.Abs(path)
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}
