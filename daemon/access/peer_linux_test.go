package access

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// dialEnv makes the test binary a client of the socket that it names.
const dialEnv = "ACCESS_TEST_DIAL"

func TestMain(m *testing.M) {
	if path := os.Getenv(serveEnv); path != "" {
		serveApart(path)
	}
	if path := os.Getenv(dialEnv); path != "" {
		c, err := net.Dial("unix", path)
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		c.Read(make([]byte, 1)) // until the test has seen us
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// listen makes a socket that every user can reach.
func listen(t testing.TB) (ln net.Listener, path string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "access") //nolint:usetesting // other users have to reach it, and t.TempDir is below a closed directory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path = filepath.Join(dir, "s")
	if ln, err = net.Listen("unix", path); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	for p, mode := range map[string]os.FileMode{dir: 0o755, path: 0o666} {
		if err := os.Chmod(p, mode); err != nil {
			t.Fatal(err)
		}
	}
	return ln, path
}

// peerFrom is the peer that dial makes.
func peerFrom(t *testing.T, dial func(path string)) Peer {
	t.Helper()
	ln, path := listen(t)
	dial(path)
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	peer, err := PeerOf(c.(*net.UnixConn))
	if err != nil {
		t.Fatal(err)
	}
	return peer
}

// others are this process's groups but for its gid.
func others(t *testing.T) []uint32 {
	t.Helper()
	all, err := os.Getgroups()
	if err != nil {
		t.Fatal(err)
	}
	var groups []uint32
	for _, g := range all {
		if g != os.Getegid() {
			groups = append(groups, uint32(g))
		}
	}
	return groups
}

func TestPeerOf_self(t *testing.T) {
	peer := peerFrom(t, func(path string) {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
	})
	if int(peer.UID) != os.Geteuid() || int(peer.GID) != os.Getegid() || int(peer.PID) != os.Getpid() || !peer.Owner {
		t.Errorf("got %+v", peer)
	}
	if want := others(t); !slices.Equal(peer.Groups, want) {
		t.Errorf("groups %v, want %v", peer.Groups, want)
	}
	if want := peer.UID == overflowUID() || peer.UID == 65534; peer.Overflow != want {
		t.Errorf("Overflow is %v", peer.Overflow)
	}
}

// copyOfTest is this test's binary where every user can run it.
func copyOfTest(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "access") //nolint:usetesting // as above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "dial")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPeerOf_others(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can start a process under another uid; run this test as root once")
	}
	program := copyOfTest(t)
	many := make([]uint32, 200) // more than the first buffer holds
	for i := range many {
		many[i] = uint32(3000 + i)
	}
	for _, tt := range []struct {
		name   string
		cred   syscall.Credential
		groups []uint32
		over   bool
	}{
		{"groups", syscall.Credential{Uid: 1001, Gid: 1002, Groups: []uint32{4, 27}}, []uint32{4, 27}, false},
		{"none", syscall.Credential{Uid: 1001, Gid: 1001}, nil, false},
		{"the gid among them", syscall.Credential{Uid: 1001, Gid: 27, Groups: []uint32{4, 27}}, []uint32{4}, false},
		{"many", syscall.Credential{Uid: 1001, Gid: 1001, Groups: many}, many, false},
		{"nobody", syscall.Credential{Uid: 65534, Gid: 65534}, nil, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var pid int
			peer := peerFrom(t, func(path string) {
				cmd := exec.Command(program)
				cmd.Env = []string{dialEnv + "=" + path, "GORACE=atexit_sleep_ms=0"}
				cmd.Stderr = os.Stderr
				cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &tt.cred}
				if err := cmd.Start(); err != nil {
					t.Fatal(err)
				}
				pid = cmd.Process.Pid
				t.Cleanup(func() {
					if err := cmd.Wait(); err != nil {
						t.Errorf("the client: %v", err)
					}
				})
			})
			if peer.UID != tt.cred.Uid || peer.GID != tt.cred.Gid || int(peer.PID) != pid || peer.Owner || peer.Overflow != tt.over {
				t.Errorf("got %+v", peer)
			}
			if !slices.Equal(peer.Groups, tt.groups) {
				t.Errorf("groups %v, want %v", peer.Groups, tt.groups)
			}
		})
	}
}

func TestPeerOf_closed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if peer, err := PeerOf(c.(*net.UnixConn)); err == nil {
		t.Errorf("a closed connection has the peer %+v", peer)
	}
}
