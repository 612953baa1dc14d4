package config

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

// TestWatch_recovers: when the kernel relents, watching is as quick as ever.
func TestWatch_recovers(t *testing.T) {
	l := loader(t, dir(t), "[credentials]\n")
	load(t, l)
	fails := 1
	var log bytes.Buffer
	l.log = slog.New(slog.NewTextHandler(&log, nil))
	w := &watch{Loader: l, trails: newTrails(), poll: pollInterval, patrol: patrolInterval, start: func() (*fsnotify.Watcher, error) {
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
	if w.interval() != patrolInterval || !slices.Contains(w.notifier.WatchList(), filepath.Dir(l.abs)) {
		t.Errorf("it looks every %v and watches %v", w.interval(), w.notifier.WatchList())
	}
	if !strings.Contains(log.String(), "again") {
		t.Errorf("the log says %s", &log)
	}
}

// TestWatch_unreadableDirectory: inotify wants to read a directory, open(2) only to
// pass through it. That matters for the one that holds the file; those above are for
// the patrol.
func TestWatch_unreadableDirectory(t *testing.T) {
	if os.Getuid() == 0 { // who may read every directory
		cmd := exec.Command("/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
		cmd.Env, cmd.Dir = append(os.Environ(), "TMPDIR=/tmp"), "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		if out, err := cmd.CombinedOutput(); err != nil || !strings.Contains(string(out), "--- PASS: "+t.Name()) {
			t.Errorf("as nobody: %v\n%s", err, out)
		}
		return
	}
	above := t.TempDir()
	d := filepath.Join(above, "d")
	must(t, os.Mkdir(d, 0o700))
	l := loader(t, d, "[credentials]\n")
	load(t, l)
	for dir, want := range map[string]time.Duration{d: pollInterval, above: patrolInterval} {
		must(t, os.Chmod(dir, 0o300))
		w := &watch{Loader: l, trails: newTrails(), poll: pollInterval, patrol: patrolInterval, start: fsnotify.NewWatcher}
		if w.arm(); w.interval() != want {
			t.Errorf("%s is unreadable: it looks every %v", dir, w.interval())
		}
		w.close()
		must(t, os.Chmod(dir, 0o700))
	}
}

// TestWatch_overflow: when the kernel's queue runs over, and what is about the file is
// lost with the rest, it is read all the same.
func TestWatch_overflow(t *testing.T) {
	d := dir(t)
	l := loader(t, d, plain)
	load(t, l)
	called, proceed := make(chan struct{}, 100), make(chan struct{})
	w := &watch{Loader: l, start: fsnotify.NewWatcher, quiet: quiet, patience: patience, poll: time.Hour, patrol: time.Hour}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		defer w.close()
		w.run(ctx, func() {
			called <- struct{}{}
			select {
			case <-proceed:
			case <-ctx.Done():
			}
		})
	})
	defer wg.Wait()
	defer cancel()
	wait := func(what string) {
		t.Helper()
		select {
		case <-called:
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s was not noticed", what)
		}
	}
	write(t, l.path, "[credentials]\n")
	wait("a write")    // and nobody takes events from here on
	for range 20_000 { // over fs.inotify.max_queued_events, and what is under way
		must(t, os.WriteFile(filepath.Join(d, "junk"), nil, 0o600), os.Remove(filepath.Join(d, "junk")))
	}
	write(t, l.path, "[credentials]\n# lost\n")
	proceed <- struct{}{}
	wait("what was lost")
}

