package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// vault is a daemon of its own, with the secrets that it must not show, and all that
// it and tokenctl said.
type vault struct {
	*hoard
	t    *testing.T
	dir  string // its own; nothing but its files is in there
	env  []string
	log  *book // the daemon's output, and the journal's entries
	told *book // to systemd
	said *book // what tokenctl and the socket answered
	http *http.Client
	cmd  *exec.Cmd
	exit chan error
}

func newVault(t *testing.T) *vault {
	t.Helper()
	dir, err := os.MkdirTemp("", "vault") //nolint:usetesting // that of t is too long for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	v := &vault{hoard: newHoard(), t: t, dir: dir, log: newBook(), told: newBook(), said: newBook()}
	for _, name := range []string{"given", "home", "tmp"} {
		v.must(os.Mkdir(v.path(name), 0o700))
	}
	v.http = &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", v.path("s"))
		},
	}}
	v.env = []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + v.path("home"), "TMPDIR=" + v.path("tmp"), "GORACE=atexit_sleep_ms=0", "GOTRACEBACK=all",
		"TOKEND_CREDENTIALS=" + v.path("credentials.toml"), "TOKEND_SOCKET=" + v.path("s"), "TOKEND_STORE=" + v.path("state/tokens.db"),
		"TOKEND_LOG_LEVEL=debug", "NOTIFY_SOCKET=" + v.path("n"), "CREDENTIALS_DIRECTORY=" + v.path("given"),
	}
	v.hear("n", v.told)
	t.Cleanup(func() {
		if v.cmd != nil {
			v.cmd.Process.Kill()
			<-v.exit
		}
	})
	return v
}

func (v *vault) path(name string) string { return filepath.Join(v.dir, name) }

func (v *vault) must(err error) {
	v.t.Helper()
	if err != nil {
		v.t.Fatalf("%v\n%s", err, v.latest())
	}
}

// latest is the end of the log.
func (v *vault) latest() string {
	text := v.log.String()
	return "the end of the log:\n" + text[max(0, len(text)-4000):]
}

// hear is a socket on which whole messages arrive, such as systemd's and the journal's.
func (v *vault) hear(name string, b *book) {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: v.path(name), Net: "unixgram"})
	v.must(err)
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 256<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			b.Write(append(buf[:n:n], '\n'))
		}
	})
	v.t.Cleanup(func() { conn.Close(); done.Wait() })
}

// write puts a file of mode 0600 in its place in one step.
func (v *vault) write(name, text string) {
	v.t.Helper()
	v.must(os.WriteFile(v.path(name+".new"), []byte(text), 0o600))
	v.must(os.Rename(v.path(name+".new"), v.path(name)))
}

// start runs tokend, behind the words of prefix if there are any, until it is ready.
func (v *vault) start(format string, prefix ...string) {
	v.t.Helper()
	v.launch(nil, append(prefix, tokendPath(), "--log-format", format))
}

func (v *vault) launch(attr *syscall.SysProcAttr, argv []string) {
	v.t.Helper()
	v.told.skip()
	v.cmd = exec.Command(argv[0], argv[1:]...)
	v.cmd.Env, v.cmd.Dir, v.cmd.Stdout, v.cmd.Stderr, v.cmd.SysProcAttr = v.env, v.dir, v.log, v.log, attr
	if err := v.cmd.Start(); err != nil {
		v.cmd = nil
		v.t.Fatal(err)
	}
	v.exit = make(chan error, 1)
	go func(cmd *exec.Cmd, exit chan<- error) { exit <- cmd.Wait() }(v.cmd, v.exit)
	v.must(v.told.await(regexp.MustCompile(`(?m)^READY=1`)))
}

func tokendPath() string {
	path, _ := lookPath("tokend") // of ours there is no error
	return path
}

