package config

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/fsnotify/fsnotify"
)

const plain = "[credentials.finam]\nprovider = \"finam\"\nsecret = { file = \"@DIR@/secret\" }\n"

// watching runs Watch until the test ends. Each call of changed loads the file and
// sends its sum, the zero one for a file that has problems.
func watching(t *testing.T, l *Loader) <-chan [32]byte {
	t.Helper()
	sums := make(chan [32]byte, 100)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex // changed is called by one goroutine at a time
	wg.Go(func() {
		err := l.Watch(ctx, func() {
			if !mu.TryLock() {
				t.Error("changed is called twice at once")
				return
			}
			defer mu.Unlock()
			f, err := l.Load(ctx)
			if err != nil {
				f = &File{}
			}
			sums <- f.Sum
		})
		if err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return sums
}

// until waits for a load that found what is there now.
func until(t *testing.T, sums <-chan [32]byte, what string, l *Loader) {
	t.Helper()
	fresh := testLoader(l.path)
	f, err := fresh.Load(t.Context())
	if err != nil {
		f = &File{}
	}
	for {
		select {
		case sum := <-sums:
			if sum == f.Sum {
				return
			}
		case <-time.After(20 * time.Second): // sooner than the safety net
			t.Fatalf("%s was not noticed", what)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	d := filepath.Join(t.TempDir(), "etc")
	must(t, os.Mkdir(d, 0o700))
	secret := filepath.Join(d, "secrets", "finam")
	must(t, os.Mkdir(filepath.Dir(secret), 0o700))
	write(t, secret, "hush-1")
	text := strings.ReplaceAll(plain, "@DIR@/secret", secret)
	l := loader(t, d, text)
	load(t, l)
	sums := watching(t, l)
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a write", func() { write(t, l.path, text+"# 2\n") }},
		{"a secret", func() { write(t, secret, "hush-2") }},
		{"a rename", func() {
			write(t, l.path+".new", text+"# 3\n")
			must(t, os.Rename(l.path+".new", l.path))
		}},
		{"a secret's rename", func() {
			write(t, secret+".new", "hush-3")
			must(t, os.Rename(secret+".new", secret))
		}},
		{"a bad file", func() { write(t, l.path, "[credentials") }},
		{"a good file after the bad one", func() { write(t, l.path, text+"# 4\n") }},
		{"a bad mode", func() { must(t, os.Chmod(secret, 0o644)) }},
		{"a good mode", func() { must(t, os.Chmod(secret, 0o600)) }},
		{"a removal", func() { must(t, os.Remove(l.path)) }},
		{"a return", func() { write(t, l.path, text+"# 5\n") }},
		{"the secret's directory leaving", func() { must(t, os.Rename(filepath.Dir(secret), d+"/old")) }},
		{"another in its place", func() {
			must(t, os.Mkdir(filepath.Dir(secret), 0o700))
			write(t, secret, "hush-4")
		}},
		{"a write after that", func() { write(t, secret, "hush-5") }},
		{"everything going away", func() { must(t, os.RemoveAll(d)) }},
		{"everything coming back", func() {
			must(t, os.MkdirAll(filepath.Dir(secret), 0o700))
			write(t, secret, "hush-6")
			write(t, l.path, text+"# 6\n")
		}},
		{"a write after that", func() { write(t, l.path, text+"# 7\n") }},
	} {
		step.do()
		until(t, sums, step.what, l)
	}
}

// TestWatch_swap is what Kubernetes does to a mounted secret: credentials.toml →
// ..data/credentials.toml, and ..data → a directory that is replaced.
func TestWatch_swap(t *testing.T) {
	d := t.TempDir()
	version := func(name, text string) {
		must(t, os.Mkdir(filepath.Join(d, name), 0o700))
		write(t, filepath.Join(d, name, "credentials.toml"), strings.ReplaceAll(plain, "@DIR@", d)+text)
		write(t, filepath.Join(d, name, "secret"), "hush-"+name)
		must(t, os.Symlink(name, filepath.Join(d, "..tmp")), os.Rename(filepath.Join(d, "..tmp"), filepath.Join(d, "..data")))
	}
	version("..1", "# 1\n")
	far := filepath.Join(t.TempDir(), "link.toml")
	must(t,
		os.Symlink("..data/secret", filepath.Join(d, "secret")),
		os.Symlink("..data/credentials.toml", filepath.Join(d, "credentials.toml")),
		os.Symlink(filepath.Join(d, "..data/../credentials.toml"), far))
	l := testLoader(far)
	load(t, l)
	sums := watching(t, l)
	version("..2", "# 2\n")
	until(t, sums, "the first swap", l)
	must(t, os.RemoveAll(filepath.Join(d, "..1")))
	version("..3", "# 3\n")
	until(t, sums, "the second swap", l)
	write(t, filepath.Join(d, "..3", "secret"), "hush-x")
	until(t, sums, "a write behind the links", l)
	must(t, os.Remove(far), os.Symlink(filepath.Join(d, "..2", "credentials.toml"), far))
	until(t, sums, "the outermost link", l)
}

// TestWatch_meanwhile: what happens between a Load and the first watch is found.
func TestWatch_meanwhile(t *testing.T) {
	l := loader(t, dir(t), plain)
	load(t, l)
	write(t, l.path, "[credentials]\n")
	until(t, watching(t, l), "the change", l)
}

// TestWatch_newSecret: a Load that nobody here asked for brings a new directory.
func TestWatch_newSecret(t *testing.T) {
	d, other := dir(t), filepath.Join(t.TempDir(), "secret")
	write(t, other, "hush-1")
	l := loader(t, d, plain)
	load(t, l)
	sums := watching(t, l)
	write(t, l.path, strings.ReplaceAll(plain, "@DIR@/secret", other))
	load(t, l)
	write(t, other, "hush-2")
	until(t, sums, "the new secret", l)
}

// TestWatch_afterAbort: a Load that was broken off leaves the watches as they are.
func TestWatch_afterAbort(t *testing.T) {
	d := dir(t)
	l := loader(t, d, plain)
	load(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Load(ctx); err == nil {
		t.Fatal("the Load was not broken off")
	}
	sums := watching(t, l)
	write(t, filepath.Join(d, "secret"), "hush-2")
	until(t, sums, "the secret", l)
}

// bubble is a watch whose time is the test's, and whose events are made by hand.
func bubble(t *testing.T, l *Loader, start error) (w *watch, calls *atomic.Int32) {
	t.Helper()
	w = &watch{
		Loader: l, quiet: quiet, poll: pollInterval, patrol: patrolInterval,
		start: func() (*fsnotify.Watcher, error) { return nil, start },
	}
	w.events, w.errs = make(chan fsnotify.Event), make(chan error)
	calls = new(atomic.Int32)
	go w.run(t.Context(), func() { calls.Add(1) })
	synctest.Wait()
	return w, calls
}

// TestWatch_quiet: a burst of events is one change, 200 ms after its end.
func TestWatch_quiet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := loader(t, t.TempDir(), "[credentials]\n")
		load(t, l)
		w, calls := bubble(t, l, errors.New("not in this test"))
		event := fsnotify.Event{Name: l.path, Op: fsnotify.Write}
		for range 50 {
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
		for _, name := range []string{l.path + ".swp", filepath.Dir(l.path) + "x", "/"} {
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

// TestWatch_recovers: when the kernel relents, watching is as quick as ever.
func TestWatch_recovers(t *testing.T) {
	l := loader(t, dir(t), "[credentials]\n")
	load(t, l)
	fails := 1
	var log bytes.Buffer
	l.log = slog.New(slog.NewTextHandler(&log, nil))
	w := &watch{Loader: l, poll: pollInterval, patrol: patrolInterval, start: func() (*fsnotify.Watcher, error) {
		if fails--; fails >= 0 {
			return nil, syscall.EMFILE
		}
		return fsnotify.NewWatcher()
	}}
	defer w.close()
	w.arm()
	if w.interval() != pollInterval {
		t.Errorf("it looks every %v", w.interval())
	}
	w.arm()
	if w.interval() != patrolInterval || len(w.notifier.WatchList()) != 1 {
		t.Errorf("it looks every %v and watches %v", w.interval(), w.notifier.WatchList())
	}
	if !strings.Contains(log.String(), "again") {
		t.Errorf("the log says %s", &log)
	}
}

// TestWatch_unreadableDirectory: inotify wants to read a directory, open(2) only to
// pass through it.
func TestWatch_unreadableDirectory(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("SKIPPED, NOT TESTED: root may read every directory")
	}
	d := dir(t)
	l := loader(t, d, "[credentials]\n")
	must(t, os.Chmod(d, 0o300))
	t.Cleanup(func() { must(t, os.Chmod(d, 0o700)) })
	load(t, l)
	w := &watch{Loader: l, poll: pollInterval, patrol: patrolInterval, start: fsnotify.NewWatcher}
	defer w.close()
	if w.arm(); w.interval() != pollInterval {
		t.Error("it does not look for itself")
	}
}

func TestTrail(t *testing.T) {
	d := t.TempDir()
	must(t,
		os.MkdirAll(d+"/a/b", 0o700), os.WriteFile(d+"/a/b/f", nil, 0o600),
		os.Symlink("a", d+"/rel"), os.Symlink(d+"/a/b", d+"/abs"), os.Symlink("../b/f", d+"/a/b/up"),
		os.Symlink("loop", d+"/loop"), os.Symlink("gone/f", d+"/dangling"))
	for _, tt := range []struct{ path, want string }{
		{"/a/b/f", "/a/b:f"},
		{"/a//b/./f", "/a/b:f"},
		{"/rel/b/f", ":rel /a/b:f"},
		{"/abs/f", ":abs /a/b:f"},
		{"/abs/../b/f", ":abs /a/b:f"},
		{"/rel/b/up", ":rel /a/b:up /a/b:f"},
		{"/dangling", ":dangling :gone"},
		{"/missing/x/y", ":missing"},
		{"/a/missing/y", "/a:missing"},
		{"/a/b/f/y", "/a/b/f:y"},
		{"/loop", strings.TrimSpace(strings.Repeat(":loop ", maxLinks+1))},
	} {
		var got []string
		trail(d+tt.path, func(dir, name string) {
			if dir, ok := strings.CutPrefix(dir, d); ok {
				got = append(got, dir+":"+name)
			} else if _, err := filepath.EvalSymlinks(d); err != nil {
				t.Errorf("%s is beside the way", dir)
			}
		})
		if strings.Join(got, " ") != tt.want {
			t.Errorf("%s: %v, want %s", tt.path, got, tt.want)
		}
	}
}
