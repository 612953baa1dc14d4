package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers/sandbox"
)

// hostile is what an upstream does wrong, and what users of the daemon see of it.
type hostile struct {
	name        string
	fault       sandbox.Fault
	outcome     string    // the class, as the log has it
	state, code string    // without a token; the code of its error too
	exit        string    // of tokenctl, without a token
	with        string    // the state with one
	wait        [2]string // the next try, at the earliest and the latest; "": never
	detail      string    // in the error
}

var soon, slow, blocked = [2]string{"0s", "61s"}, [2]string{"60s", "70s"}, [2]string{"5m", "6m"}

var hostiles = []hostile{
	{"refused", sandbox.Fault{Status: 401}, "refused", "refused", "refused", "5", "refused", [2]string{}, "HTTP 401"},
	{"wrong-url", sandbox.Fault{Status: 404, HTML: true}, "misconfigured", "refused", "refused", "5", "refused", [2]string{}, "check url"},
	{"redirect", sandbox.Fault{Location: "https://elsewhere.example/"}, "misconfigured", "refused", "refused", "5", "refused", [2]string{}, "redirects to https://elsewhere.example"},
	{"firewall", sandbox.Fault{Status: 403, HTML: true}, "blocked", "pending", "pending", "4", "stale", blocked, "something in front of it"},
	{"throttled", sandbox.Fault{Status: 429}, "throttled", "pending", "throttled", "9", "stale", slow, "limits the rate"},
	{"throttled-long", sandbox.Fault{Status: 429, RetryAfter: "99999999"}, "throttled", "pending", "throttled", "9", "stale", [2]string{"1h", "1h10s"}, "limits the rate"},
	{"busy", sandbox.Fault{Status: 503, RetryAfter: "90"}, "throttled", "pending", "throttled", "9", "stale", [2]string{"90s", "100s"}, "HTTP 503"},
	{"down", sandbox.Fault{Status: 503}, "transient", "pending", "pending", "4", "stale", soon, "HTTP 503"},
	{"dropped", sandbox.Fault{Drop: true}, "transient", "pending", "pending", "4", "stale", soon, "closed the connection"},
	{"no-http", sandbox.Fault{Raw: "SSH-2.0-OpenSSH_10.0\r\n"}, "transient", "pending", "pending", "4", "stale", soon, "no usable answer"},
	{"flood", sandbox.Fault{Raw: "HTTP/1.1 200 OK\r\n", Endless: "X-Flood: yes\r\n"}, "transient", "pending", "pending", "4", "stale", soon, "headers exceeded"},
	{"no-token", sandbox.Fault{Body: `{"message":"ok"}`}, "malformed", "pending", "pending", "4", "stale", slow, "without a usable token"},
	{"endless", sandbox.Fault{Raw: "HTTP/1.1 200 OK\r\n\r\n", Endless: strings.Repeat("a", 1<<16)}, "malformed", "pending", "pending", "4", "stale", slow, "more than 1024 KiB"},
	{"long-token", sandbox.Fault{Body: `{"token":"` + strings.Repeat("a", 64<<10+1) + `"}`}, "malformed", "pending", "pending", "4", "stale", slow, "more than 64 KiB"},
	{"other-clock", sandbox.Fault{Header: map[string]string{"Date": "Fri, 31 Dec 9999 23:59:59 GMT"}, Edit: farFuture}, "malformed", "pending", "pending", "4", "stale", slow, "check both clocks, or set ttl"},
	{"unasked", sandbox.Fault{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}\"token\":\"hush-unasked\""}, "malformed", "pending", "pending", "4", "stale", slow, "without a usable token"},
	{"echo", sandbox.Fault{Status: 401, Body: `{"code":16,"message":"no such secret: 687573682D77697468"}`}, "refused", "refused", "refused", "5", "refused", [2]string{}, "withheld"},
}

// farFuture is an answer with a token that ends in the year 9999.
func farFuture([]byte) []byte {
	return []byte(`{"token":"eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjI1MzQwMjMwMDc5OX0.c2ln"}`)
}

// besieged is a daemon and its look-alikes.
type besieged struct {
	t    *testing.T
	dir  string
	log  *book
	apis map[string]*sandbox.Server[sandbox.Finam]
}

