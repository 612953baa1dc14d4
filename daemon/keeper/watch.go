package keeper

import (
	"maps"
	"slices"
	"sync"
)

// A watch is told which credentials changed, not how: it goes to their cells and sees
// how things stand by then. So what a slow watch is behind is a set of names, never a
// queue, and a change costs the owner one entry in the set of each watch that cares
// for that credential, however many credentials and other watches there are. A reload
// may change everybody's rights to everything; it costs the owner one flag per watch.

// Watch collects the names of credentials that changed in a way that watches tell:
// state, usable, token, error code, challenge or rules.
type Watch struct {
	// Ready holds a value when Take has something to give.
	Ready <-chan struct{}

	hub     *watches
	names   []string
	ready   chan struct{}
	changed map[string]struct{} // guarded by hub.mu, like all
	all     bool
}

// watches are the open ones, by each name that they care for; those that care for
// all have none, which is no credential's name.
type watches struct {
	mu   sync.Mutex
	by   map[string]map[*Watch]struct{}
	held bool // by a reload; the owner's
}

// Watch watches the credentials of these names, whether they exist yet or not;
// without names all, those to come included. The first Take gives all. Close the
// watch when done.
func (k *Keeper) Watch(names ...string) *Watch {
	w := &Watch{hub: &k.watches, names: names, ready: make(chan struct{}, 1)}
	w.Ready = w.ready
	if len(names) == 0 {
		w.names = []string{""}
	}
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	if w.hub.by == nil {
		w.hub.by = map[string]map[*Watch]struct{}{}
	}
	for _, name := range w.names {
		if w.hub.by[name] == nil {
			w.hub.by[name] = map[*Watch]struct{}{}
		}
		w.hub.by[name][w] = struct{}{}
	}
	w.wakeLocked("")
	return w
}

// Close ends the watch.
func (w *Watch) Close() {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	for _, name := range w.names {
		delete(w.hub.by[name], w)
		if len(w.hub.by[name]) == 0 {
			delete(w.hub.by, name)
		}
	}
}

// Take returns the names of the credentials that changed since the last Take, sorted.
// After a reload, which may have added, removed or changed any and all rights, it
// says all instead.
func (w *Watch) Take() (names []string, all bool) {
	w.hub.mu.Lock()
	changed, all := w.changed, w.all
	w.changed, w.all = nil, false
	w.hub.mu.Unlock()
	if all {
		return nil, true
	}
	return slices.Sorted(maps.Keys(changed)), false
}

// wakeLocked adds a name to the set; the empty one stands for all.
func (w *Watch) wakeLocked(name string) {
	switch {
	case w.all:
		return // and the value in ready is not taken, or its taker will find all
	case name == "":
		w.all, w.changed = true, nil
	case w.changed == nil:
		w.changed = map[string]struct{}{name: {}}
	default:
		w.changed[name] = struct{}{}
	}
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

// saw has those who watch the credential told, if a step between two views of it is
// any of theirs. The new view is in its place already.
func (h *watches) saw(name string, from, to *facts) {
	if h.held || !from.differs(to) {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, by := range [...]string{"", name} {
		for w := range h.by[by] {
			w.wakeLocked(name)
		}
	}
}

// hold has changes wait for release: those of a reload are told together, and after
// its cells are in place.
func (h *watches) hold() { h.held = true }

// release tells every watch to look at everything.
func (h *watches) release() {
	h.held = false
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, ws := range h.by {
		for w := range ws {
			w.wakeLocked("")
		}
	}
}

// differs says whether a watch tells f from g.
func (f *facts) differs(g *facts) bool {
	return f.state != g.state || f.alive != g.alive || f.token != g.token || !f.expires.Equal(g.expires) ||
		f.code != g.code || (f.aside == "") != (g.aside == "") || f.challenge != g.challenge || f.cred != g.cred
}
