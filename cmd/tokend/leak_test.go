package main

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/tokend-project/tokend/providers/sandbox"
)

// world is what the daemon of a vault talks to.
type world struct {
	simple    *sandbox.Server[sandbox.SimpleJWT]
	hold      chan struct{} // closed: what finam's look-alike was told to hold goes on
	finam     *sandbox.Server[sandbox.Finam]
	wrong     string // an answer to the broker's challenge that is not taken
	code      string // and the one that is
	variables []string
}

// serve runs a handler until the test ends.
func (v *vault) serve(h http.Handler, start func(*httptest.Server)) string {
	s := httptest.NewUnstartedServer(v.tap(h))
	s.Config.ErrorLog = log.New(io.Discard, "", 0) // of handshakes that are meant to fail
	start(s)
	v.t.Cleanup(s.Close)
	return s.URL
}

// furnish writes a credentials file with every kind of secret from every kind of
// source, and starts what its credentials log in to.
func (v *vault) furnish() *world {
	v.t.Helper()
	key := v.plant("finam's secret, from a file")
	exchanger, shop, proxy := v.plant("exchanger's password, inline"), v.plant("shop's password"), v.plant("the proxy's password")
	app, password, pin := v.plant("the app key, a systemd credential"), v.plant("broker's password, from env"), v.plant("the PIN")
	totp := strings.Repeat("MFRGGZDFMZTWQ2LK", 2) + "NNWG23TPOBYXE43U"
	v.add("the key of a totp", totp)
	w := &world{wrong: v.plant("a wrong answer"), code: v.plant("the right answer"), hold: make(chan struct{}), variables: []string{"BROKER_PASSWORD"}}
	printed := v.plant("what a command printed")
	v.env = append(v.env, "BROKER_PASSWORD="+password)
	for name, text := range map[string]string{
		"given/finam": key + "\n", "given/app": app, "given/shop": shop + "\n", "given/code": printed + "\n",
		"given/command": fmt.Sprintf("cat %s; cat /proc/$$/cmdline /proc/$$/environ >>%s; echo '%s' >&2; exit $1\n", v.path("given/code"), v.path("child"), printed),
	} {
		v.write(name, text)
	}
	users := map[string]sandbox.EtnaUser{
		"alice": {Password: password, TwoFactor: true, Code: w.code, Pin: pin},
		"robot": {Password: password, TOTP: totp},
		"carol": {Password: password, TwoFactor: true, Code: printed},
		"dave":  {Password: password, TwoFactor: true},
	}
	w.finam = sandbox.New(sandbox.Finam{Secrets: []string{key}, Opaque: true})
	w.simple = sandbox.New(sandbox.SimpleJWT{Users: map[string]sandbox.SimpleJWTUser{"ops@example.com": {Password: exchanger}}, Rotate: true})
	noventiq := sandbox.New(sandbox.Noventiq{Users: map[string]string{"api": shop}})
	plain := (*httptest.Server).Start
	etna := v.serve(sandbox.New(sandbox.Etna{AppKeys: []string{app}, Users: users}), plain)
	user := func(name, name2, more string) string {
		return fmt.Sprintf("[credentials.%s]\nprovider = \"etna\"\nurl = %q\napp_key = { credential = \"app\" }\nusername = %q\npassword = { env = \"BROKER_PASSWORD\" }\n%s\n", name, etna, name2, more)
	}
	via := strings.Replace(v.serve(v.proxy(proxy, noventiq), plain), "://", "://user:"+strings.NewReplacer(`"`, "%22", "<", "%3C", "&", "%26", "+", "%2B", "%", "%25").Replace(proxy)+"@", 1)
	v.write("credentials.toml", fmt.Sprintf(`
[credentials.finam]
provider = "finam"
url = %q
secret = { file = %q }
[credentials.exchanger]
provider = "simplejwt"
url = %q
email = "ops@example.com"
password = %q
[credentials.shop]
provider = "noventiq"
url = "http://127.0.0.1:9"
username = "api"
password = { file = %q }
proxy = %q
[credentials.tls]
provider = "noventiq"
url = %q
username = "api"
password = { file = %q }
[credentials.unreached]
provider = "noventiq"
url = "https://127.0.0.1:9"
username = "api"
password = %q
proxy = %q
[credentials.turned]
provider = "noventiq"
url = "http://127.0.0.1:9"
username = "api"
password = %q
proxy = %q
`, v.serve(w.finam, plain), v.path("given/finam"), v.serve(w.simple, plain), exchanger, v.path("given/shop"), via,
		v.serve(noventiq, (*httptest.Server).StartTLS), v.path("given/shop"), v.plant("a password"), strings.Replace(via, "@", "x@", 1),
		v.plant("a password"), strings.Replace(via, "@", "x@", 1))+
		user("broker", "alice", fmt.Sprintf("pin = %q", pin))+
		user("robot", "robot", fmt.Sprintf("code = { totp = %q }", totp))+
		user("runner", "carol", fmt.Sprintf("code = { command = [\"/bin/sh\", %q, \"0\"] }", v.path("given/command")))+
		user("failing", "dave", fmt.Sprintf("code = { command = [\"/bin/sh\", %q, \"7\"] }", v.path("given/command")))+
		v.repeaters())
	return w
}