// TestHostileUpstream asserts for each way in which an upstream may go wrong which state
// it leads to, with a token and without, and when it is tried again.
func TestHostileUpstream(t *testing.T) {
	b := &besieged{t: t, dir: t.TempDir(), log: newBook(), apis: map[string]*sandbox.Server[sandbox.Finam]{}}
	var file strings.Builder
	for _, h := range hostiles {
		for _, name := range []string{"without-" + h.name, "with-" + h.name} {
			api := sandbox.New(sandbox.Finam{Secrets: []string{"hush-" + name}})
			s := httptest.NewServer(api)
			t.Cleanup(s.Close)
			b.apis[name] = api
			fmt.Fprintf(&file, "[credentials.%s]\nprovider = \"finam\"\nurl = %q\nsecret = \"hush-%s\"\n", name, s.URL, name)
		}
		b.apis["without-"+h.name].Fail(-1, h.fault)
	}
	secure := httptest.NewUnstartedServer(sandbox.New(sandbox.Finam{}))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	t.Cleanup(secure.Close)
	fmt.Fprintf(&file, "[credentials.without-ca]\nprovider = \"finam\"\nurl = %q\nsecret = \"hush-ca\"\n", secure.URL)
	b.start(file.String())
	for _, h := range hostiles {
		t.Run(h.name, func(t *testing.T) {
			b.meet(t, "retry", "without-"+h.name, h, h.state)
			if out, code := b.ctl("wait", "with-"+h.name); code != "0" {
				t.Fatalf("no token: %s", out)
			}
			b.apis["with-"+h.name].Fail(-1, h.fault)
			b.meet(t, "renew", "with-"+h.name, h, h.with)
			if out, code := b.ctl("get", "with-"+h.name); code != "0" {
				t.Errorf("the old token is not served: %s", out)
			}
		})
	}
	b.meet(t, "retry", "without-ca", hostile{outcome: "blocked", code: "pending", exit: "4", wait: blocked, detail: "ca_file"}, "pending")
}

// start runs the daemon over this file and waits until it answers.
func (b *besieged) start(file string) {
	b.t.Helper()
	if err := os.WriteFile(b.path("credentials.toml"), []byte(file), 0o600); err != nil {
		b.t.Fatal(err)
	}
	cmd := b.command(context.Background(), "tokend", "--log-format", "json")
	cmd.Stdout, cmd.Stderr = b.log, b.log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if got := outcome(cmd.Wait()); got != "0" {
			b.t.Errorf("the daemon ended with %s:\n%s", got, b.log)
		}
		if strings.Contains(b.log.String(), "hush-") {
			b.t.Errorf("the log shows a secret:\n%s", b.log)
		}
	})
	if err := b.log.await(regexp.MustCompile(`"msg":"tokend [^"]* answers"`)); err != nil {
		b.t.Fatalf("%v:\n%s", err, b.log)
	}
}

// meet has the credential tried now, and checks what becomes of it.
func (b *besieged) meet(t *testing.T, verb, name string, h hostile, state string) {
	t.Helper()
	out, code := b.ctl(verb, name)
	if code != h.exit || !strings.Contains(out, h.detail) || strings.Contains(out, "hush-") {
		t.Errorf("%s of %s ends with %s, want %s and %q:\n%s", verb, name, code, h.exit, h.detail, out)
	}
	var s api.Status
	if out, _ := b.ctl("status", name, "--json"); json.Unmarshal([]byte(out), &s) != nil {
		t.Fatalf("the status is %s", out)
	}
	if string(s.State) != state || s.Usable != (verb == "renew") || s.Error == nil || string(s.Error.Code) != h.code || s.RenewAt.IsZero() != (h.wait[0] == "") {
		t.Errorf("the status of %s is %+v (%+v), want %s, %s", name, s, s.Error, state, h.code)
	}
	b.told(t, name, h)
}

// told checks the newest line of the log about the credential's failures.
func (b *besieged) told(t *testing.T, name string, h hostile) {
	t.Helper()
	var line struct {
		Time, Retry              time.Time
		Credential, Outcome, Err string
	}
	found := false
	for text := range strings.Lines(b.log.String()) {
		next := line
		next.Retry, next.Outcome = time.Time{}, ""
		if json.Unmarshal([]byte(text), &next) == nil && next.Credential == name && next.Outcome != "" && strings.Contains(text, `"err"`) {
			line, found = next, true
		}
	}
	if !found || line.Outcome != h.outcome || !strings.Contains(line.Err, h.detail) || line.Retry.IsZero() != (h.wait[0] == "") {
		t.Errorf("the log says of %s: %+v, want %s", name, line, h.outcome)
		return
	}
	if h.wait[0] == "" {
		return
	}
	least, _ := time.ParseDuration(h.wait[0])
	most, _ := time.ParseDuration(h.wait[1])
	if wait := line.Retry.Sub(line.Time); wait < least-2*time.Second || wait > most {
		t.Errorf("%s is tried again after %v, want %v to %v", name, wait, least, most)
	}
}

func (b *besieged) path(name string) string { return filepath.Join(b.dir, name) }

func (b *besieged) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(os.Getenv("TOKEND_TEST_BIN"), name), args...)
	cmd.Env = []string{"HOME=" + b.dir, "TOKEND_CREDENTIALS=" + b.path("credentials.toml"), "TOKEND_SOCKET=" + b.path("s"), "TOKEND_STORE=" + b.path("state/tokens.db")}
	return cmd
}

// ctl runs tokenctl and returns what it says, and its exit code.
func (b *besieged) ctl(args ...string) (out, code string) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.t.Context(), 4*longest)
	defer cancel()
	text, err := b.command(ctx, "tokenctl", args...).CombinedOutput()
	return string(text), outcome(err)
}
