package config

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

// bubble is a watch whose time is the test's, and whose events are made by hand.
func bubble(t *testing.T, l *Loader, start error) (w *watch, calls *atomic.Int32) {
	t.Helper()
	calls = new(atomic.Int32)
	return bubbleWith(t, l, start, func() { calls.Add(1) }), calls
}

func bubbleWith(t *testing.T, l *Loader, start error, changed func()) *watch {
	t.Helper()
	w := &watch{
		Loader: l, quiet: quiet, patience: patience, poll: pollInterval, patrol: patrolInterval,
		start: func() (*fsnotify.Watcher, error) { return nil, start },
	}
	w.events, w.errs = make(chan fsnotify.Event), make(chan error)
	go w.run(t.Context(), changed)
	synctest.Wait()
	return w
}

// in lets time pass in a bubble, and returns how often changed was called until then.
func in(d time.Duration, calls *atomic.Int32) int {
	<-time.After(d)
	synctest.Wait()
	return int(calls.Load())
}

// TestWatch_quiet: a burst of events is one change, 200 ms after its end.
func TestWatch_quiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loader(t, t.TempDir(), "[credentials]\n")
		load(t, l)
		w, calls := bubble(t, l, errors.New("not in this test"))
		event := fsnotify.Event{Name: l.path, Op: fsnotify.Write}
		for range 20 {
			w.events <- event
			<-time.After(199 * time.Millisecond)
		}
		if synctest.Wait(); calls.Load() != 0 {
			t.Errorf("%d calls during the burst", calls.Load())
		}
		<-time.After(2 * time.Millisecond)
		if synctest.Wait(); calls.Load() != 1 {
			t.Errorf("%d calls after it", calls.Load())
		}
		for _, name := range []string{l.path + ".swp", filepath.Dir(l.path) + "x", ""} {
			w.events <- fsnotify.Event{Name: name, Op: fsnotify.Create}
		}
		<-time.After(time.Second)
		if synctest.Wait(); calls.Load() != 1 {
			t.Errorf("%d calls after events about something else", calls.Load())
		}
		w.events <- fsnotify.Event{Name: filepath.Dir(l.path), Op: fsnotify.Remove}
		<-time.After(time.Second)
		if synctest.Wait(); calls.Load() != 2 {
			t.Errorf("%d calls after an event about the directory", calls.Load())
		}
		w.errs <- fsnotify.ErrEventOverflow
		<-time.After(time.Second)
		if synctest.Wait(); calls.Load() != 3 {
			t.Errorf("%d calls after an overflow", calls.Load())
		}
	})
}

// TestWatch_poll: without the kernel's help changes are found all the same, and the
// log says once what to do.
func TestWatch_poll(t *testing.T) {
	for _, tt := range []struct {
		errno syscall.Errno
		want  string
	}{
		{syscall.EMFILE, "fs.inotify.max_user_instances"},
		{syscall.ENOSPC, "fs.inotify.max_user_watches"},
		{syscall.ENFILE, "fs.file-max"},
		{syscall.EACCES, "read the directory"},
		{syscall.ENOSYS, "not implemented"},
	} {
		var log bytes.Buffer
		synctest.Test(t, func(t *testing.T) {
			l := loader(t, t.TempDir(), "[credentials]\n")
			l.log = slog.New(slog.NewTextHandler(&log, nil))
			load(t, l)
			_, calls := bubble(t, l, tt.errno)
			<-time.After(time.Minute)
			if synctest.Wait(); calls.Load() != 0 {
				t.Errorf("%d calls without a change", calls.Load())
			}
			write(t, l.path, "[credentials]\n# changed\n")
			<-time.After(pollInterval + quiet)
			if synctest.Wait(); calls.Load() != 1 {
				t.Errorf("%d calls after a change", calls.Load())
			}
		})
		if text := log.String(); strings.Count(text, "\n") != 1 || !strings.Contains(text, tt.want) || !strings.Contains(text, "level=WARN") {
			t.Errorf("%v: the log says %s", tt.errno, text)
		}
	}
}

// TestWatch_patience: who writes for ever is read every 5 s.
func TestWatch_patience(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loader(t, t.TempDir(), "[credentials]\n")
		load(t, l)
		w, calls := bubble(t, l, syscall.ENOSYS)
		for n := range 220 {
			w.events <- fsnotify.Event{Name: l.path, Op: fsnotify.Write}
			got := in(50*time.Millisecond, calls)
			if written := time.Duration(n+1) * 50 * time.Millisecond; got > int(written/patience) || got < int((written-quiet)/patience) {
				t.Fatalf("%d calls in %v of writing", got, written)
			}
		}
		if got := in(time.Second, calls); got != 3 {
			t.Errorf("%d calls in the end", got)
		}
	})
}

// TestWatch_pieces: of a file that is written in pieces, only the whole is read,
// with the kernel's events and without them.
func TestWatch_pieces(t *testing.T) {
	for name, events := range map[string]bool{"events": true, "poll": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := loader(t, t.TempDir(), "[credentials]\n")
				load(t, l)
				var read []string
				w := bubbleWith(t, l, syscall.ENOSYS, func() {
					text, err := os.ReadFile(l.path)
					must(t, err)
					read = append(read, string(text))
					load(t, l)
				})
				<-time.After(pollInterval - 500*time.Millisecond) // the next look comes amid the pieces
				f, err := os.Create(l.path)
				must(t, err)
				defer f.Close()
				whole := ""
				for _, piece := range strings.SplitAfter("[credentials]\n# one\n# two\n# three\n# four\n# five\n# six\n", "\n") {
					f.WriteString(piece)
					whole += piece
					if events {
						w.events <- fsnotify.Event{Name: l.path, Op: fsnotify.Write}
					}
					<-time.After(150 * time.Millisecond)
				}
				<-time.After(pollInterval + 2*quiet)
				synctest.Wait()
				if len(read) != 1 || read[0] != whole {
					t.Errorf("read was %q", read)
				}
			})
		})
	}
}

