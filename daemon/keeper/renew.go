package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/tokend-project/tokend/providers"
	"github.com/tokend-project/tokend/store"
)

// The kinds of renewals, as records and events name them.
const (
	kindLogin   = "login"
	kindRefresh = "refresh"
	kindAnswer  = "answer" // a login's next step, with what a person answered
)

const (
	skewTold = 30 * time.Second // skew from which an operator hears of it
	// refreshTries is after how many failed refreshes in a row a login is tried: some
	// servers answer 500 for good to a refresh token that they cannot place.
	refreshTries = 3
)

var errInterrupted = errors.New("tokend ended in the middle of the last renewal, so something may have been sent")

// flight is one renewal, from before its first byte to the publication of its
// result. An entry has at most one (I2).
type flight struct {
	entry   *entry
	cred    *Credential
	kind    string
	account string // what the secrets of it are known as
	request string
	prev    providers.Token
	answer  *providers.Answer // of a kindAnswer
	began   time.Time
	cancel  context.CancelFunc
	stale   bool          // removed, or another identity, meanwhile: the result is dropped (I4)
	suspect bool          // an operator dropped the token meanwhile: only a login's result counts
	looking bool          // it was refused, and the secrets are read once more
	cleared chan struct{} // closed when the attempt is in the store
}

// outcome is what a flight brought home.
type outcome struct {
	token providers.Token
	err   error
}

