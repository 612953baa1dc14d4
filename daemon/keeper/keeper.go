package keeper

import (
	"container/heap"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/tokend-project/tokend/store"
)

const (
	// longestSleep bounds how long the loop trusts its timer: timers stand still
	// while the machine is suspended.
	longestSleep = 30 * time.Second
	// clockStep is how far the two clocks may part within one sleep before every
	// entry is looked at again.
	clockStep = 2 * time.Second
	// durableWait is how long a write may take before we go on without it.
	durableWait = 2 * time.Second
)

var errStopping = errors.New("tokend is stopping")

// Config is what a Keeper works with.
type Config struct {
	Store *store.Store
	// Event hears of everything that happens, on the owner's goroutine; it must not
	// block. Nil hears nothing.
	Event func(Event)
	// Grace is how long renewals in flight may go on after Run's context ended.
	Grace time.Duration
	Log   *slog.Logger
}

// Keeper keeps the tokens of all credentials fresh. Its methods may be called from
// any goroutine while Run runs.
type Keeper struct {
	store  *store.Store
	event  func(Event)
	grace  time.Duration
	log    *slog.Logger
	random func() float64

	posts    chan func()
	stopping chan struct{} // closed when Run's context ends
	ended    chan struct{} // closed when Run returns

	cells   atomic.Pointer[map[string]*Cell] // replaced whole, by a reload only
	watches watches

	// The owner's; nobody else touches what follows (I1).
	entries  map[string]*entry
	accounts map[string]*account
	hosts    hosts
	due      dueHeap
	flights  int
	looked   time.Time // when the loop last looked at the clocks
	stopped  bool
}

