package access

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// unknownOption is a socket option that no kernel has: to it, every kernel is one
// from before pidfds.
const unknownOption = 9999

// ways are both ways to look up a unit.
var ways = map[string]int{"by pidfd": unix.SO_PEERPIDFD, "by start": unknownOption}

// lookUp is the connection's caller as PeerOf would know it, and its unit each way.
func lookUp(t *testing.T, c *net.UnixConn) (caller, func(way string) (string, error)) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	peer, err := PeerOf(c)
	if err != nil {
		t.Fatal(err)
	}
	who := caller{conn: raw, pid: peer.PID, uid: peer.UID, met: sinceBoot()}
	return who, func(way string) (string, error) { return who.unitBy(ways[way]) }
}

// client starts a process that connects, in the cgroup if one is given. It ends with
// its connection, or when it is killed.
func client(t *testing.T, cgroup string) (*net.UnixConn, *exec.Cmd) {
	t.Helper()
	ln, path := listen(t)
	cmd := dialer(t, path, cgroup)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() }) // a test may have waited for it, or killed it
	c, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*net.UnixConn), cmd
}

// dialer is a process that connects to the path.
func dialer(t *testing.T, path, cgroup string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = []string{dialEnv + "=" + path, "GORACE=atexit_sleep_ms=0"}
	cmd.Stderr = os.Stderr
	if cgroup != "" {
		cmd.SysProcAttr = into(t, cgroup)
	}
	return cmd
}

func into(t *testing.T, cgroup string) *syscall.SysProcAttr {
	t.Helper()
	dir, err := os.Open(cgroup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dir.Close() })
	return &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
}

// ownSlice makes a slice in cgroup v2, below which make makes cgroups. As it is a
// slice, what is below it counts as if it were at the root.
func ownSlice(t *testing.T) (mkdir func(path string) string) {
	t.Helper()
	root := ""
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 2 && f[2] == "cgroup2" {
			root = f[1]
		}
	}
	slice := filepath.Join(root, fmt.Sprintf("tokendtest%d.slice", os.Getpid()))
	if err := os.Mkdir(slice, 0o755); root == "" || err != nil {
		t.Skipf("SKIPPED: no cgroup can be made (%v): run this test once as root where cgroup v2 is mounted", err)
	}
	t.Cleanup(func() {
		var dirs []string
		filepath.WalkDir(slice, func(path string, d fs.DirEntry, _ error) error {
			if d.IsDir() {
				dirs = append([]string{path}, dirs...)
			}
			return nil
		})
		for _, dir := range dirs {
			if err := syscall.Rmdir(dir); err != nil {
				t.Errorf("removing %s: %v", dir, err)
			}
		}
	})
	return func(path string) string {
		full := filepath.Join(slice, path)
		if err := os.MkdirAll(full, 0o755); err != nil {
			t.Fatal(err)
		}
		return full
	}
}

func TestUnit(t *testing.T) {
	mkdir := ownSlice(t)
	for path, want := range map[string]string{
		"system.slice/shop.service":                                           "shop.service",
		"system.slice/shop.service/nested/deep":                               "shop.service",
		"system.slice/worker@a.service":                                       "worker@a.service",
		"system.slice/_cpu.service":                                           "cpu.service",
		"system.slice/box.service/shop.service":                               "box.service",
		"user.slice/user-1001.slice/user@1001.service/app.slice/shop.service": "user@1001.service",
		"user.slice": "",
	} {
		t.Run(strings.ReplaceAll(path, "/", ","), func(t *testing.T) {
			c, _ := client(t, mkdir(path))
			_, unit := lookUp(t, c)
			for way := range ways {
				if got, err := unit(way); got != want || err != nil {
					t.Errorf("%s: %q, %v; want %q", way, got, err, want)
				}
			}
			c.Close()
		})
	}
}