// inNamespaces has the test run in a process of its own, with users and mounts of its
// own, where it may do what only root may and nobody else sees it. In that process it
// returns true.
func inNamespaces(t *testing.T) bool {
	t.Helper()
	const marker = "TOKEND_TEST_IN_NAMESPACES"
	if os.Getenv(marker) != "" {
		return true
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), marker+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	out, err := cmd.CombinedOutput()
	if len(out) == 0 && err != nil {
		t.Skipf("SKIPPED, NOT TESTED: it needs namespaces of users and mounts, which this system refuses: %v", err)
	}
	if text := string(out); err != nil || !strings.Contains(text, "--- PASS: "+t.Name()) {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

// TestWatch_limits: when there are no more inotify instances, or watches, changes are
// found all the same; when there are, watching begins again.
func TestWatch_limits(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	limit := func(what, n string) {
		t.Helper()
		must(t, os.WriteFile("/proc/sys/user/max_inotify_"+what, []byte(n), 0))
	}
	for _, what := range []string{"instances", "watches"} {
		limit(what, "0")
		l := loader(t, dir(t), plain)
		log := new(locked)
		l.log = slog.New(slog.NewTextHandler(log, nil))
		load(t, l)
		sums := running(t, l, l.Watch)
		write(t, l.path, "[credentials]\n")
		until(t, sums, "a change without "+what, l)
		if text := log.String(); !strings.Contains(text, "fs.inotify.max_user_"+what) {
			t.Errorf("without %s the log says %s", what, text)
		}
		limit(what, "1000")
		deadline := time.After(2 * time.Minute)
		for !strings.Contains(log.String(), "again") {
			select {
			case <-time.After(10 * time.Millisecond):
			case <-deadline:
				t.Fatalf("with %s again the log says %s", what, log)
			}
		}
		write(t, l.path, "[credentials]\n# 2\n")
		until(t, sums, "a change with "+what, l)
	}
}

// locked is a log that is read while it is written.
type locked struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write appends.
func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// String is the log so far.
func (l *locked) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// TestWatch_mounts: what is mounted on the way, or no longer is, is noticed; and so are
// writes from outside to a single file that is mounted, as containers have them.
func TestWatch_mounts(t *testing.T) {
	if !inNamespaces(t) {
		return
	}
	d := filepath.Join(t.TempDir(), "a", "b")
	must(t, os.MkdirAll(d, 0o700))
	l := loader(t, d, "[credentials]\n")
	other := filepath.Join(t.TempDir(), "other")
	write(t, other, "[credentials]\n# other\n")
	load(t, l)
	sums := watching(t, l)
	mount := func(source, target, kind string, flags uintptr) func() {
		return func() { must(t, syscall.Mount(source, target, kind, flags, "")) }
	}
	unmount := func(target string) func() {
		return func() { must(t, syscall.Unmount(target, syscall.MNT_DETACH)) }
	}
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a file system", mount("none", d, "tmpfs", 0)},
		{"a file in it", func() { write(t, l.path, "[credentials]\n# in it\n") }},
		{"another write", func() { write(t, l.path, "[credentials]\n# in it too\n") }},
		{"its end", unmount(d)},
		{"a write below", func() { write(t, l.path, "[credentials]\n# below\n") }},
		{"a file system above", mount("none", filepath.Dir(d), "tmpfs", 0)},
		{"what is made there", func() {
			must(t, os.Mkdir(d, 0o700))
			write(t, l.path, "[credentials]\n# above\n")
		}},
		{"its end", unmount(filepath.Dir(d))},
		{"a single file", mount(other, l.path, "", syscall.MS_BIND)},
		{"a write to it from outside", func() { write(t, other, "[credentials]\n# from outside\n") }},
		{"another one", func() { write(t, other, "[credentials]\n# again\n") }},
		{"its end", unmount(l.path)},
		{"a write in the end", func() { write(t, l.path, "[credentials]\n# end\n") }},
	} {
		step.do()
		until(t, sums, step.what, l)
	}
}

// TestWatch_remote: where others write unnoticed by this kernel, it looks by itself.
func TestWatch_remote(t *testing.T) {
	l := loader(t, dir(t), `[credentials.a]
provider = "finam"
secret = { file = "/proc/self/environ" }
`)
	var log bytes.Buffer
	l.log = slog.New(slog.NewTextHandler(&log, nil))
	_, _ = l.Load(t.Context()) // an environment may be no secret, but is asked for
	w := &watch{Loader: l, trails: newTrails(), poll: pollInterval, patrol: patrolInterval, start: fsnotify.NewWatcher}
	defer w.close()
	if w.arm(); w.interval() != pollInterval || strings.Count(log.String(), "every 2 s") != 1 {
		t.Errorf("it looks every %v, and the log says %s", w.interval(), &log)
	}
	l.seen = map[string]signature{l.abs: {}}
	if w.arm(); w.interval() != patrolInterval {
		t.Errorf("without it, it looks every %v", w.interval())
	}
}

// TestWatch_forgets: what is no longer named is no longer watched.
func TestWatch_forgets(t *testing.T) {
	d, other := dir(t), filepath.Join(t.TempDir(), "secret")
	write(t, other, "hush-1")
	l := loader(t, d, strings.ReplaceAll(plain, "@DIR@/secret", other))
	load(t, l)
	w := &watch{Loader: l, trails: newTrails(), start: fsnotify.NewWatcher}
	defer w.close()
	if w.arm(); !w.trails.hold(other) || !slices.Contains(w.notifier.WatchList(), filepath.Dir(other)) {
		t.Errorf("watched is %v", w.notifier.WatchList())
	}
	write(t, l.path, strings.ReplaceAll(plain, "@DIR@", d))
	load(t, l)
	if w.arm(); w.trails.hold(other) || !w.trails.hold(filepath.Join(d, "secret")) || slices.Contains(w.notifier.WatchList(), filepath.Dir(other)) {
		t.Errorf("watched is %v", w.notifier.WatchList())
	}
}

// TestWatch_meanwhileThere: what appears after the trails were walked, and before
// their directories are watched, is no event.
func TestWatch_meanwhileThere(t *testing.T) {
	d, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	deep := filepath.Join(d, "a", "b")
	w := &watch{Loader: testLoader(filepath.Join(deep, "credentials.toml")), trails: newTrails(), start: func() (*fsnotify.Watcher, error) {
		must(t, os.MkdirAll(deep, 0o700))
		return fsnotify.NewWatcher()
	}}
	defer w.close()
	if w.arm(); !slices.Contains(w.notifier.WatchList(), deep) {
		t.Errorf("watched is %v", w.notifier.WatchList())
	}
}
