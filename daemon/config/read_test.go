package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// withFile runs the test with a file of that owner and mode; only root can make
// one for another owner.
func withFile(t *testing.T, uid, gid uint32, mode os.FileMode) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	write(t, path, "hush-")
	if int(uid) != os.Getuid() || int(gid) != os.Getgid() {
		if os.Getuid() != 0 {
			t.Skipf("SKIPPED, NOT TESTED: only root can make a file of %d:%d", uid, gid)
		}
		if err := os.Chown(path, int(uid), int(gid)); err != nil {
			t.Skipf("SKIPPED, NOT TESTED: %v", err)
		}
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
	return path
}

// permissionCase is a reader, a file, and what the reader says of it.
type permissionCase struct {
	name          string
	r             reader
	uid, gid      uint32
	mode          os.FileMode
	problem, warn string // PATH stands for the path
}

// permissionCases is a table of its own: it is long.
func permissionCases() []permissionCase {
	daemon := reader{uid: 990, gids: []uint32{991, 992}}
	root := reader{uid: 0, gids: []uint32{0, 4}}
	checking := reader{uid: 0, gids: []uint32{0}, lenient: true}
	checkingUser := reader{uid: 990, gids: []uint32{991}, lenient: true}
	return []permissionCase{
		{"own", daemon, 990, 991, 0o600, "", ""},
		{"own, read-only", daemon, 990, 991, 0o400, "", ""},
		{"own, executable", daemon, 990, 991, 0o700, "", ""},
		{"root's, own group reads", daemon, 0, 991, 0o640, "", ""},
		{"root's, other group of its own reads", daemon, 0, 992, 0o440, "", ""},
		{"root's, root's group reads", daemon, 0, 0, 0o640, "", ""},
		{"root's, foreign group may not read", daemon, 0, 555, 0o600, "", ""},
		{
			"world reads", daemon, 990, 991, 0o644,
			"it is open to everybody (mode 0644): run chmod 0640 PATH", "",
		},
		{
			"world writes only", daemon, 990, 991, 0o602,
			"it is open to everybody (mode 0602): run chmod 0600 PATH", "",
		},
		{
			"world executes only", daemon, 990, 991, 0o601,
			"it is open to everybody (mode 0601): run chmod 0600 PATH", "",
		},
		{
			"own group writes", daemon, 990, 991, 0o660,
			"gid 991 may write it (mode 0660): run chmod 0640 PATH", "",
		},
		{
			"root's group writes", root, 0, 0, 0o620,
			"gid 0 may write it (mode 0620): run chmod 0600 PATH", "",
		},
		{
			"foreign group reads", daemon, 990, 555, 0o640,
			"gid 555, which is no group of tokend's, may read it (mode 0640): run chmod 0600 PATH", "",
		},
		{
			"foreign owner", daemon, 1000, 991, 0o600,
			"it belongs to uid 1000, not to root or to uid 990 that runs tokend (mode 0600): run chown 990 PATH", "",
		},
		{
			"foreign owner, root asks", root, 1000, 0, 0o600,
			"it belongs to uid 1000, not to root or to uid 0 that runs tokend (mode 0600): run chown 0 PATH", "",
		},
		{
			"everything", daemon, 1000, 555, 0o666,
			"it belongs to uid 1000, not to root or to uid 990 that runs tokend, it is open to everybody, gid 555 may write it, " +
				"gid 555, which is no group of tokend's, may read it (mode 0666): run chown 990 PATH && chmod 0600 PATH", "",
		},
		{"check by root, foreign owner", checking, 990, 0, 0o600, "", "it belongs to uid 990: tokend takes it only if it runs as that"},
		{"check by root, foreign group", checking, 0, 991, 0o640, "", "gid 991 may read it: tokend takes it only if that is a group of its own"},
		{"check by root, world reads", checking, 990, 0, 0o604, "it is open to everybody (mode 0604): run chmod 0600 PATH", "it belongs to uid 990: tokend takes it only if it runs as that"},
		{
			"check by a user, foreign owner", checkingUser, 1000, 991, 0o600,
			"it belongs to uid 1000, not to root or to uid 990 that runs tokend (mode 0600): run chown 990 PATH", "",
		},
	}
}

func TestPermissions(t *testing.T) {
	for _, tt := range permissionCases() {
		t.Run(tt.name, func(t *testing.T) {
			path := withFile(t, tt.uid, tt.gid, tt.mode)
			c := tt.r.read(path, maxSecret, true)
			got := ""
			if c.err != nil {
				got = strings.ReplaceAll(c.err.Error(), path, "PATH")
			}
			if got != tt.problem || c.foreign != tt.warn {
				t.Errorf("got  %q, warning %q\nwant %q, warning %q", got, c.foreign, tt.problem, tt.warn)
			}
			if (string(c.data) == "hush-") != (tt.problem == "") {
				t.Errorf("read %q", c.data)
			}
			// What was read without the checks is not taken for a secret.
			if c := tt.r.read(path, maxCA, false); c.err != nil || string(c.data) != "hush-" {
				t.Errorf("as a public file: %v", c.err)
			}
			if again := tt.r.read(path, maxSecret, true); (again.err == nil) != (tt.problem == "") {
				t.Errorf("the second time: %v", again.err)
			}
		})
	}
}