// launch starts the entry's renewal, or queues it if its host has no place. A login,
// or the next step of one, that was refused meanwhile under another name is not made.
func (k *Keeper) launch(e *entry, now time.Time) {
	if r := k.refusalOf(e); r != nil && e.kind(now) != kindRefresh {
		e.refusal, e.asked = r, askNone
		e.challenge, e.answer, e.answered = nil, nil, ""
		e.remembers(*r)
		k.save(e, nil)
		k.tell(e, Event{Kind: EventRefused, Outcome: r.Class, Err: errors.New(e.cred.advise(r.Detail))})
		return
	}
	if !k.hosts.take(e.cred.Host) {
		e.queued = true
		k.hosts.queue = append(k.hosts.queue, e)
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	fl := &flight{
		entry: e, cred: e.cred, kind: e.kind(now), account: e.account, request: e.request,
		prev: e.token, answer: e.answer, began: now, cancel: cancel, cleared: make(chan struct{}),
	}
	e.flight, e.asked, e.answer, e.spread = fl, askNone, nil, time.Time{}
	k.flights++
	if fl.kind != kindRefresh {
		k.account(e.account).spend(now, e.cred.Kind.Logins)
	}
	if fl.kind == kindLogin {
		e.challenge, e.answered = nil, ""
	}
	e.rec.Account = e.account
	e.rec.Attempt = &store.Attempt{Kind: fl.kind, At: now.Round(0)}
	k.save(e, func(error) { close(fl.cleared) })
	go k.fly(ctx, fl)
}

// fly waits until the attempt is durable and makes it. A store that cannot write is
// no reason to let tokens die: after durableWait it goes on without.
func (k *Keeper) fly(ctx context.Context, fl *flight) {
	select {
	case <-fl.cleared:
	case <-time.After(durableWait):
	case <-ctx.Done():
	}
	var o outcome
	if o.err = ctx.Err(); o.err == nil {
		o = fl.try(ctx)
	}
	if !k.post(func() { k.land(fl, o) }) {
		fl.cancel()
	}
}

// try makes the renewal.
func (fl *flight) try(ctx context.Context) (o outcome) {
	ctx = providers.Hiding(ctx, fl.prev.Value, fl.prev.Refresh)
	if fl.kind == kindRefresh {
		o.token, o.err = providers.Refresh(ctx, fl.cred.Provider.(providers.Refresher), fl.prev)
	} else {
		o.token, o.err = providers.Login(ctx, fl.cred.Provider, fl.answer)
	}
	return o
}

// isRefusal says whether err must not be answered by sending the same again.
func isRefusal(err error) bool {
	var e *providers.Error
	return errors.As(err, &e) && (e.Class == providers.Refused || e.Class == providers.Misconfigured)
}

// land takes a flight's outcome into the entry.
func (k *Keeper) land(fl *flight, o outcome) {
	now := time.Now()
	e := fl.entry
	fl.cancel()
	k.hosts.free(fl.cred.Host)
	e.rec.Attempt = nil
	var failure *providers.Error
	var challenge *providers.Challenge
	switch {
	case fl.stale, o.err == nil && fl.suspect && fl.kind == kindRefresh:
		k.tell(e, Event{Kind: EventDiscarded, Outcome: fl.kind})
		k.end(e)
	case o.err == nil:
		k.bring(fl, o.token, now)
		return // the flight ends when the token is durable
	case errors.As(o.err, &challenge):
		k.challenged(fl, challenge)
		k.end(e)
	case errors.As(o.err, &failure):
		if k.lookAgain(fl, failure) {
			return // the flight ends when the secrets were read once more
		}
		k.fail(fl, failure, now)
		k.end(e)
	default: // cancelled before it left
		k.end(e)
	}
	k.save(e, nil)
	k.step(e)
}

// end marks the entry's flight as over and lets the next in the queue start.
func (k *Keeper) end(e *entry) {
	e.flight = nil
	e.attempts++
	k.flights--
	k.dequeue()
}

// dequeue starts the queued renewals that now have a place.
func (k *Keeper) dequeue() {
	for next := k.hosts.next(); next != nil; next = k.hosts.next() {
		next.queued = false
		k.step(next)
	}
}

// bring has a new token written down and then puts it before the readers; if
// writing fails or takes over durableWait they get it all the same (I3).
func (k *Keeper) bring(fl *flight, t providers.Token, now time.Time) {
	e := fl.entry
	if fl.kind == kindRefresh && t.Refresh.Empty() {
		t.Refresh, t.RefreshExpires = fl.prev.Refresh, fl.prev.RefreshExpires
		e.rec.KeepsRefresh = true
	}
	account := fl.account
	if fl.kind == kindRefresh {
		account = e.rec.Login
	}
	e.succeeded()
	if fl.kind != kindRefresh {
		e.rec.Person = fl.kind == kindAnswer
	}
	e.note(t, account, now)
	k.write(fl, t)
}

// write has the token of a flight written down, and published then.
func (k *Keeper) write(fl *flight, t providers.Token) {
	arrived := false
	arrive := func(err error) {
		if !arrived {
			arrived = true
			k.arrive(fl, t, err)
		}
	}
	patience := time.AfterFunc(durableWait, func() {
		k.post(func() { arrive(errSlowStore) })
	})
	k.save(fl.entry, func(err error) {
		patience.Stop()
		arrive(err)
	})
}

var errSlowStore = errors.New("writing the store takes over 2s")

// arrive publishes the flight's token; err says why it is not in the store.
func (k *Keeper) arrive(fl *flight, t providers.Token, err error) {
	e, now := fl.entry, time.Now()
	if fl.stale || fl.suspect && fl.kind == kindRefresh {
		k.tell(e, Event{Kind: EventDiscarded, Outcome: fl.kind})
		k.end(e)
		k.step(e)
		return
	}
	if e.rec.Token == "" { // dropped by an operator while this one was being written
		e.note(t, fl.account, now)
		k.write(fl, t)
		return
	}
	if errors.Is(err, errSlowStore) && e.saved {
		e.saved = false
		k.tell(e, Event{Kind: EventUnsaved, Err: err})
	}
	if e.quiet(now) {
		e.rec.ReaderWait = 0
	}
	skewed := t.Skew.Abs() > skewTold && e.token.Skew.Abs() <= skewTold
	e.challenge, e.answered = nil, ""
	e.take(k, t)
	e.cell.read.Store(false)
	e.tokens++
	if fl.kind != kindRefresh {
		e.login = e.account != fl.account // the secrets changed while this login was under way
	}
	k.end(e)
	k.tell(e, Event{Kind: EventRenewed, Outcome: fl.kind, Due: e.renew})
	if skewed {
		k.tell(e, Event{Kind: EventSkew, Skew: t.Skew})
	}
	k.step(e)
}

// fail takes a failed renewal into the entry: the outcome table of the package doc.
func (k *Keeper) fail(fl *flight, err *providers.Error, now time.Time) {
	e := fl.entry
	class := err.Class
	if fl.kind == kindRefresh && isRefusal(err) {
		class = providers.RefreshRefused // the login that follows will tell
	}
	switch class {
	case providers.RefreshRefused, providers.NoRefresh:
		e.spendRefresh()
		e.login = true
		e.rec.NoRefresh = e.rec.NoRefresh || class == providers.NoRefresh
		k.tell(e, Event{Kind: EventFailed, Outcome: class.String(), Err: err, Due: now})
	case providers.Refused, providers.Misconfigured:
		k.refuse(e, fl.refusal(err))
		k.settle(e, err)
	case providers.TicketGone:
		e.challenge, e.answered = nil, err.Error()
	case providers.Throttled, providers.Transient, providers.Blocked, providers.Malformed:
		if fl.kind == kindAnswer {
			e.answered = "the answer may not have arrived: " + err.Error()
			return // the question stands as long as its ticket does
		}
		unknown := err.Sent && (class == providers.Transient || class == providers.Malformed)
		if fl.kind == kindRefresh && unknown && !e.rec.KeepsRefresh {
			e.spendRefresh() // it may have been rotated, and its successor is lost
		}
		if fl.kind == kindLogin && unknown && e.mayHaveAsked() {
			e.codeAsked(fl.began)
		}
		if e.account != fl.account && fl.kind != kindRefresh && class != providers.Throttled {
			return // the secrets changed meanwhile: what the old ones led to does not count
		}
		e.failed(k, now, err)
		if fl.kind == kindRefresh && class == providers.Transient && e.rec.Streak >= refreshTries {
			e.login = true
		}
		k.tell(e, Event{Kind: EventFailed, Outcome: class.String(), Err: err, Due: e.next})
	}
}

// challenged takes a provider's question into the entry. Asked again after an answer,
// it says that the answer was wrong.
func (k *Keeper) challenged(fl *flight, c *providers.Challenge) {
	e := fl.entry
	if fl.kind != kindAnswer {
		e.codeAsked(fl.began)
	}
	if e.account != fl.account {
		return // the secrets changed meanwhile: this ticket is not theirs
	}
	if fl.kind == kindAnswer {
		e.answered = "the answer was not taken"
	}
	e.challenge = c
	e.succeeded() // whatever failed before, the provider answers
}

// spendRefresh gives the refresh token up: the next renewal is a login.
func (e *entry) spendRefresh() {
	e.token.Refresh = providers.Secret{}
	e.rec.Refresh = ""
}

// refusal is what is remembered of one (I8).
func (fl *flight) refusal(err *providers.Error) store.Refusal {
	r := store.Refusal{Account: fl.account, At: time.Now().Round(0), Class: err.Class.String(), Detail: err.Error()}
	if err.Class == providers.Misconfigured {
		r.Request = fl.request
	}
	return r
}

// settle has the entry refused after a refusal that is remembered, unless it has
// other secrets by now: these are tried next.
func (k *Keeper) settle(e *entry, err *providers.Error) {
	e.challenge, e.answered = nil, ""
	e.refusal = k.refusalOf(e)
	if e.refusal == nil {
		e.login = true
		return
	}
	e.rec.Failures++
	e.rec.Streak, e.rec.Class, e.rec.Detail = 0, e.refusal.Class, e.refusal.Detail
	k.tell(e, Event{Kind: EventRefused, Outcome: err.Class.String(), Err: errors.New(e.cred.advise(err.Error()))})
}
