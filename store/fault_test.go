package store

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// filled is a running store with 50 records in a file of many pages.
func filled(t *testing.T, cfg Config) (s *Store, stop func(), want map[string]Record) {
	t.Helper()
	s, stop = start(t, cfg)
	want = map[string]Record{}
	for i := range 50 {
		name := fmt.Sprintf("credential-%02d", i)
		want[name] = sample(name)
		s.Put(name, want[name], nil)
	}
	mustPut(t, s, "last", sample("last"))
	want["last"] = sample("last")
	return s, stop, want
}

// held fails unless somebody holds the store's lock.
func held(t *testing.T, cfg Config) {
	t.Helper()
	d, err := tryLock(cfg.Path, 0)
	if err == nil {
		d.release()
	}
	if !errors.Is(err, errHeld) {
		t.Errorf("the store is not locked: %v", err)
	}
}

// Whatever is done to the file while it is mapped: the process lives, the write that
// met the fault succeeds, and nothing is lost.
func TestDamageWhileRunning(t *testing.T) {
	tests := map[string]struct {
		spoil func(t *testing.T, f *os.File, size int64)
		aside int
	}{
		"emptied":           {func(t *testing.T, f *os.File, size int64) { f.Truncate(0) }, 1},
		"cut to a page":     {func(t *testing.T, f *os.File, size int64) { f.Truncate(4096) }, 1},
		"cut to headers":    {func(t *testing.T, f *os.File, size int64) { f.Truncate(8192) }, 1},
		"cut in half":       {func(t *testing.T, f *os.File, size int64) { f.Truncate(size / 2) }, 1},
		"cut by a byte":     {func(t *testing.T, f *os.File, size int64) { f.Truncate(size - 1) }, 1},
		"emptied, refilled": {func(t *testing.T, f *os.File, size int64) { f.Truncate(0); f.Truncate(size) }, 1},
		"all noise": {func(t *testing.T, f *os.File, size int64) {
			b := make([]byte, size)
			noise(rand.New(rand.NewPCG(1, 2)), b)
			f.WriteAt(b, 0)
		}, 1},
		"tree of zeros": {func(t *testing.T, f *os.File, size int64) { f.WriteAt(make([]byte, size-8192), 8192) }, 1},
		"deleted":       {func(t *testing.T, f *os.File, size int64) { os.Remove(f.Name()) }, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			s, stop, want := filled(t, cfg)
			f, err := os.OpenFile(cfg.Path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			info, err := f.Stat()
			if err != nil {
				t.Fatal(err)
			}
			test.spoil(t, f, info.Size())
			hash := s.Hash([]byte("x"))
			want["credential-07"] = sample("new")
			mustPut(t, s, "credential-07", want["credential-07"])
			delete(want, "credential-08")
			if err := remove(s, "credential-08"); err != nil {
				t.Fatal(err)
			}
			held(t, cfg)
			stop()
			if n := len(asides(t, cfg, "corrupt")); n != test.aside {
				t.Errorf("%d files moved aside, want %d", n, test.aside)
			}
			s = open(t, cfg)
			defer s.Close()
			wantRecords(t, s.Records(), want)
			if len(s.Notices()) > 0 || s.Hash([]byte("x")) != hash {
				t.Errorf("the rebuilt store is not the same: %q", s.Notices())
			}
		})
	}
}

// The guard alone, without the check that precedes it and without present: bbolt
// touches a page that is gone, which is a SIGBUS.
func TestGuardCatchesFaults(t *testing.T) {
	cfg := config(t)
	_, stop, _ := filled(t, cfg)
	stop()
	for name, touch := range map[string]func(d *disk) error{
		"reading": func(d *disk) error { _, err := d.read(); return err },
		"writing": func(d *disk) error { return d.update(map[string][]byte{"last": []byte("x")}, nil) },
	} {
		d, err := lock(cfg.Path)
		if err == nil {
			err = d.open()
		}
		if err != nil {
			t.Fatal(err)
		}
		whole := read(t, cfg.Path)
		os.Truncate(cfg.Path, 8192)
		if err := touch(d); !isDamage(err) || !d.faulted || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: error %v, faulted %t", name, err, d.faulted)
		}
		d.release()
		writeFile(t, cfg.Path, whole, 0o600)
	}
}

