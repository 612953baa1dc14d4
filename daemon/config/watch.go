package config

import (
	"context"
	"maps"
	"time"

	"github.com/fsnotify/fsnotify"
)

const (
	// quiet is how long nothing may have happened before a change is read: a file
	// that is still being written may parse, and lack half of its credentials.
	quiet = 200 * time.Millisecond
	// patience is how long quiet is waited for. Who writes for ever is read all the
	// same, since everything else that changed would wait with it.
	patience = 5 * time.Second
	// glance is how soon after a sign that the trails lead elsewhere they are walked
	// again: many such signs come together.
	glance = 20 * time.Millisecond
	// pollInterval is for what the kernel does not watch.
	pollInterval = 2 * time.Second
	// patrolInterval is for what it watches and loses.
	patrolInterval = 30 * time.Second
)

// Watch calls changed when the credentials file, a file that the last Load found it
// to name, or a symbolic link or a directory on the way to one of them may have
// changed: once nothing has for 200 ms, or after 5 s in which something always did.
// It compares no contents: that is for File.Sum. changed is never called by two
// goroutines at once, and Load may be called in it.
//
// Watch returns nil when ctx ends. It has no other end: where the kernel refuses to
// watch, it says why in the log, and looks every two seconds by itself; so it does
// for file systems that others can write. Every 30 s it looks anyway, and so finds
// what the kernel does not tell: writes to a mapped file, and what is moved above a
// directory that tokend may only pass through.
func (l *Loader) Watch(ctx context.Context, changed func()) error {
	w := &watch{
		Loader: l, start: fsnotify.NewWatcher,
		quiet: quiet, patience: patience, poll: pollInterval, patrol: patrolInterval,
	}
	mounts, stop := mountChanges()
	defer stop()
	w.mounts = mounts
	defer w.close()
	w.run(ctx, changed)
	return nil
}

// watch is a Watch under way.
type watch struct {
	*Loader
	start                         func() (*fsnotify.Watcher, error)
	quiet, patience, poll, patrol time.Duration

	// The kernel's part; see arm.
	notifier *fsnotify.Watcher // nil while the kernel has none for us, or it is to be replaced
	events   chan fsnotify.Event
	errs     chan error
	mounts   <-chan struct{}
	trails   *trails // that are watched
	remote   bool    // others can write there, of which the kernel here does not know
	poor     string  // why it polls; empty: it does not

	// What is about to be done.
	due   *time.Timer // the change is read
	since time.Time   // when the first sign of it came; zero: there is none
	next  *time.Timer // the next look
	soon  bool        // that one is a glance
	found map[string]signature
}

// begin has the first look made at once.
func (w *watch) begin() {
	w.trails = newTrails()
	w.due, w.next = time.NewTimer(time.Hour), time.NewTimer(0)
	w.due.Stop()
}

func (w *watch) run(ctx context.Context, changed func()) {
	w.begin()
	defer w.due.Stop()
	defer w.next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e := <-w.events:
			w.hear(e)
		case err := <-w.errs: // the queue ran over: anything may have happened
			w.log.Debug("lost track of changes to the credentials", "err", err)
			w.close()
			w.sign(w.quiet)
			w.glance()
		case <-w.mounts: // which the kernel tells nobody who watches directories
			w.glance()
		case <-w.loaded:
			w.look()
		case <-w.next.C:
			w.look()
		case <-w.due.C:
			if w.settled() {
				w.since = time.Time{}
				changed() // which loads, and so comes back here as loaded
			}
		}
	}
}

// hear takes an event. Creations, removals and renames may have the trails lead
// elsewhere.
func (w *watch) hear(e fsnotify.Event) {
	if !w.trails.hold(e.Name) {
		return
	}
	w.sign(w.quiet)
	if e.Has(fsnotify.Create) || e.Has(fsnotify.Remove) || e.Has(fsnotify.Rename) {
		w.glance()
	}
}

// sign notes that something may have changed, and has it read when nothing more does
// for so long.
func (w *watch) sign(wait time.Duration) {
	now := time.Now()
	if w.since.IsZero() {
		w.since = now
	}
	w.due.Reset(max(0, min(wait, w.since.Add(w.patience).Sub(now))))
}

// glance has the trails walked soon.
func (w *watch) glance() {
	if !w.soon {
		w.soon = true
		w.next.Reset(glance)
	}
}

// look renews the watches, and catches up with what happened where none stood.
func (w *watch) look() {
	w.arm()
	w.soon = false
	w.next.Reset(w.interval())
	seen := w.lastSeen()
	before := w.found
	w.found = signatures(seen)
	switch wait, differs := w.compare(seen); {
	case !differs:
	case w.since.IsZero():
		w.sign(wait)
	case !maps.Equal(w.found, before): // it goes on changing
		w.sign(w.quiet)
	}
}

// compare says whether a file is not what the last Load saw, and when to read it.
func (w *watch) compare(seen map[string]signature) (wait time.Duration, differs bool) {
	for path, was := range seen {
		now := w.found[path]
		if now == was {
			continue
		}
		wait, differs = max(wait, w.quiet), true
		if was.young {
			wait = max(wait, was.ripeAfter())
		}
	}
	return wait, differs
}

// settled says whether it was quiet. Who polls hears nothing between two looks: then
// only another look tells.
func (w *watch) settled() bool {
	if w.interval() == w.patrol || time.Since(w.since) >= w.patience {
		return true
	}
	before := w.found
	w.found = signatures(w.lastSeen())
	if maps.Equal(w.found, before) {
		return true
	}
	w.sign(w.quiet)
	return false
}

func (w *watch) interval() time.Duration {
	if w.poor != "" || w.remote {
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

// signatures are those of the same paths at this moment.
func signatures(of map[string]signature) map[string]signature {
	now := make(map[string]signature, len(of))
	for path := range of {
		now[path] = signatureOf(path)
	}
	return now
}