// TestPermissions_mended follows the advice.
func TestPermissions_mended(t *testing.T) {
	for _, mode := range []os.FileMode{0o644, 0o606, 0o777, 0o620, 0o666} {
		path := withFile(t, uint32(os.Getuid()), uint32(os.Getgid()), mode)
		r := func() *reader { return &reader{uid: uint32(os.Getuid()), gids: []uint32{uint32(os.Getgid())}} }
		err := r().read(path, maxSecret, true).err
		if err == nil {
			t.Fatalf("%04o is taken", mode)
		}
		_, advice, _ := strings.Cut(err.Error(), "run chmod ")
		var want uint32
		if _, err := fmt.Sscanf(advice, "%o "+path, &want); err != nil {
			t.Fatalf("%v in %q", err, advice)
		}
		if err := os.Chmod(path, os.FileMode(want)); err != nil {
			t.Fatal(err)
		}
		if c := r().read(path, maxSecret, true); c.err != nil {
			t.Errorf("%04o, then %04o: %v", mode, want, c.err)
		}
	}
}

// TestLoad_file is about the credentials file itself.
func TestLoad_file(t *testing.T) {
	for _, tt := range []struct {
		name string
		make func(path string) error
		want string
	}{
		{"missing", func(string) error { return nil }, "there is no such file: write one (an empty [credentials] table means none), or name another with --credentials"},
		{"directory", func(p string) error { return os.Mkdir(p, 0o700) }, "a directory, not a regular file"},
		{"pipe", func(p string) error { return syscall.Mkfifo(p, 0o600) }, "a named pipe, not a regular file"},
		{"device", func(p string) error { return os.Symlink("/dev/null", p) }, "a device, not a regular file"},
		{"dangling link", func(p string) error { return os.Symlink("nowhere", p) }, "there is no such file: write one (an empty [credentials] table means none), or name another with --credentials"},
		{"socket", func(p string) error {
			fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
			if err != nil {
				return err
			}
			defer syscall.Close(fd)
			return syscall.Bind(fd, &syscall.SockaddrUnix{Name: p})
		}, "a socket or a device without a driver, not a regular file"},
		{"too large", func(p string) error {
			return errors.Join(os.WriteFile(p, nil, 0o600), os.Truncate(p, maxFile+1))
		}, "larger than 64 MiB"},
		{"open", func(p string) error { return errors.Join(os.WriteFile(p, nil, 0o600), os.Chmod(p, 0o666)) }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "it's")
			if err := tt.make(path); err != nil {
				t.Fatal(err)
			}
			f, err := testLoader(path).Load(t.Context())
			want := path + ": " + tt.want + "\n"
			if tt.want == "" {
				quoted := "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
				want = fmt.Sprintf("%s: it is open to everybody, gid %d may write it (mode 0666): run chmod 0640 %s\n", path, os.Getgid(), quoted)
			}
			if f != nil || problemsOf(err, "\n") != want {
				t.Errorf("got  %swant %s", problemsOf(err, "\n"), want)
			}
		})
	}
}

// TestRead_growing: the limit holds for what is read, whatever fstat said.
func TestRead_growing(t *testing.T) {
	r := &reader{uid: uint32(os.Getuid())}
	if c := r.read("/proc/self/status", 10, false); c.err == nil || c.data != nil { // its size is 0
		t.Errorf("%q, %v", c.data, c.err)
	}
}

// TestLoad_deep: no file overflows the stack, whatever it nests.
func TestLoad_deep(t *testing.T) {
	for name, text := range map[string]string{
		"arrays": "a = " + strings.Repeat("[", 1<<18), "tables": "a = " + strings.Repeat("{a=", 1<<18),
		"headers": strings.Repeat("[", 1<<18), "dots": strings.Repeat("a.", 1<<18) + "a = 1",
		"dots of headers": "[" + strings.Repeat("a.", 1<<18) + "a]",
	} {
		if _, err := loader(t, t.TempDir(), text).Load(t.Context()); err == nil {
			t.Errorf("%s are taken", name)
		}
	}
}

// TestLoad_manyProblems: on one line, in more than are shown, in linear time.
func TestLoad_manyProblems(t *testing.T) {
	text := "[defaults]\nallow = [" + strings.Repeat(`1,`, 200_000) + "]\n[credentials]\n"
	_, err := loader(t, t.TempDir(), text).Load(t.Context())
	invalid, ok := errors.AsType[*Invalid](err)
	if !ok || len(invalid.Problems) != maxProblems+1 {
		t.Fatalf("%d problems", len(invalid.Problems))
	}
	if last := invalid.Problems[maxProblems]; last.Detail != "199000 more problems are not shown" {
		t.Errorf("the last is %q", last.Detail)
	}
	if p := invalid.Problems[999]; p.Line != 2 || p.Column != 10+2*999 {
		t.Errorf("the thousandth is at %d:%d", p.Line, p.Column)
	}
}