// end sends a signal and waits for the daemon's end.
func (v *vault) end(s syscall.Signal, want string) {
	v.t.Helper()
	v.must(v.cmd.Process.Signal(s))
	select {
	case err := <-v.exit:
		v.cmd = nil
		if got := outcome(err); got != want {
			v.t.Fatalf("%v ended the daemon with %s, want %s\n%s", s, got, want, v.latest())
		}
	case <-time.After(longest):
		v.t.Fatalf("%v does not end the daemon\n%s", s, v.latest())
	}
}

// ctl runs tokenctl and notes what it says; the output is returned too.
func (v *vault) ctl(want, stdin string, args ...string) string {
	v.t.Helper()
	out := v.quietly(want, stdin, args...)
	fmt.Fprintf(v.said, "tokenctl %s:\n%s\n", strings.Join(args, " "), out)
	return out
}

// quietly is ctl for what may show a token to its reader.
func (v *vault) quietly(want, stdin string, args ...string) string {
	v.t.Helper()
	path, _ := lookPath("tokenctl")
	ctx, cancel := context.WithTimeout(v.t.Context(), longest)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir, cmd.Stdin = v.env, v.dir, strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if got := outcome(err); got != want {
		v.t.Fatalf("tokenctl %s ended with %s, want %s: %s\n%s", strings.Join(args, " "), got, want, out, v.latest())
	}
	return string(out)
}

// ask calls the socket and notes the answer.
func (v *vault) ask(method, target string) (status int) {
	v.t.Helper()
	req, err := http.NewRequestWithContext(v.t.Context(), method, "http://tokend"+target, nil)
	v.must(err)
	res, err := v.http.Do(req)
	v.must(err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	v.must(err)
	fmt.Fprintf(v.said, "%s %s: %v %s\n", method, target, res.Header, body)
	return res.StatusCode
}

// search looks for the hoard in all that was said, and in every file but those that
// the test put there.
func (v *vault) search() {
	v.t.Helper()
	for where, b := range map[string]*book{"the log": v.log, "what systemd was told": v.told, "an answer": v.said} {
		v.check(v.t, where, b.String())
	}
	files := 0
	v.must(filepath.WalkDir(v.dir, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case path == v.path("given"): // the sources of secrets
			return fs.SkipDir
		case !d.Type().IsRegular() || path == v.path("credentials.toml"):
			return nil
		}
		text, err := os.ReadFile(path)
		v.check(v.t, path, string(text))
		files++
		return err
	}))
	if files < 2 {
		v.t.Errorf("%d files were searched, not even the store and its key", files)
	}
}

// taken is what in an answer of a look-alike is a token or a ticket.
var taken = regexp.MustCompile(`"(token|access|refresh|refresh_token|Token)":"([^"]{12,})"`)

// tap has a look-alike's handler tell the hoard what it hands out and is sent.
func (v *vault) tap(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, name := range []string{"Verificationcode", "Pincode", "Proxy-Authorization"} {
			v.add(name, strings.TrimPrefix(r.Header.Get(name), "Basic "))
		}
		next.ServeHTTP(&tapped{w, v}, r)
	})
}

// tapped is a response whose tokens are known before the client has them.
type tapped struct {
	http.ResponseWriter
	v *vault
}

// Write is the http.ResponseWriter's.
func (w *tapped) Write(b []byte) (int, error) {
	for _, match := range taken.FindAllSubmatch(b, -1) {
		w.v.add(string(match[1]), string(match[2]))
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *tapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// process is a process's command line and environment, without the variables that
// are named.
func process(pid int, without ...string) (string, error) {
	line, err1 := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	env, err2 := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	var text bytes.Buffer
	text.Write(line)
	for pair := range bytes.SplitSeq(env, []byte{0}) {
		name, _, _ := strings.Cut(string(pair), "=")
		if !strings.Contains(" "+strings.Join(without, " ")+" ", " "+name+" ") {
			fmt.Fprintf(&text, "\n%s", pair)
		}
	}
	if errors.Is(err2, fs.ErrPermission) {
		err2 = nil // the daemon's, to anybody but root: see shield
	}
	return text.String(), errors.Join(err1, err2)
}