// Somebody put another file in the store's place: it is neither written nor moved,
// and writes fail until it is gone.
func TestForeignFileIsLeftAlone(t *testing.T) {
	cfg := config(t)
	s, stop, want := filled(t, cfg)
	backup := bytes.Repeat([]byte("a backup that somebody put back"), 10_000)
	os.Rename(cfg.Path, cfg.Path+".away")
	writeFile(t, cfg.Path, backup, 0o600)
	for i := range 3 {
		if i == 2 { // also when ours is damaged
			s.broken, s.reason = true, "corrupt"
		}
		if err := put(s, "a", sample("a")); !errors.Is(err, errForeign) || !strings.Contains(err.Error(), cfg.Path) {
			t.Errorf("error %v", err)
		}
	}
	if !bytes.Equal(read(t, cfg.Path), backup) {
		t.Error("the other file was changed")
	}
	os.Remove(cfg.Path)
	want["a"] = sample("a")
	mustPut(t, s, "a", want["a"])
	stop()
	wantRecords(t, saved(t, cfg), want)
	if n := len(asides(t, cfg, "*")); n != 0 {
		t.Errorf("%d files moved aside", n)
	}
}

// A write is done only once it is synced: here writes go through and syncing fails.
// The file is in doubt then and is built anew by the next write.
func TestSyncFails(t *testing.T) {
	cfg := config(t)
	s, stop, want := filled(t, cfg)
	for i := range 5 { // so that there are free pages, and the file need not grow
		want["a"] = sample(fmt.Sprint(i))
		mustPut(t, s, "a", want["a"])
	}
	null, err := os.OpenFile("/dev/null", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	// /dev/null takes every write and cannot be synced.
	if err := unix.Dup3(int(null.Fd()), int(s.disk.file.Fd()), unix.O_CLOEXEC); err != nil {
		t.Fatal(err)
	}
	if err := put(s, "a", sample("lost")); !errors.Is(err, syscall.EINVAL) {
		t.Errorf("error %v, want that of fdatasync", err)
	}
	want["a"] = sample("a")
	mustPut(t, s, "a", want["a"])
	held(t, cfg)
	stop()
	if n := len(asides(t, cfg, "*")); n != 0 {
		t.Errorf("%d files moved aside for an I/O error", n)
	}
	wantRecords(t, saved(t, cfg), want)
}

// When done is called, a copy of the file has the record.
func TestDoneMeansWritten(t *testing.T) {
	cfg := config(t)
	s, stop := start(t, cfg)
	key := read(t, s.ownKeyPath())
	copies := make(chan []byte, 1)
	for i := range 5 {
		name := fmt.Sprint(i)
		s.Put(name, sample(name), func(error) {
			b, _ := os.ReadFile(cfg.Path)
			copies <- b
		})
		at := config(t)
		writeFile(t, at.Path, <-copies, 0o600)
		writeFile(t, filepath.Join(filepath.Dir(at.Path), "store.key"), key, 0o600)
		if got := saved(t, at); len(got) != i+1 {
			t.Errorf("%d records in the copy, want %d", len(got), i+1)
		}
	}
	stop()
}

// What a crash left of a file being built is in nobody's way.
func TestLeftoversOfACrash(t *testing.T) {
	cfg := config(t)
	s, stop, want := filled(t, cfg)
	writeFile(t, cfg.Path+".new", []byte("half a file"), 0o600)
	os.Remove(cfg.Path)
	want["a"] = sample("a")
	mustPut(t, s, "a", want["a"])
	stop()
	wantRecords(t, saved(t, cfg), want)
	if _, err := os.Stat(cfg.Path + ".new"); err == nil {
		t.Error("the leftover is still there")
	}
}
