package api

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestSockets(t *testing.T) {
	const service = "/run/tokend/tokend.sock"
	for _, tt := range []struct {
		name, flag string
		env        map[string]string
		want       []string
	}{
		{"service", "", nil, []string{service}},
		{"user, then service", "", map[string]string{"XDG_RUNTIME_DIR": "/run/user/7"}, []string{"/run/user/7/tokend/tokend.sock", service}},
		{"a slash at the end", "", map[string]string{"XDG_RUNTIME_DIR": "/run/user/7/"}, []string{"/run/user/7/tokend/tokend.sock", service}},
		{"relative XDG_RUNTIME_DIR", "", map[string]string{"XDG_RUNTIME_DIR": "run"}, []string{service}},
		{"environment", "", map[string]string{"TOKEND_SOCKET": "/a", "XDG_RUNTIME_DIR": "/r"}, []string{"/a"}},
		{"URL in the environment", "", map[string]string{"TOKEND_SOCKET": "unix:///a/b"}, []string{"/a/b"}},
		{"flag", "b", map[string]string{"TOKEND_SOCKET": "/a"}, []string{"b"}},
		{"URL as the flag", "unix:///c", nil, []string{"/c"}},
		{"empty URL", "unix://", nil, []string{service}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := Sockets(tt.flag, func(key string) string { return tt.env[key] }); !slices.Equal(got, tt.want) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

func TestConnect_triesInOrder(t *testing.T) {
	good := reply(200, "application/json", status)
	first, second := newDaemon(t, good), newDaemon(t, good)
	missing := filepath.Join(t.TempDir(), "missing")
	c := &Client{Sockets: []string{missing, first.socket, second.socket}}
	if _, err := c.Credential(t.Context(), "broker"); err != nil {
		t.Fatal(err)
	}
	if a, b := len(first.requests()), len(second.requests()); a != 1 || b != 0 {
		t.Errorf("%d requests to the first, %d to the second", a, b)
	}
}

func TestConnect_unreachable(t *testing.T) {
	dir := t.TempDir()
	missing, stale := filepath.Join(dir, "missing"), filepath.Join(dir, "stale")
	ln, err := net.Listen("unix", stale)
	if err != nil {
		t.Fatal(err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false)
	ln.Close()
	long := "/" + strings.Repeat("x", 120)

	_, err = (&Client{Sockets: []string{missing, stale, long}}).Health(t.Context())
	wantError(t, err, CodeUnreachable, "no tokend answers: "+missing+": no such file or directory; "+
		stale+": connection refused; "+long+": the path of a socket has at most 107 bytes")
	_, err = (&Client{}).Health(t.Context())
	wantError(t, err, CodeUnreachable, "there is no socket to try")
}

// dialEnv makes the test binary a client of the socket that it names.
const dialEnv = "API_TEST_DIAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(dialEnv); path != "" {
		_, err := (&Client{Sockets: []string{path}}).Health(context.Background())
		var e *Error
		if errors.As(err, &e) {
			os.Stdout.WriteString(string(e.Code) + " " + e.Detail)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestConnect_denied(t *testing.T) {
	d := newDaemon(t, reply(200, "application/json", "{}"))
	if err := os.Chmod(d.socket, 0); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe")
	uid := os.Geteuid()
	if uid == 0 { // whom no mode stops
		uid = 1001
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 1001, Gid: 1001}}
		for dir := filepath.Dir(d.socket); dir != "/"; dir = filepath.Dir(dir) {
			if info, err := os.Stat(dir); err == nil && info.Mode()&0o001 == 0 {
				if err := os.Chmod(dir, info.Mode()|0o711); err != nil {
					t.Fatal(err)
				}
			}
		}
		data, err := os.ReadFile("/proc/self/exe")
		if err != nil {
			t.Fatal(err)
		}
		cmd.Path = filepath.Join(filepath.Dir(d.socket), "dial")
		if err := os.WriteFile(cmd.Path, data, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Env = []string{dialEnv + "=" + d.socket, "GORACE=atexit_sleep_ms=0"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	id := map[bool]string{true: "1001", false: ""}[uid == 1001]
	if got := string(out); !strings.HasPrefix(got, "denied uid "+id) || !strings.HasSuffix(got, " may not connect: "+d.socket+": permission denied") {
		t.Errorf("got %q", got)
	}
}

// crowded is a socket whose backlog is full.
func crowded(t *testing.T) (socket string, accept func() (net.Conn, error)) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(fd, &syscall.SockaddrUnix{Name: socket}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	file := os.NewFile(uintptr(fd), socket)
	ln, err := net.FileListener(file)
	file.Close()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	for {
		c, err := net.Dial("unix", socket)
		if errors.Is(err, syscall.EAGAIN) {
			return socket, ln.Accept
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	}
}

func TestConnect_crowd(t *testing.T) {
	socket, accept := crowded(t)
	var call sync.WaitGroup
	var err error
	call.Go(func() { _, err = (&Client{Sockets: []string{socket}}).Health(t.Context()) })
	go func() {
		for {
			c, err := accept()
			if err != nil {
				return
			}
			go func() { // the crowd says nothing
				defer c.Close()
				if n, _ := c.Read(make([]byte, 1024)); n > 0 {
					c.Write([]byte(reply(200, "application/json", "{}")))
				}
			}()
		}
	}()
	call.Wait()
	if err != nil {
		t.Error(err)
	}
}

func TestConnect_crowdForever(t *testing.T) {
	socket, _ := crowded(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := (&Client{Sockets: []string{socket}}).Health(ctx)
	wantError(t, err, CodeUnreachable, socket+": no answer in time")
}

// A daemon that never answers ends with the ctx, and so does a call given up.
func TestClient_ctx(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket) // the kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c := &Client{Sockets: []string{socket}}

	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err = c.Drop(ctx, "broker", nil)
	wantError(t, err, CodeUnreachable, socket+": no answer in time; it is not known whether the request was carried out")

	ctx, cancel = context.WithCancel(t.Context())
	go cancel()
	_, err = c.Health(ctx)
	wantError(t, err, CodeUnreachable, socket+": the call was given up")
}