// What the unit was found to be stays so for the life of the connection.
func TestUnit_once(t *testing.T) {
	mkdir := ownSlice(t)
	c, cmd := client(t, mkdir("evil.service"))
	peer, err := PeerOf(c)
	if err != nil {
		t.Fatal(err)
	}
	if unit, err := peer.Unit(); unit != "evil.service" || err != nil {
		t.Errorf("%q, %v", unit, err)
	}
	procs := filepath.Join(mkdir("shop.service"), "cgroup.procs")
	if err := os.WriteFile(procs, []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		t.Fatal(err)
	}
	_, unit := lookUp(t, c)
	for way := range ways {
		if got, err := unit(way); got != "shop.service" || err != nil {
			t.Errorf("%s, it was moved: %q, %v", way, got, err)
		}
	}
	if unit, err := peer.Unit(); unit != "evil.service" || err != nil {
		t.Errorf("after it was moved: %q, %v", unit, err)
	}
	c.Close()
	_ = cmd.Wait()
}

// serveEnv makes the test binary a server in a cgroup namespace of its own.
const serveEnv = "ACCESS_TEST_SERVE"

// serveApart tells on standard output the unit of the one caller that it has.
func serveApart(path string) {
	runtime.LockOSThread() // the namespace is the thread's
	err := unix.Unshare(unix.CLONE_NEWCGROUP)
	if err != nil {
		fmt.Println("unsharing:", err)
		os.Exit(0)
	}
	ln, err := net.Listen("unix", path)
	fmt.Println("listening", err)
	c, err := ln.Accept()
	if err != nil {
		fmt.Println("accepting:", err)
		os.Exit(0)
	}
	peer, _ := PeerOf(c.(*net.UnixConn))
	unit, err := peer.Unit()
	fmt.Printf("%q %v\n", unit, err)
	os.Exit(0)
}

func TestUnit_otherNamespace(t *testing.T) {
	mkdir := ownSlice(t)
	for _, tt := range []struct{ cgroup, want string }{
		{"system.slice/shop.service", `"" its cgroup "/../shop.service"` + outside},
		{"shop.service", `"" its cgroup "/../../shop.service"` + outside},
		{"system.slice/tokend.service/nested", `"" <nil>`},
	} {
		path := filepath.Join(t.TempDir(), "s")
		server := exec.Command("/proc/self/exe")
		server.Env = []string{serveEnv + "=" + path}
		server.SysProcAttr = into(t, mkdir("system.slice/tokend.service"))
		out, err := server.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		if lines.Scan(); lines.Text() != "listening <nil>" {
			t.Fatalf("the server says %q", lines.Text())
		}
		cmd := dialer(t, path, mkdir(tt.cgroup))
		if err := cmd.Run(); err != nil {
			t.Errorf("the client: %v", err)
		}
		if lines.Scan(); lines.Text() != tt.want {
			t.Errorf("%s: got %s\nwant %s", tt.cgroup, lines.Text(), tt.want)
		}
		_ = server.Wait()
	}
}