// proxy passes calls on to a handler, for those who know the password.
func (v *vault) proxy(password string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte("user:"+password)) {
			http.Error(rw, "who says "+r.Header.Get("Proxy-Authorization")+"?", http.StatusProxyAuthRequired)
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// repeaters are credentials whose servers repeat their secrets.
func (v *vault) repeaters() string {
	var b strings.Builder
	base := v.serve(http.HandlerFunc(repeat), (*httptest.Server).Start)
	for nth := range echoes {
		fmt.Fprintf(&b, "[credentials.echo%d]\nmode = \"lazy\"\nurl = \"%s/%d/%d\"\n", nth, base, nth, nth%len(garbles))
		secret := v.plant("a repeated secret")
		switch nth % 4 {
		case 0:
			fmt.Fprintf(&b, "provider = \"finam\"\nsecret = %q\n", secret)
		case 1:
			fmt.Fprintf(&b, "provider = \"etna\"\napp_key = %q\nusername = \"u\"\npassword = %q\ncode = %q\n", v.plant("a repeated key"), secret, v.plant("a repeated code"))
		default:
			fmt.Fprintf(&b, "provider = %q\nusername = \"u\"\npassword = %q\n", []string{"simplejwt", "noventiq"}[nth%2], secret)
		}
	}
	return b.String()
}

// No secret, token, ticket or refresh token shows, whatever happens to a daemon: not
// in its log of any format, nor in what systemd hears, in the answers of socket and
// tokenctl, in its store and what else it leaves on disk, on a command line, in an
// environment, or in what a crash prints.
func TestNoSecretShows(t *testing.T) {
	t.Parallel()
	v := newVault(t)
	w := v.furnish()
	v.start("json")
	v.logIn(w)
	v.operate(w)
	v.children(w)
	v.breakFiles()
	v.search()
	v.crash(w)
	v.search()
}

// The formats of the log differ in how they write what they are given.
func TestNoSecretShowsInAnyFormat(t *testing.T) {
	t.Parallel()
	journal := []string{"unshare", "-m", "sh", "-c", `mount -t tmpfs none /run && mkdir -p /run/systemd/journal && ln -s "$PWD/j" /run/systemd/journal/socket && exec "$@"`, "sh"}
	for format, prefix := range map[string][]string{"text": nil, "journal": journal} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			if namespaces, _ := condition("namespaces"); format == "journal" && !namespaces {
				t.Skip("no journal can be made up here: it takes the right to mount (run as root)")
			}
			v := newVault(t)
			v.hear("j", v.log)
			v.furnish()
			v.start(format, prefix...)
			for nth := range echoes {
				v.ask("GET", fmt.Sprintf("/v1/tokens/echo%d?wait=0s", nth))
			}
			for nth := range echoes {
				v.must(v.log.awaitCount(fmt.Sprintf(`(renewal failed|refused by|token renewed|a person)[^=]* credential=echo%d `, nth), 1))
			}
			v.breakFiles()
			v.end(syscall.SIGTERM, "0")
			v.search()
		})
	}
}

