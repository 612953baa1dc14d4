package store

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// alone runs the test once more in a process of its own, and says whether this is
// that process: what it does to the whole process must not strike the test log that
// go test has open.
func alone(t *testing.T) bool {
	t.Helper()
	const mark = "TOKEND_TEST_ALONE"
	if os.Getenv(mark) == t.Name() {
		return true
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), mark+"="+t.Name())
	out, err := cmd.CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// limit lets files grow to n bytes until the returned func is called: a disk that
// is full for every file of this process. Tests that use it are not parallel.
func limit(t *testing.T, n int64) (lift func()) {
	t.Helper()
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: uint64(n), Max: old.Max}); err != nil {
		t.Fatal(err)
	}
	lift = func() { unix.Setrlimit(unix.RLIMIT_FSIZE, &old) }
	t.Cleanup(lift)
	return lift
}

// A full disk fails writes and nothing else: no file is moved aside, and once there
// is room the same store goes on.
func TestFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	big := Record{Token: strings.Repeat("t", 1<<20)}
	tests := map[string]struct {
		full func(t *testing.T, cfg Config) (lift func())
		want error
	}{
		"limit":        {func(t *testing.T, cfg Config) func() { return limit(t, 128<<10) }, syscall.EFBIG},
		"no byte more": {func(t *testing.T, cfg Config) func() { return limit(t, 0) }, syscall.EFBIG},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			s, stop, want := filled(t, cfg)
			lift := test.full(t, cfg)
			for range 3 {
				if err := put(s, "big", big); !isFull(err, test.want) {
					t.Errorf("error %v, want %v", err, test.want)
				}
			}
			lift()
			want["big"] = big
			mustPut(t, s, "big", big)
			stop()
			if n := len(asides(t, cfg, "*")); n != 0 {
				t.Errorf("%d files were moved aside", n)
			}
			wantRecords(t, saved(t, cfg), want)
		})
	}
}

// isFull also looks at the text, because bbolt drops the type of some errors.
func isFull(err, want error) bool {
	return err != nil && (errors.Is(err, want) || strings.Contains(err.Error(), want.Error()))
}

// The same with a file system that is full, where root may mount one.
func TestFullFileSystem(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tokend-test", dir, "tmpfs", 0, "size=512k,mode=0700"); err != nil {
		t.Skipf("NOT TESTED: a full file system, mounting needs root: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	cfg := Config{Path: filepath.Join(dir, "tokens.db")}
	s, stop, want := filled(t, cfg)
	ballast := filepath.Join(dir, "ballast")
	f, err := os.Create(ballast)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4096))
	}
	if !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	f.Close()
	for range 3 {
		if err := put(s, "big", Record{Token: strings.Repeat("t", 64<<10)}); !isFull(err, syscall.ENOSPC) {
			t.Errorf("error %v, want ENOSPC", err)
		}
	}
	before := s.disk // only looked at between writes
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	want["big"] = sample("big")
	mustPut(t, s, "big", want["big"])
	stop()
	if now, err := os.Stat(cfg.Path); err != nil || !os.SameFile(now, before.info) {
		t.Errorf("the file was built anew for want of space: %v", err)
	}
	if n := len(asides(t, cfg, "*")); n != 0 {
		t.Errorf("%d files were moved aside", n)
	}
	wantRecords(t, saved(t, cfg), want)
}

// Damage on a full disk: writes fail until there is room, then nothing is lost.
func TestDamageOnFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	cfg := config(t)
	s, stop, want := filled(t, cfg)
	os.Truncate(cfg.Path, 8192)
	lift := limit(t, 0)
	for range 2 {
		if err := put(s, "a", sample("a")); !isFull(err, syscall.EFBIG) {
			t.Errorf("error %v", err)
		}
	}
	held(t, cfg)
	lift()
	want["a"] = sample("a")
	mustPut(t, s, "a", want["a"])
	stop()
	wantRecords(t, saved(t, cfg), want)
	if n := len(asides(t, cfg, "corrupt")); n != 1 {
		t.Errorf("%d files were moved aside, want 1", n)
	}
}

// A start on a full disk serves what is there and says that nothing is saved.
func TestOpenOnFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	cfg := config(t)
	_, stop, want := filled(t, cfg)
	stop()
	lift := limit(t, 0)
	s, runStop := start(t, cfg)
	wantRecords(t, s.Records(), want)
	if n := strings.Join(s.Notices(), "\n"); !strings.Contains(n, "cannot be written now") {
		t.Errorf("notices %q", n)
	}
	if err := put(s, "a", sample("a")); !isFull(err, syscall.EFBIG) {
		t.Errorf("error %v", err)
	}
	lift()
	want["a"] = sample("a")
	mustPut(t, s, "a", want["a"])
	runStop()
	wantRecords(t, saved(t, cfg), want)
}

// A first start on a full disk fails and leaves nothing that hinders the next.
func TestFirstOpenOnFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	for _, room := range []int64{0, 1 << 10} { // no room for the key, none for the store
		cfg := config(t)
		lift := limit(t, room)
		if s, err := Open(cfg); !isFull(err, syscall.EFBIG) {
			t.Errorf("error %v", err)
			s.Close()
		}
		lift()
		if info, err := os.Stat(cfg.Path); err != nil || info.Size() > 0 || len(asides(t, cfg, "*")) > 0 {
			t.Errorf("the store is half made (%v)", err)
		}
		if _, err := os.Stat(cfg.Path + ".new"); err == nil {
			t.Error("half a file was left behind")
		}
		s := open(t, cfg)
		if entries, _ := os.ReadDir(filepath.Dir(cfg.Path)); len(entries) != 2 {
			t.Errorf("left behind: %v", entries)
		}
		s.Close()
	}
}

// Moving to a given key on a full disk: the old key serves on, the next start moves.
func TestResealOnFullDisk(t *testing.T) {
	if !alone(t) {
		return
	}
	cfg := config(t)
	_, stop, want := filled(t, cfg)
	stop()
	moved := given(t, cfg, "tokend.key", keyA)
	lift := limit(t, 0)
	s := open(t, moved)
	wantRecords(t, s.Records(), want)
	if n := strings.Join(s.Notices(), "\n"); !strings.Contains(n, "stays sealed with") {
		t.Errorf("notices %q", n)
	}
	s.Close()
	lift()
	wantRecords(t, saved(t, cfg), want) // still with store.key
	wantRecords(t, saved(t, moved), want)
	if _, err := Open(cfg); err == nil {
		t.Error("it was not moved")
	}
}
