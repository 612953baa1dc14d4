package keeper

import (
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
	"github.com/tokend-project/tokend/store"
)

// ask says who wants a renewal now, beyond the schedule; the higher rules.
type ask int

const (
	askNone     ask = iota
	askReader       // overcomes the spread of a start
	askOperator     // overcomes back-off and Retry-After too
)

// entry is the owner's state of one credential.
type entry struct {
	name string
	cred *Credential // nil: not in the file (yet, or any more)
	cell *Cell

	// Keyed hashes of cred: whose token it is, that with the secrets, and the other
	// settings of the request.
	identity, account, request string

	rec    store.Record    // what is or will be in the store
	token  providers.Token // what readers may have; rec's, once that is durable
	renew  time.Time       // when token is to be renewed
	next   time.Time       // back-off: no attempt of our own before
	spread time.Time       // start: no attempt of our own before

	asked      ask
	lost       *store.Attempt // that a crash left behind, until the entry has its credential
	login      bool           // the next renewal must be a login: the secrets changed, or an operator dropped the token
	reported   bool           // somebody reported the token
	readerNext time.Time
	refusal    *store.Refusal
	challenge  *providers.Challenge // what a person may answer now
	answer     *providers.Answer    // what a person answered, until it is sent
	answered   string               // what became of the last answer, if it was not taken

	flight  *flight
	queued  bool     // waits for a place at its host
	reading *reading // of secrets that are still to come
	unread  unread   // what came of the readings so far

	tokens, attempts uint64 // came, ended: what those who wait look at

	saves      uint64
	saved      bool
	saveFailed int
	saveAt     time.Time

	told  api.State // last state that an event told
	due   time.Time
	index int // in the heap; -1: not in it
}

func (e *entry) provider() string {
	if e.cred == nil {
		return ""
	}
	return e.cred.Kind.Name
}

// lifetime of the token at hand, or of the last one there was; 0 if there was none.
func (e *entry) lifetime() time.Duration {
	if !e.token.Value.Empty() {
		return e.token.Expires.Sub(e.token.Issued)
	}
	return e.rec.Expires.Sub(e.rec.Issued)
}

// usable says whether there is a token that both clocks hold for alive.
func (e *entry) usable(now time.Time) bool {
	return !e.token.Value.Empty() && !reached(now, e.token.Expires)
}

// state is how things stand.
func (e *entry) state(now time.Time) api.State {
	usable := e.usable(now)
	switch {
	case e.refusal != nil:
		return api.StateRefused
	case e.challenge != nil, e.awaitsOperator(now):
		return api.StateChallenge
	case usable && e.failures() > 0:
		return api.StateStale
	case usable:
		return api.StateFresh
	case e.cred.Lazy && e.asked == askNone && e.flight == nil && !e.queued && e.failures() == 0:
		return api.StateIdle
	}
	return api.StatePending
}

// failures are those in a row of what stands between the entry and a new token.
func (e *entry) failures() int {
	if e.cred.Provider == nil {
		return e.rec.Failures + e.unread.fails
	}
	return e.rec.Failures
}

// kind is how the entry's next renewal would be made.
func (e *entry) kind(now time.Time) string {
	_, can := e.cred.Provider.(providers.Refresher)
	switch {
	case e.answer != nil:
		return kindAnswer
	case !can, e.login, e.rec.NoRefresh, e.token.Refresh.Empty(), loginDue(now, e.rec.RefreshIssued, e.token.RefreshExpires):
		return kindLogin
	}
	return kindRefresh
}

// attemptAt is when the entry's next renewal starts by itself, as things stand; ok
// is false if none will, or if one is under way.
func (e *entry) attemptAt(k *Keeper, now time.Time) (at time.Time, ok bool) {
	switch {
	case e.cred == nil, e.cred.Provider == nil, e.flight != nil, e.queued, k.stopped:
		return time.Time{}, false
	case e.answer != nil:
		return now, true
	case e.refusal != nil, e.challenge != nil, e.asked < askOperator && e.asksAgain(now):
		return time.Time{}, false
	}
	at = now
	idle := e.cred.Lazy && !e.cell.read.Load()
	switch {
	case e.asked != askNone:
	case e.login && !idle:
	case idle:
		return time.Time{}, false
	case e.usable(now) && e.rec.Failures == 0:
		at = e.renew
	}
	at = later(now, at, e.next, e.asked < askOperator)
	at = later(now, at, e.spread, e.asked == askNone)
	if e.kind(now) == kindLogin {
		at = later(now, at, k.account(e.account).loginAt(e.cred.Kind.Logins), true)
		at = later(now, at, e.readBy(), true)
	}
	return at, true
}