// logIn has every login succeed or fail that the file asks for.
func (v *vault) logIn(w *world) {
	for _, name := range []string{"finam", "exchanger", "shop", "robot", "runner"} {
		v.ctl("0", "", "wait", name)
	}
	v.ctl("6", "", "get", "broker", "--wait", "5s")
	v.ctl("6", w.wrong+"\n", "answer", "broker")
	v.ctl("0", w.code+"\n", "answer", "broker")
	for nth := range echoes {
		v.ask("GET", fmt.Sprintf("/v1/tokens/echo%d?wait=0s", nth))
	}
	for nth := range echoes {
		v.tried(fmt.Sprint("echo", nth))
		v.ask("GET", fmt.Sprintf("/v1/credentials/echo%d", nth))
	}
	for name, code := range map[string]string{"tls": "4", "unreached": "5", "turned": "5", "failing": "4"} {
		v.tried(name)
		v.ctl(code, "", "get", name, "--wait", "0s")
	}
	v.exitsOtherwise()
}

// tried waits until the log says what came of a login.
func (v *vault) tried(name string) {
	v.t.Helper()
	v.must(v.log.awaitCount(`"msg":"(renewal failed|refused by|token renewed|a person)[^"]*","credential":"`+name+`"`, 1))
}

// operate goes through every verb.
func (v *vault) operate(w *world) {
	token := strings.TrimSpace(v.quietly("0", "", "get", "finam"))
	if len(v.find(token)) == 0 {
		v.t.Fatalf("the hoard does not know the token %s", token)
	}
	v.ctl("0", token+"\n", "renew", "finam", "--rejected-token", "-")
	v.ctl("2", "", "renew", "finam", "--rejected-token", "wrong")
	if v.ctl("0", "", "renew", "exchanger"); v.newest("refresh") == "" {
		v.t.Fatal("no refresh token came")
	}
	// The server repeats the tokens of old, and wants a login then.
	w.simple.Fail(1, sandbox.Fault{Path: "/token/refresh/", Status: 401, Body: fmt.Sprintf(`{"detail":"not %s nor %s"}`, v.newest("refresh"), v.newest("access"))})
	v.ctl("0", "", "renew", "exchanger")
	w.simple.Fail(1, sandbox.Fault{Body: `{"access":["` + v.newest("access") + `"]}`})
	v.ctl("4", "", "renew", "exchanger")
	v.ctl("0", "", "retry", "exchanger")
	// A login's answer names the token of before, which is no secret of that login's.
	w.finam.Fail(1, sandbox.Fault{Status: 503, Body: `{"message":"the session ` + strings.TrimSpace(v.quietly("0", "", "get", "finam")) + ` is busy"}`})
	v.ctl("4", "", "renew", "finam")
	v.ctl("0", "", "drop", "finam")
	for _, line := range []string{
		"list", "list --json", "status broker", "status broker --json", "status echo3", "whoami", "whoami --json", "check finam", "version",
		"exec finam -- true", "wait finam",
	} {
		v.ctl("0", "", strings.Fields(line)...)
	}
	v.ctl("3", "", "get", "nobody")
	v.ctl("2", "", "get", "finam", "-o", "xml")
	v.ctl("10", "", "get", "finam", "--min-ttl", "9000h")
	for _, call := range []string{"GET /metrics", "GET /v1/health", "GET /v1/whoami", "GET /v1/credentials", "GET /v1/tokens/finam?x=1", "POST /v1/tokens/finam", "GET /v1/../x"} {
		method, target, _ := strings.Cut(call, " ")
		v.ask(method, target)
	}
}