// TestWatch_elsewhere: where a link leads now is watched at once, so that the quiet is
// that of the files there.
func TestWatch_elsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := t.TempDir()
		for _, version := range []string{"1", "2"} {
			must(t, os.Mkdir(filepath.Join(d, version), 0o700))
			write(t, filepath.Join(d, version, "credentials.toml"), "[credentials]\n# "+version)
		}
		must(t, os.Symlink("1", d+"/now"), os.Symlink("2", d+"/next"))
		l := testLoader(d + "/now/credentials.toml")
		load(t, l)
		w, calls := bubble(t, l, syscall.ENOSYS)
		must(t, os.Rename(d+"/next", d+"/now"))
		w.events <- fsnotify.Event{Name: d + "/now", Op: fsnotify.Create}
		if got := in(150*time.Millisecond, calls); got != 0 {
			t.Fatalf("read before it was quiet")
		}
		w.events <- fsnotify.Event{Name: d + "/2/credentials.toml", Op: fsnotify.Write}
		if got := in(199*time.Millisecond, calls); got != 0 {
			t.Errorf("read %d times while what the link leads to was written", got)
		}
		if got := in(2*time.Millisecond, calls); got != 1 {
			t.Errorf("read %d times after that", got)
		}
	})
}

// TestWatch_patienceOfPolls: without the kernel's help it is the same.
func TestWatch_patienceOfPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loader(t, t.TempDir(), "[credentials]\n")
		load(t, l)
		_, calls := bubble(t, l, syscall.ENOSYS)
		for n := range int((pollInterval+patience)/(50*time.Millisecond)) - 1 {
			if got := in(50*time.Millisecond, calls); got != 0 {
				t.Fatalf("read after %d ms of writing", n*50)
			}
			write(t, l.path, "[credentials]\n"+strings.Repeat("#", n))
		}
		if got := in(100*time.Millisecond, calls); got != 1 {
			t.Errorf("read %d times in the end", got)
		}
	})
}

// TestWatch_young: a file that was read right after it was written is read again, once
// its times can tell; where they are whole seconds, that is later.
func TestWatch_young(t *testing.T) {
	for _, tt := range []struct {
		nsec        int64
		first, last time.Duration
	}{{1, quiet - time.Millisecond, quiet + time.Millisecond}, {0, coarseTick - time.Millisecond, coarseTick + time.Millisecond + quiet}} {
		synctest.Test(t, func(t *testing.T) {
			l := loader(t, t.TempDir(), "[credentials]\n")
			load(t, l)
			was := signatureOf(l.path)
			was.young, was.mtime.Nsec, was.ctime.Nsec = true, tt.nsec, tt.nsec
			l.seen = map[string]signature{l.path: was}
			_, calls := bubble(t, l, syscall.ENOSYS)
			if got := in(tt.first, calls); got != 0 {
				t.Errorf("%d ns: read again after %v", tt.nsec, tt.first)
			}
			if got := in(tt.last-tt.first, calls); got != 1 {
				t.Errorf("%d ns: read %d times after %v", tt.nsec, got, tt.last)
			}
		})
	}
}

// TestSignature_at: times are relied on when another change would alter them.
func TestSignature_at(t *testing.T) {
	at := func(sec, nsec int64) signature {
		ts := syscall.Timespec{Sec: sec, Nsec: nsec}
		return signature{place: place{1, 2}, mtime: ts, ctime: ts}
	}
	now := time.Unix(1000, 500_000_000)
	for _, tt := range []struct {
		s    signature
		want bool
	}{
		{at(1000, 490_000_000), true},
		{at(1000, 510_000_000), true}, // the clock of a server that is a little ahead
		{at(1000, 400_000_000), false},
		{at(1000, 600_000_000), false},
		{at(1000, 0), true},
		{at(999, 0), true},
		{at(990, 0), false},
		{at(1010, 0), false},
		{signature{}, false},
	} {
		if got := tt.s.at(now); got.young != tt.want || (got == tt.s) == tt.want {
			t.Errorf("%v: %v", tt.s, got)
		}
	}
}

// TestSignatureOf: what is not there differs from what cannot be reached, so that the
// message is always the one of now.
func TestSignatureOf(t *testing.T) {
	d := t.TempDir()
	write(t, d+"/file", "")
	must(t, os.Symlink("circle", d+"/circle"), os.Symlink("gone", d+"/dangling"))
	for path, want := range map[string]signature{
		"/gone": {}, "/gone/deep": {}, "/dangling": {}, "/circle": {errno: syscall.ELOOP}, "/file/x": {errno: syscall.ENOTDIR},
	} {
		if got := signatureOf(d + path); got != want {
			t.Errorf("%s: %+v, want %+v", path, got, want)
		}
	}
	if got := signatureOf(d + "/file"); got.ino == 0 || got.errno != 0 {
		t.Errorf("a file: %+v", got)
	}
}