// later is the later of at and gate, if the gate counts and is not yet reached.
func later(now, at, gate time.Time, counts bool) time.Time {
	if !counts || gate.IsZero() || until(now, gate) <= until(now, at) {
		return at
	}
	return gate
}

// interrupted notes, at a start, that a crash left an attempt behind: something may
// have been sent, so it counts as a failure, and a refresh token that was on its
// way to a server that rotates them is spent.
func (e *entry) interrupted(k *Keeper, now time.Time) {
	if e.rec.Attempt.Kind == kindRefresh && !e.rec.KeepsRefresh {
		e.rec.Refresh = ""
	}
	e.lost, e.rec.Attempt = e.rec.Attempt, nil
	e.failed(k, now, &providers.Error{
		Class: providers.Transient, Sent: true,
		Err: errInterrupted,
	})
}

// failed counts a failure and sets the back-off.
func (e *entry) failed(k *Keeper, now time.Time, err *providers.Error) {
	class := err.Class.String()
	if e.rec.Class != class {
		e.rec.Streak = 0
	}
	e.rec.Failures++
	e.rec.Streak++
	e.rec.Class, e.rec.Detail = class, err.Error()
	e.next = now.Add(retryAfter(err.Class, e.rec.Streak, err.RetryAfter, !e.usable(now), k.random()))
	e.rec.Next = e.next.Round(0)
}

// backingOff says that the latest failure still holds the next attempt back.
func (e *entry) backingOff(now time.Time) bool {
	if e.cred.Provider == nil {
		return e.unread.fails > 0 && !reached(now, e.unread.next)
	}
	return e.rec.Failures > 0 && !reached(now, e.next)
}

// succeeded forgets all failures.
func (e *entry) succeeded() {
	e.rec.Failures, e.rec.Streak, e.rec.Class, e.rec.Detail = 0, 0, "", ""
	e.rec.Next, e.next = time.Time{}, time.Time{}
}

// forget drops the token, in memory and in the record.
func (e *entry) forget() {
	e.token = providers.Token{}
	e.renew = time.Time{}
	e.rec.Token, e.rec.Refresh, e.rec.Login = "", "", ""
	e.rec.RefreshIssued, e.rec.RefreshExpires = time.Time{}, time.Time{}
}

// adopt makes the record's token the one that readers get, with both clocks on its
// times: a stored time has none but the wall's. A token that seems to come from the
// future was stored before the wall clock was stepped back; it gets no more than
// its lifetime.
func (e *entry) adopt(k *Keeper, now time.Time) {
	if e.rec.Token == "" {
		return
	}
	left := min(e.rec.Expires.Sub(now), e.rec.Expires.Sub(e.rec.Issued))
	expires := now.Add(left)
	e.take(k, providers.Token{
		Value: providers.NewSecret(e.rec.Token), Refresh: providers.NewSecret(e.rec.Refresh),
		Issued: expires.Add(-e.rec.Expires.Sub(e.rec.Issued)), Expires: expires,
		RefreshExpires: e.rec.RefreshExpires, Skew: e.rec.Skew,
	})
}

// take puts the token before the readers and plans its renewal.
func (e *entry) take(k *Keeper, t providers.Token) {
	e.token = t
	e.renew = renewAt(t.Issued, t.Expires.Sub(t.Issued), e.cred.RenewAt, k.random())
	e.reported = false
}

// note writes the token into the record.
func (e *entry) note(t providers.Token, account string, now time.Time) {
	r := &e.rec
	if r.Refresh != t.Refresh.Reveal() {
		r.RefreshIssued = t.Issued.Round(0)
	}
	r.Token, r.Refresh, r.Skew = t.Value.Reveal(), t.Refresh.Reveal(), t.Skew
	r.Issued, r.Expires = t.Issued.Round(0), t.Expires.Round(0)
	r.RefreshExpires, r.LastRenewal = t.RefreshExpires.Round(0), now.Round(0)
	r.Identity, r.Login = e.identity, account
}

// say is the code and the sentence of what is wrong, code "" if nothing is.
func (e *entry) say(now time.Time) (code api.Code, detail string) {
	switch {
	case e.refusal != nil && e.unread.fails > 0:
		return api.CodeRefused, e.cred.advise(e.refusal.Detail) + "; and then " + e.unread.why
	case e.refusal != nil:
		return api.CodeRefused, e.cred.advise(e.refusal.Detail)
	case e.challenge != nil, e.awaitsOperator(now):
		return api.CodeChallenge, e.question(now)
	case e.cred.Provider == nil && e.unread.fails > 0:
		return api.CodePending, e.unread.why
	case e.rec.Failures > 0 && e.rec.Class == providers.Throttled.String():
		return api.CodeThrottled, e.rec.Detail
	case e.rec.Failures > 0:
		return api.CodePending, e.rec.Detail
	}
	return "", ""
}
