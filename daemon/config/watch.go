package config

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing may have happened before a change is read: a file
	// that is still being written may parse, and lack half of its credentials. There
	// is no upper bound for the same reason.
	quiet = 200 * time.Millisecond
	// pollInterval is for what the kernel does not watch.
	pollInterval = 2 * time.Second
	// patrolInterval is for what it watches and loses: mounts come and go unannounced.
	patrolInterval = 30 * time.Second
)

// Watch calls changed when the credentials file, a file that the last Load found it
// to name, or a symbolic link on the way to one of them may have changed, 200 ms
// after the last sign of it. It compares no contents: that is for File.Sum. changed
// is never called by two goroutines at once, and Load may be called in it.
//
// Watch returns nil when ctx ends. It has no other end: where the kernel refuses to
// watch, it says why in the log, and looks every two seconds by itself.
func (l *Loader) Watch(ctx context.Context, changed func()) error {
	w := &watch{
		Loader: l, start: fsnotify.NewWatcher,
		quiet: quiet, poll: pollInterval, patrol: patrolInterval,
	}
	defer w.close()
	w.run(ctx, changed)
	return nil
}

// watch is a Watch under way.
type watch struct {
	*Loader
	start               func() (*fsnotify.Watcher, error)
	quiet, poll, patrol time.Duration

	notifier *fsnotify.Watcher // nil while the kernel has none for us
	events   chan fsnotify.Event
	errs     chan error
	wanted   map[string]map[string]bool // directory → names in it
	poor     string                     // why it polls; empty: it does not
}

func (w *watch) close() {
	if w.notifier != nil {
		w.notifier.Close()
	}
}

func (w *watch) run(ctx context.Context, changed func()) {
	due := time.NewTimer(time.Hour)
	due.Stop()
	defer due.Stop()
	look := time.NewTimer(0)
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events:
			if w.concerns(e) {
				due.Reset(w.quiet)
			}
		case err := <-w.errs: // the queue ran over: anything may have happened
			w.log.Debug("lost track of changes to the credentials", "err", err)
			due.Reset(w.quiet)
		case <-w.loaded:
			w.look(due)
			look.Reset(w.interval())
		case <-look.C:
			w.look(due)
			look.Reset(w.interval())
		case <-due.C:
			changed() // which loads, and so comes back here as loaded
		}
	}
}

// look renews the watches, and catches up with what happened before they stood.
func (w *watch) look(due *time.Timer) {
	w.arm()
	for path, seen := range w.lastSeen() {
		if signatureOf(path) != seen {
			due.Reset(w.quiet)
			return
		}
	}
}

func (w *watch) interval() time.Duration {
	if w.poor != "" {
		return w.poll
	}
	return w.patrol
}

// lastSeen is what the last Load saw: a map that nobody changes.
func (l *Loader) lastSeen() map[string]signature {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

// concerns says whether the event is about an entry on a trail, or about a
// directory that holds one.
func (w *watch) concerns(e fsnotify.Event) bool {
	dir, name := filepath.Split(e.Name)
	return w.wanted[filepath.Clean(dir)][name] || w.wanted[e.Name] != nil
}

// arm watches the directories that the trails lead through now, and no others. What
// appears on a trail before the directory above it is watched is no event: so the
// trails are walked again until they lead through nothing new, or somebody plays
// with us; then the patrol has to do.
func (w *watch) arm() {
	var err error
	w.wanted = w.walk()
	for range 10 {
		err = w.watchAll()
		now := w.walk()
		if maps.EqualFunc(now, w.wanted, maps.Equal) {
			break
		}
		w.wanted = now
	}
	w.say(err)
}

// walk is where the trails lead through now: directory → names in it.
func (w *watch) walk() map[string]map[string]bool {
	wanted := make(map[string]map[string]bool)
	for path := range w.lastSeen() {
		trail(path, func(dir, name string) {
			if wanted[dir] == nil {
				wanted[dir] = make(map[string]bool)
			}
			wanted[dir][name] = true
		})
	}
	return wanted
}

// watchAll brings the kernel's watches in line with what is wanted.
func (w *watch) watchAll() error {
	if w.notifier == nil {
		n, err := w.start()
		if err != nil {
			return err
		}
		w.notifier, w.events, w.errs = n, n.Events, n.Errors
	}
	var first error
	for dir := range w.wanted {
		// Adding again is how a directory that was replaced is noticed. One that went
		// away since is a change that its parent's watch or the next look finds.
		err := w.notifier.Add(dir)
		if err != nil && first == nil && !errors.Is(err, fs.ErrNotExist) {
			first = fmt.Errorf("%s: %w", dir, err)
		}
	}
	for _, dir := range w.notifier.WatchList() {
		if w.wanted[dir] == nil {
			// It fails when the directory is gone, which is as good.
			_ = w.notifier.Remove(dir)
		}
	}
	return first
}

// say logs when watching begins or ceases to be possible.
func (w *watch) say(err error) {
	poor := ""
	if err != nil {
		poor = advice(err)
	}
	if poor == w.poor {
		return
	}
	w.poor = poor
	if poor == "" {
		w.log.Info("watching the credentials for changes again")
		return
	}
	w.log.Warn("cannot watch the credentials for changes: looking at them every 2 s", "err", poor)
}

// advice adds to an error of inotify(7) what raises the limit: the error's own text
// speaks of disks and of files.
func advice(err error) string {
	for _, limit := range limits {
		if errors.Is(err, limit.errno) {
			return fmt.Sprintf("%v (%s)", err, limit.mend)
		}
	}
	return err.Error()
}

var limits = []struct {
	errno syscall.Errno
	mend  string
}{
	{syscall.ENOSPC, "too many inotify watches of this user: raise sysctl fs.inotify.max_user_watches"},
	{syscall.EMFILE, "too many inotify instances or open files: raise sysctl fs.inotify.max_user_instances, or LimitNOFILE"},
	{syscall.ENFILE, "too many open files of the system: raise sysctl fs.file-max"},
	{syscall.EACCES, "tokend needs the right to read the directory, not only to pass through it"},
}
