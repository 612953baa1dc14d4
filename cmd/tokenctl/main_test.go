package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/tokend-project/tokend/daemon/api"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"tokenctl": main})
}

func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("TOKEND_SOCKET", filepath.Join(env.WorkDir, "s"))
			env.Setenv("GORACE", "atexit_sleep_ms=0")
			return nil
		},
		Condition: func(cond string) (bool, error) {
			if cond != "service" { // a tokend that really runs on this machine
				return false, fmt.Errorf("unknown condition %q", cond)
			}
			_, err := os.Stat(api.ServiceSocket)
			return err == nil, nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"daemon": daemon,
			"exits":  exits,
		},
	})
}

// exits runs a command line and checks its exit code: exits CODE COMMAND [ARG…].
func exits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND [ARG...]")
	}
	err := ts.Exec(args[1], args[2:]...)
	code := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		code = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(code) != args[0] {
		ts.Fatalf("exit code %d, want %s", code, args[0])
	}
}

// daemon starts a server on $WORK/s that answers as the file says, a line for each
// call: METHOD TARGET STATUS BODY. The status "bytes" answers with the body as it
// is, a quoted Go string, and closes; "silence" never answers; "lines" is a
// watch that has the JSON values of the body, a line each, and goes on in silence,
// "ending" one that ends then; "echo" writes the headers that came to headers-seen. {+14m} in a body is the time in 14
// minutes. What was asked is in $WORK/requests.
func daemon(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: daemon FILE")
	}
	d := &scripted{log: ts.MkAbs("requests"), answers: map[string][2]string{}}
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if f := strings.SplitN(strings.TrimSpace(line), " ", 4); len(f) == 4 {
			d.answers[f[0]+" "+f[1]] = [2]string{f[2], f[3]}
		}
	}
	os.Remove(ts.MkAbs("s"))
	ln, err := net.Listen("unix", ts.MkAbs("s"))
	ts.Check(err)
	server := &http.Server{Handler: d}
	var done sync.WaitGroup
	done.Go(func() { server.Serve(ln) })
	ts.Defer(func() {
		server.Close()
		done.Wait()
	})
}

type scripted struct {
	answers map[string][2]string // method and target → status, body
	mu      sync.Mutex
	log     string
}

var ahead = regexp.MustCompile(`\{[+-][0-9hms]+\}`)

func (d *scripted) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	d.mu.Lock()
	log, err := os.OpenFile(d.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err == nil {
		fmt.Fprintln(log, strings.TrimSpace(r.Method+" "+r.RequestURI+" "+string(body)))
		err = log.Close()
	}
	d.mu.Unlock()
	if err != nil {
		panic(err)
	}
	a, ok := d.answers[r.Method+" "+r.RequestURI]
	if !ok {
		http.Error(w, "the script has no such call", http.StatusTeapot)
		return
	}
	text := ahead.ReplaceAllStringFunc(a[1], func(s string) string {
		in, _ := time.ParseDuration(strings.Trim(s, "{}"))
		return time.Now().Add(in).UTC().Format(time.RFC3339)
	})
	status, err := strconv.Atoi(a[0])
	switch {
	case a[0] == "silence":
		<-r.Context().Done()
	case a[0] == "lines" || a[0] == "ending":
		w.Header().Set("Content-Type", "application/x-ndjson")
		for values := json.NewDecoder(strings.NewReader(text)); values.More(); {
			var line json.RawMessage
			values.Decode(&line)
			w.Write(append(line, '\n'))
		}
		http.NewResponseController(w).Flush()
		if a[0] == "lines" {
			<-r.Context().Done()
		}
	case a[0] == "echo":
		var seen bytes.Buffer
		r.Header.Write(&seen)
		os.WriteFile(filepath.Join(filepath.Dir(d.log), "headers-seen"), bytes.ReplaceAll(seen.Bytes(), []byte("\r"), nil), 0o600)
	case err != nil:
		conn, _, _ := w.(http.Hijacker).Hijack()
		raw, _ := strconv.Unquote(text)
		io.WriteString(conn, raw)
		conn.Close()
	default:
		w.Header().Set("Content-Type", map[bool]string{true: "application/json", false: "application/problem+json"}[status < 300])
		w.WriteHeader(status)
		io.WriteString(w, text)
	}
}

// A socket that lets us not connect is exit 7. Modes do not stop root, so it runs
// tokenctl under another uid.
func TestDenied(t *testing.T) {
	dir := t.TempDir()
	program, socket := filepath.Join(dir, "tokenctl"), filepath.Join(dir, "s")
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(program, data, 0o755); err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	for path, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o755, dir: 0o755, socket: 0} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	var stderr strings.Builder
	cmd := exec.Command(program, "get", "broker", "--socket", socket)
	cmd.Stderr = &stderr
	uid := os.Geteuid()
	if uid == 0 {
		uid = 1001
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1001, Gid: 1001}}
	}
	out, _ := cmd.Output()
	want := fmt.Sprintf("tokenctl: uid %d may not connect: %s: permission denied\n"+
		"tokenctl: hint: a user's own tokend serves that user alone; see the permissions of the socket and of its directory\n", uid, socket)
	if code := cmd.ProcessState.ExitCode(); code != 7 || len(out) != 0 || stderr.String() != want {
		t.Errorf("exit %d, stdout %q, stderr %q", code, out, stderr.String())
	}
}

// A pipe that its reader has left is a failed write, not a death by SIGPIPE.
func TestClosedPipe(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	var stderr strings.Builder
	cmd := exec.Command("tokenctl", "version")
	cmd.Stdout, cmd.Stderr = w, &stderr
	err = cmd.Run()
	w.Close()
	if cmd.ProcessState.ExitCode() != 1 || stderr.String() != "tokenctl: writing to standard output: broken pipe\n" {
		t.Errorf("%v, stderr %q", err, stderr.String())
	}
}

// Ctrl-C ends what waits, whatever it waits for, and a shell sees by what.
func TestInterrupted(t *testing.T) {
	d := question(t, map[string][2]string{
		"GET /v1/tokens/broker":     {"silence", ""},
		"GET /v1/watch?name=broker": {"lines", `{"name":"broker","state":"pending"}`},
		"GET /v1/health":            {"200", "{}"},
	})
	for _, tt := range []struct{ args, until string }{
		{"get broker", "GET /v1/tokens/broker\n"},
		{"exec broker -- true", "GET /v1/tokens/broker\n"},
		{"wait broker", "GET /v1/watch?name=broker\n"},
		{"watch broker", "GET /v1/watch?name=broker\n"},
	} {
		os.Remove(d.log)
		cmd := exec.Command("tokenctl", strings.Fields(tt.args)...)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		for asked := ""; !strings.HasSuffix(asked, tt.until); {
			text, _ := os.ReadFile(d.log)
			asked = string(text)
		}
		cmd.Process.Signal(syscall.SIGINT)
		if cmd.Wait(); cmd.ProcessState.String() != "signal: interrupt" {
			t.Errorf("%s: %s", tt.args, cmd.ProcessState)
		}
	}
}
