package keeper

import (
	"slices"
	"time"

	"github.com/tokend-project/tokend/store"
)

const (
	loginBurst   = 3  // logins that may come at once before the budget spaces them
	perHost      = 4  // renewals in flight to one host
	inAll        = 64 // and to all
	spreadFrom   = 8  // starts with more due renewals than this are spread
	spreadEach   = 50 * time.Millisecond
	spreadMost   = time.Minute
	readerFirst  = 10 * time.Second // spacing of renewals that readers cause, at first
	readerMost   = 10 * time.Minute
	remembered   = 24 * time.Hour // of a removed credential
	deleteAgain  = time.Minute    // if the store could not
	refusalsKept = 8
)

// account is what the governor knows of one set of identity and secrets, under
// whatever name the file has it.
type account struct {
	whole   time.Time // when the login budget is whole again
	refusal map[string]store.Refusal
}

// spacing is the time between logins that keeps the budget of logins a minute.
func spacing(logins int) time.Duration { return time.Minute / time.Duration(max(1, logins)) }

// loginAt is the earliest time that the budget allows a login: a bucket of
// loginBurst that fills by one every spacing, kept as the time when it is full.
func (a *account) loginAt(logins int) time.Time {
	return a.whole.Add(-time.Duration(loginBurst-1) * spacing(logins))
}

// spend takes one login out of the budget.
func (a *account) spend(now time.Time, logins int) {
	if reached(now, a.whole) {
		a.whole = now
	}
	a.whole = a.whole.Add(spacing(logins))
}

// account returns what is known of the account with this keyed hash.
func (k *Keeper) account(hash string) *account {
	a := k.accounts[hash]
	if a == nil {
		a = &account{refusal: map[string]store.Refusal{}}
		k.accounts[hash] = a
	}
	return a
}

// learn takes over what a stored record says of accounts. A budget far in the
// future means that the wall clock was stepped back meanwhile.
func (k *Keeper) learn(now time.Time, r store.Record) {
	if r.Account != "" {
		a := k.account(r.Account)
		whole := now.Add(min(r.Budget.Sub(now), time.Minute))
		if whole.After(a.whole) {
			a.whole = whole
		}
	}
	for _, refusal := range r.Refusals {
		k.account(refusal.Account).refusal[refusal.Request] = refusal
	}
}

// refusalOf returns the standing refusal of what the entry would send, nil if there is none.
func (k *Keeper) refusalOf(e *entry) *store.Refusal {
	a := k.account(e.account)
	for _, request := range []string{"", e.request} {
		if r, ok := a.refusal[request]; ok {
			return &r
		}
	}
	return nil
}

// refuse remembers a refusal of the account, in memory and in the entry's record.
func (k *Keeper) refuse(e *entry, r store.Refusal) {
	k.account(r.Account).refusal[r.Request] = r
	e.remembers(r)
}

// remembers puts a refusal, which another name may have met with, into the entry's
// own record; it says whether that was news.
func (e *entry) remembers(r store.Refusal) bool {
	if slices.ContainsFunc(e.rec.Refusals, func(have store.Refusal) bool {
		return have.Account == r.Account && have.Request == r.Request
	}) {
		return false
	}
	e.rec.Refusals = append(e.rec.Refusals, r)
	if n := len(e.rec.Refusals); n > refusalsKept {
		e.rec.Refusals = e.rec.Refusals[n-refusalsKept:]
	}
	return true
}

// unlearn forgets refusals of a record that is gone, unless another has them too.
func (k *Keeper) unlearn(gone []store.Refusal) {
	for _, r := range gone {
		delete(k.account(r.Account).refusal, r.Request)
	}
	if len(gone) == 0 {
		return
	}
	for _, other := range k.entries {
		for _, r := range other.rec.Refusals {
			k.account(r.Account).refusal[r.Request] = r
		}
	}
}

// pardon forgets the refusals of the entry's account, in every record that has them.
func (k *Keeper) pardon(e *entry) {
	clear(k.account(e.account).refusal)
	for _, other := range k.entries {
		kept := slices.DeleteFunc(slices.Clone(other.rec.Refusals), func(r store.Refusal) bool { return r.Account == e.account })
		if len(kept) != len(other.rec.Refusals) {
			other.rec.Refusals = kept
			k.save(other, nil)
		}
	}
}

// hosts counts the renewals in flight, and queues those that must wait for one to end.
type hosts struct {
	all    int
	flying map[string]int
	queue  []*entry
}

// take reserves a place for a renewal to host, or says that there is none.
func (h *hosts) take(host string) bool {
	if h.all >= inAll || h.flying[host] >= perHost {
		return false
	}
	h.all++
	h.flying[host]++
	return true
}

// free gives a place back.
func (h *hosts) free(host string) {
	h.all--
	if h.flying[host]--; h.flying[host] == 0 {
		delete(h.flying, host)
	}
}

// next takes the first queued entry out whose host has a place; nil if none has.
func (h *hosts) next() *entry {
	for i, e := range h.queue {
		if h.all < inAll && h.flying[e.cred.Host] < perHost {
			h.queue = slices.Delete(h.queue, i, i+1)
			return e
		}
	}
	return nil
}

// drop takes the entry out of the queue.
func (h *hosts) drop(e *entry) {
	h.queue = slices.DeleteFunc(h.queue, func(queued *entry) bool { return queued == e })
}

// readerMay says when the next renewal that a reader causes may start.
func (e *entry) readerMay(now time.Time) time.Time {
	if e.quiet(now) {
		return now
	}
	return e.readerNext
}

// quiet says that the token has lived past half its life unreported: complaints
// about earlier ones no longer count.
func (e *entry) quiet(now time.Time) bool {
	return !e.token.Value.Empty() && !e.reported && until(now, e.token.Issued.Add(e.lifetime()/2)) <= 0
}

// caused spaces the next renewal that a reader may cause.
func (e *entry) caused(now time.Time) {
	wait := readerFirst
	if e.rec.ReaderWait > 0 && !e.quiet(now) {
		wait = min(2*e.rec.ReaderWait, readerMost)
	}
	if life := e.lifetime(); life > 0 {
		wait = min(wait, life/4)
	}
	e.rec.ReaderWait = wait
	e.readerNext = now.Add(wait)
	e.rec.ReaderNext = e.readerNext.Round(0)
}