func TestUnit_exited(t *testing.T) {
	c, cmd := client(t, "")
	who, unit := lookUp(t, c)
	for way := range ways {
		if _, err := unit(way); errors.Is(err, errExited) {
			t.Errorf("%s, alive: %v", way, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil); err != nil {
		t.Fatal(err)
	}
	for way := range ways {
		if got, err := unit(way); got != "" || !errors.Is(err, errExited) {
			t.Errorf("%s, not waited for: %q, %v", way, got, err)
		}
	}
	_ = cmd.Wait()
	for way := range ways {
		if got, err := unit(way); got != "" || !errors.Is(err, errExited) {
			t.Errorf("%s, waited for: %q, %v", way, got, err)
		}
	}
	reuse(t, who)
	for way := range ways {
		if got, err := unit(way); got != "" || !errors.Is(err, errExited) {
			t.Errorf("%s, its pid is another's: %q, %v", way, got, err)
		}
	}
}

// reuse starts a process with the pid of the caller that has exited.
func reuse(t *testing.T, who caller) {
	t.Helper()
	for sinceBoot() < who.met+tick { // else only the uid could tell them apart
		runtime.Gosched()
	}
	ln, path := listen(t)
	for range 1000 {
		// Of our PID namespace; somebody else's process may come in between.
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", []byte(strconv.Itoa(int(who.pid)-1)), 0); err != nil {
			t.Skipf("SKIPPED: a pid cannot be used again (%v): run this test once as root", err)
		}
		cmd := dialer(t, path, "")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		c, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if cmd.Process.Pid == int(who.pid) {
			t.Cleanup(func() { c.Close(); _ = cmd.Wait() })
			return
		}
		c.Close()
		_ = cmd.Wait()
	}
	t.Skip("SKIPPED: 1000 times somebody else got the pid: run this test on a machine that is less busy")
}

func TestUnit_notTheCaller(t *testing.T) {
	c, _ := client(t, "")
	who, _ := lookUp(t, c)
	if _, err := who.unitByStart(); errors.Is(err, errExited) {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		change func(*caller)
		want   string
	}{
		{"started after it connected", func(c *caller) { c.met -= time.Since(time.Time{}) }, errExited.Error()},
		{"of another uid", func(c *caller) { c.uid++ }, fmt.Sprintf("the process %d has the uid %d by now", who.pid, who.uid)},
		{"in another PID namespace", func(c *caller) { c.pid = 0 }, errElsewhere.Error()},
	} {
		other := who
		tt.change(&other)
		if unit, err := other.unitBy(unknownOption); unit != "" || err == nil || err.Error() != tt.want {
			t.Errorf("%s: %q, %v; want %s", tt.name, unit, err, tt.want)
		}
	}
	// An option that answers as SO_PEERPIDFD does, before 6.16, about who is gone.
	if unit, err := who.unitBy(unix.SO_COOKIE); unit != "" || !errors.Is(err, errExited) {
		t.Errorf("EINVAL: %q, %v", unit, err)
	}
	other := who
	other.pid = 0
	if _, err := other.unit(); !errors.Is(err, errElsewhere) {
		t.Errorf("by pidfd, in another PID namespace: %v", err)
	}
	c.Close()
	if unit, err := who.unit(); unit != "" || !errors.Is(err, net.ErrClosed) {
		t.Errorf("of a closed connection: %q, %v", unit, err)
	}
}

func TestHidden(t *testing.T) {
	for err, want := range map[error]string{
		unix.ENOENT: errHidden.Error(), unix.EACCES: errHidden.Error(), unix.EPERM: errHidden.Error(),
		unix.EMFILE: "reading its cgroup: open /proc/7/cgroup: too many open files",
	} {
		if got := hidden(&fs.PathError{Op: "open", Path: "/proc/7/cgroup", Err: err}).Error(); got != want {
			t.Errorf("%v: %s", err, got)
		}
	}
}

// stat is a line of /proc/PID/stat.
func stat(name string, ticks uint32) string {
	return fmt.Sprintf("7 (%s) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %d 99 1 2 3\n", name, ticks)
}

// FuzzStat: the name of a program cannot pass for another field, and nothing else
// for a line.
func FuzzStat(f *testing.F) {
	f.Add("shop", uint32(1))
	f.Add("a) Z 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 99 1", uint32(7))
	f.Add("7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 -5", uint32(7))
	f.Add("7 (a) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 9223372036854775807", uint32(7))
	f.Fuzz(func(t *testing.T, text string, ticks uint32) {
		state, start, ok := stateAndStart(stat(text, ticks))
		if !ok || state != 'S' || start != time.Duration(ticks)*tick {
			t.Errorf("%c %v %v", state, start, ok)
		}
		if _, start, ok := stateAndStart(text); ok && start < 0 {
			t.Errorf("%q starts at %v", text, start)
		}
	})
}

func TestEffectiveUID(t *testing.T) {
	for _, tt := range []struct {
		status string
		uid    uint32
		ok     bool
	}{
		{"Name:\tshop\nUmask:\t0022\nUid:\t1\t1001\t3\t4\nGid:\t5\t6\t7\t8\n", 1001, true},
		{"Name:\tshop\nUid:\t1\t1001\n", 0, false},
		{"Name:\tUid:\t1\t2\t3\t4\n", 0, false},
		{"Name:\tshop\nUid:\t1\tx\t3\t4\n", 0, false},
		{"", 0, false},
	} {
		if uid, ok := effectiveUID(tt.status); uid != tt.uid || ok != tt.ok {
			t.Errorf("%q: %d, %v", tt.status, uid, ok)
		}
	}
}
