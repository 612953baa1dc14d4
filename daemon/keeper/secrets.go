package keeper

import (
	"context"
	"time"

	"github.com/tokend-project/tokend/providers"
)

const (
	// readPatience is how long a login waits for secrets that are being read, rather
	// than be made with those of before.
	readPatience = 30 * time.Second
	// lookTime is how long the sources may take to give the secrets once more before a
	// refusal is final.
	lookTime = 30 * time.Second
)

// unknownIdentity is that of a credential that waits for a secret to tell.
var unknownIdentity [32]byte

// reading is one look at the sources of secrets that are still to come. An entry has
// at most one. Nothing is sent by it, so it has no place at a host, costs no login and
// leaves no attempt in the record.
type reading struct {
	entry  *entry
	cred   *Credential
	began  time.Time
	cancel context.CancelFunc
	stale  bool // removed, or given other sources, meanwhile
}

// unread is what came of the readings of secrets that are still to come.
type unread struct {
	fails int // in a row
	why   string
	next  time.Time // back-off: no other one before
}

// readAt is when the entry's next reading starts by itself; zero if none will, or if
// one is under way.
func (e *entry) readAt(k *Keeper, now time.Time) time.Time {
	if e.cred == nil || !e.cred.Unread || e.reading != nil || k.stopped {
		return time.Time{}
	}
	return later(now, now, e.unread.next, true)
}

// readBy is until when a login waits for a reading; zero if there is none.
func (e *entry) readBy() time.Time {
	if e.reading == nil {
		return time.Time{}
	}
	return e.reading.began.Add(readPatience)
}

// read starts a reading. It may take as long as it takes: whoever gives the secrets
// has limits of his own, and there may be many before this one.
func (k *Keeper) read(e *entry, now time.Time) {
	ctx, cancel := context.WithCancel(context.Background())
	r := &reading{entry: e, cred: e.cred, began: now, cancel: cancel}
	e.reading = r
	k.flights++
	go func() {
		defer cancel()
		cred, err := r.cred.Reread(ctx)
		k.post(func() { k.landReading(r, cred, err) })
	}()
}

// landReading puts a credential in force whose secrets have come, as a reload would.
func (k *Keeper) landReading(r *reading, cred *Credential, err error) {
	e, now := r.entry, time.Now()
	e.reading = nil
	k.flights--
	switch {
	case r.stale, err != nil && k.stopped:
	case err != nil:
		k.unreadable(e, err, now)
	case e.cred != r.cred:
		// A reload came meanwhile, with the same sources, and has its say in what is
		// made of the secrets.
	default:
		k.admit(e, cred, now)
	}
	k.step(e)
}

// admit gives the entry the credential with the secrets that were read.
func (k *Keeper) admit(e *entry, cred *Credential, now time.Time) {
	failed := e.unread.fails > 0
	k.place(e, cred, now, new(Change))
	if failed {
		k.tell(e, Event{Kind: EventRead})
	}
}

// unreadable notes that the secrets could not be read. Those of before, if there are
// any, go on working.
func (k *Keeper) unreadable(e *entry, err error, now time.Time) {
	u := &e.unread
	u.fails++
	u.why = err.Error()
	u.next = now.Add(retryAfter(providers.Transient, u.fails, 0, !e.usable(now), k.random()))
	e.attempts++
	if e.cred.Provider == nil {
		e.asked = askNone // or an order of today would have a person sent a code some day
	}
	k.tell(e, Event{Kind: EventUnread, Err: err, Due: u.next})
}

// reconsider looks at what is known of the sources, and at the reading under way,
// after the entry's credential followed old.
func (e *entry) reconsider(old *Credential) {
	if old != nil && old.Table == e.cred.Table && e.cred.Unread {
		return
	}
	e.unwanted()
}

// unwanted forgets what came of readings, and has the one under way end for nothing.
func (e *entry) unwanted() {
	e.unread = unread{}
	if e.reading != nil {
		e.reading.stale = true
		e.reading.cancel()
	}
}

// lookAgain reads the secrets once more before a refusal is final: they may have been
// rotated without our hearing of it. The refusal itself is written down before, so
// that a stop or a crash forgets none (I8). The flight goes on as long as this takes;
// false says that there is nothing to look at.
func (k *Keeper) lookAgain(fl *flight, failure *providers.Error) bool {
	if fl.kind == kindRefresh || !isRefusal(failure) || fl.cred.Reread == nil || k.stopped {
		return false
	}
	ctx, cancel := context.WithTimeout(context.Background(), lookTime)
	fl.cancel, fl.looking = cancel, true
	k.refuse(fl.entry, fl.refusal(failure))
	k.save(fl.entry, nil)
	k.dequeue() // its place is free
	go func() {
		defer cancel()
		cred, err := fl.cred.Reread(ctx)
		k.post(func() { k.conclude(fl, failure, cred, err) })
	}()
	return true
}

// conclude ends the flight of a refusal: with other secrets, if the sources gave such.
// Sources that gave nothing, or that a reload has something to say about, are asked
// again by and by, which sends nothing either.
func (k *Keeper) conclude(fl *flight, failure *providers.Error, cred *Credential, err error) {
	e, now, again := fl.entry, time.Now(), false
	k.end(e)
	switch {
	case fl.stale:
		k.step(e)
		return
	case k.stopped, err == nil && e.cred == fl.cred && cred.Secrets == fl.cred.Secrets:
	case err == nil && e.cred == fl.cred:
		k.place(e, cred, now, new(Change))
	case e.cred.Table == fl.cred.Table && e.cred.Reread != nil:
		e.cred, again = e.cred.unread(), true
	}
	k.settle(e, failure)
	if again && err != nil {
		k.unreadable(e, err, now)
	}
	k.save(e, nil)
	k.step(e)
}

// stopReading ends what is being read: nothing is lost by that.
func (k *Keeper) stopReading() {
	for _, e := range k.entries {
		if e.reading != nil {
			e.reading.cancel()
		}
		if e.flight != nil && e.flight.looking {
			e.flight.cancel()
		}
	}
}