// children looks at the processes: the daemon, tokenctl at work, what it becomes, and
// what the daemon ran.
func (v *vault) children(w *world) {
	look := func(what string, pid int, without ...string) {
		text, err := process(pid, without...)
		v.must(err)
		v.check(v.t, what, text)
	}
	look("the daemon's command line or environment", v.cmd.Process.Pid, w.variables...)
	for _, args := range [][]string{{"watch"}, {"exec", "finam", "exchanger", "--", "sh", "-c", "echo; exec sleep 1000"}} {
		path, _ := lookPath("tokenctl")
		out := newBook()
		cmd := exec.Command(path, args...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = v.env, v.dir, out, out
		v.must(cmd.Start())
		err := out.await(regexp.MustCompile(`\n`))
		look("tokenctl "+args[0], cmd.Process.Pid, append(w.variables, "FINAM_TOKEN", "EXCHANGER_TOKEN")...)
		cmd.Process.Kill()
		cmd.Wait()
		v.must(err)
		io.WriteString(v.said, out.String())
	}
	child, err := os.ReadFile(v.path("child")) // which search reads as well
	if err != nil || !strings.Contains(string(child), "/bin/sh") || strings.Contains(string(child), "BROKER_PASSWORD") {
		v.t.Errorf("the command saw %q, %v", child, err)
	}
}

// crash ends the daemon in the midst of a login, by the signals on which Go shows
// every goroutine's stack; then it damages the store, and takes its key away.
func (v *vault) crash(w *world) {
	for _, s := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGABRT} {
		w.finam.Fail(1, sandbox.Fault{Hold: w.hold})
		tried, _ := w.finam.Logins()
		path, _ := lookPath("tokenctl")
		renewing := exec.Command(path, "renew", "finam")
		renewing.Env, renewing.Stdout, renewing.Stderr = v.env, v.said, v.said
		v.must(renewing.Start())
		v.must(w.waitTried(v.t.Context(), tried+1))
		v.log.skip()
		v.end(s, "2")
		renewing.Wait() // with whatever code
		v.must(v.log.await(regexp.MustCompile(`(?s)goroutine \d+ .*providers\.\(\*finam\)\.Login\(`)))
		v.start("text")
	}
	close(w.hold)
	v.end(syscall.SIGTERM, "0")
	store, err := os.ReadFile(v.path("state/tokens.db"))
	v.must(err)
	for i := len(store) / 4; i < len(store); i += 512 {
		store[i] ^= 0x55
	}
	v.must(os.WriteFile(v.path("state/tokens.db"), store, 0o600))
	v.start("text")
	v.ctl("0", "", "wait", "shop")
	v.end(syscall.SIGTERM, "0")
	v.must(os.Remove(v.path("state/store.key")))
	v.start("json")
	v.ctl("0", "", "wait", "shop")
	v.end(syscall.SIGTERM, "0")
}

// waitTried waits until so many logins came.
func (w *world) waitTried(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	for {
		if tried, _ := w.finam.Logins(); tried >= n {
			return nil
		}
		if err := w.finam.Wait(ctx, len(w.finam.Calls())+1); err != nil {
			return err
		}
	}
}

// exitsOtherwise runs the commands that are no daemon.
func (v *vault) exitsOtherwise() {
	for _, args := range [][]string{{"check"}, {"check", "--login", "echo3"}, {"check", "--login", "tls"}, {"check", "--login", "finam"}, {"--log-level", "x"}} {
		ctx, cancel := context.WithTimeout(v.t.Context(), longest)
		cmd := exec.CommandContext(ctx, tokendPath(), args...)
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = v.env, v.dir, v.said, v.said
		err := cmd.Run()
		cancel()
		fmt.Fprintf(v.said, "tokend %s ended with %s\n", strings.Join(args, " "), outcome(err))
	}
}

// awaitCount waits until so many places are like the pattern.
func (b *book) awaitCount(pattern string, n int) error {
	b.mu.Lock()
	b.read = 0
	b.mu.Unlock()
	for range n {
		if err := b.await(regexp.MustCompile(pattern)); err != nil {
			return fmt.Errorf("%s times: %w", strconv.Itoa(n), err)
		}
	}
	return nil
}