// New makes a Keeper of what the store remembers. It starts nothing: credentials
// come by Apply, and nothing happens before Run.
func New(cfg Config) *Keeper {
	k := &Keeper{
		store: cfg.Store, event: cfg.Event, grace: cfg.Grace, log: cfg.Log, random: rand.Float64,
		posts: make(chan func()), stopping: make(chan struct{}), ended: make(chan struct{}),
		entries: map[string]*entry{}, accounts: map[string]*account{},
		hosts: hosts{flying: map[string]int{}},
	}
	if k.event == nil {
		k.event = func(Event) {}
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	k.cells.Store(&map[string]*Cell{})
	k.recall(time.Now())
	return k
}

// recall makes an entry of every stored record. They belong to no credential until
// Apply finds theirs, and are left alone until then: a daemon whose file is bad at
// its start must not forget anything.
func (k *Keeper) recall(now time.Time) {
	for name, rec := range k.store.Records() {
		e := &entry{name: name, index: -1, rec: rec, saved: true}
		if !rec.Next.IsZero() { // further off than any wait: the wall clock was stepped back
			e.next = now.Add(min(rec.Next.Sub(now), longestWait))
		}
		if !rec.ReaderNext.IsZero() {
			e.readerNext = now.Add(min(rec.ReaderNext.Sub(now), readerMost))
		}
		k.learn(now, rec)
		if rec.Attempt != nil {
			e.interrupted(k, now)
		}
		k.entries[name] = e
		if !rec.Removed.IsZero() {
			k.wake(e, now) // its day goes on
		}
	}
}

// Run owns the credentials until ctx ends, and then for as long as renewals are in
// flight, but at most the grace (I7): a rotated refresh token that is not written
// down is lost.
func (k *Keeper) Run(ctx context.Context) error {
	defer close(k.ended)
	timer := time.NewTimer(0)
	defer timer.Stop()
	var graceOver <-chan time.Time
	done := ctx.Done()
	for {
		k.work()
		if k.stopped && k.flights == 0 {
			return nil
		}
		timer.Reset(k.sleep())
		select {
		case f := <-k.posts:
			f()
		case <-timer.C:
		case <-done:
			done = nil
			k.halt()
			graceOver = time.After(k.grace)
		case <-graceOver:
			k.abandon()
			return nil
		}
	}
}

// halt has nothing begin any more, and those who wait for what has not begun know.
func (k *Keeper) halt() {
	k.stopped = true
	close(k.stopping)
	for _, e := range k.hosts.queue {
		e.queued = false
		k.refresh(e)
	}
	k.hosts.queue = nil
	k.stopReading()
}

// abandon cancels what is still in flight when the grace is over.
func (k *Keeper) abandon() {
	for _, e := range k.entries {
		if e.flight != nil {
			e.flight.cancel()
			k.log.Warn("renewal abandoned at the end of the grace period", "credential", e.name)
		}
	}
}

// work looks at every entry that is due, and at all of them after the clocks
// stepped apart.
func (k *Keeper) work() {
	now := time.Now()
	if !k.looked.IsZero() {
		apart := now.Round(0).Sub(k.looked.Round(0)) - now.Sub(k.looked)
		if apart.Abs() > clockStep {
			for _, e := range k.entries {
				k.step(e)
			}
		}
	}
	k.looked = now
	for len(k.due) > 0 && reached(now, k.due[0].due) {
		k.step(k.due[0])
	}
}

// step does what is due for the entry, tells its readers and sets when to look at
// it again.
func (k *Keeper) step(e *entry) {
	now := time.Now()
	if !e.saveAt.IsZero() && reached(now, e.saveAt) {
		e.saveAt = time.Time{}
		k.save(e, nil)
	}
	if e.cred == nil {
		k.bury(e, now)
		return
	}
	e.expireChallenge(now)
	if at := e.readAt(k, now); !at.IsZero() && reached(now, at) {
		k.read(e, now)
	}
	if at, ok := e.attemptAt(k, now); ok && reached(now, at) {
		k.launch(e, now)
	}
	k.refresh(e)
}

// sleep is how long the loop may wait for the next due entry.
func (k *Keeper) sleep() time.Duration {
	if len(k.due) == 0 {
		return longestSleep
	}
	return max(0, min(longestSleep, until(time.Now(), k.due[0].due)))
}

// post has the owner run f, unless Run has returned.
func (k *Keeper) post(f func()) bool {
	select {
	case k.posts <- f:
		return true
	case <-k.ended:
		return false
	}
}

// call has the owner run f and waits until it did.
func (k *Keeper) call(ctx context.Context, f func()) error {
	ran := make(chan struct{})
	select {
	case k.posts <- func() { defer close(ran); f() }:
	case <-ctx.Done():
		return ctx.Err()
	case <-k.ended:
		return errStopping
	}
	<-ran // the owner never waits for anything, so this comes at once
	return nil
}

// Ping returns once the owner's loop has run: a watchdog that asks learns whether
// the heart beats. It fails when ctx ends first or Run has returned.
func (k *Keeper) Ping(ctx context.Context) error { return k.call(ctx, func() {}) }

// save queues the entry's record for writing; then, if not nil, runs on the owner's
// goroutine with the outcome.
func (k *Keeper) save(e *entry, then func(error)) {
	e.saves++
	nth := e.saves
	e.rec.Budget = time.Time{}
	if a := k.accounts[e.rec.Account]; a != nil {
		e.rec.Budget = a.whole.Round(0)
	}
	rec := e.rec
	k.store.Put(e.name, rec, func(err error) {
		told := func() {
			if nth == e.saves {
				k.savedAs(e, err)
			}
			if then != nil {
				then(err)
			}
		}
		if err != nil { // a store that has closed says so at once, on our own goroutine
			go k.post(told)
			return
		}
		k.post(told)
	})
}

// savedAs takes note of whether the store holds the entry's newest record; a write
// that failed is tried again.
func (k *Keeper) savedAs(e *entry, err error) {
	was := e.saved
	e.saved = err == nil
	switch {
	case err != nil:
		e.saveFailed++
		e.saveAt = time.Now().Add(doubled(backoffBase, e.saveFailed, backoffCap))
		if was || e.saveFailed == 1 {
			k.tell(e, Event{Kind: EventUnsaved, Err: err})
		}
	default:
		e.saveFailed, e.saveAt = 0, time.Time{}
		if !was {
			k.tell(e, Event{Kind: EventSaved})
		}
	}
	if e.cred == nil {
		k.bury(e, time.Now())
		return
	}
	k.refresh(e)
}

// dueHeap orders entries by when the loop has to look at them.
type dueHeap []*entry

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for package heap.
func (h *dueHeap) Push(x any) {
	e := x.(*entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for package heap.
func (h *dueHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}

// wake sets when the loop looks at the entry next; the zero time is never.
func (k *Keeper) wake(e *entry, at time.Time) {
	switch {
	case at.IsZero() && e.index >= 0:
		heap.Remove(&k.due, e.index)
	case at.IsZero():
	case e.index >= 0:
		e.due = at
		heap.Fix(&k.due, e.index)
	default:
		e.due = at
		heap.Push(&k.due, e)
	}
}
