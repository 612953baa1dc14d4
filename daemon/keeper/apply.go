package keeper

import (
	"context"
	"slices"
	"time"

	"github.com/tokend-project/tokend/providers"
	"github.com/tokend-project/tokend/store"
)

// Change counts what a new set of credentials did.
type Change struct {
	Added, Changed, Removed, Kept int
}

// Apply puts the credentials in force: all that the file now has. Those that did
// not change keep token and schedule. It fails only when ctx ends or Run has
// returned.
func (k *Keeper) Apply(ctx context.Context, creds []*Credential) (Change, error) {
	var c Change
	err := k.call(ctx, func() { c = k.apply(creds) })
	return c, err
}

func (k *Keeper) apply(creds []*Credential) (c Change) {
	k.watches.hold()
	defer k.watches.release()
	now := time.Now()
	named := make(map[string]*Credential, len(creds))
	cells := make(map[string]*Cell, len(creds))
	var due []*entry
	for _, cred := range creds {
		named[cred.Name] = cred
		e := k.entries[cred.Name]
		if e == nil {
			e = &entry{name: cred.Name, index: -1, saved: true}
			k.entries[cred.Name] = e
		}
		k.place(e, cred.after(e.cred), now, &c)
		cells[cred.Name] = e.cell
		if at, ok := e.attemptAt(k, now); ok && reached(now, at) {
			due = append(due, e)
		}
	}
	for name, e := range k.entries {
		if named[name] == nil && e.rec.Removed.IsZero() {
			k.remove(e, now, &c)
		}
	}
	k.spread(due, now)
	for _, cred := range creds {
		k.step(k.entries[cred.Name])
	}
	k.cells.Store(&cells)
	k.forgetAccounts(now)
	return c
}

// place gives the entry its credential and does what the difference asks for.
func (k *Keeper) place(e *entry, cred *Credential, now time.Time, c *Change) {
	old := e.cred
	k.assign(e, cred)
	e.reconsider(old)
	switch {
	case old == nil:
		c.Added++
		e.cell = newCell(k, cred.Name)
		k.meet(e, now)
	case old.Identity != cred.Identity && old.Identity == unknownIdentity:
		c.Changed++
		k.meet(e, now)
	case old.Identity != cred.Identity:
		c.Changed++
		k.replace(e)
	case old.Secrets != cred.Secrets:
		c.Changed++
		if cred.Provider != nil { // else what comes is compared then
			k.rekey(e)
		}
	case old.same(cred):
		c.Kept++
	default:
		c.Changed++
	}
	if old != nil && old.RenewAt != cred.RenewAt && !e.token.Value.Empty() {
		e.renew = renewAt(e.token.Issued, e.lifetime(), cred.RenewAt, k.random())
	}
	if e.refusal = k.refusalOf(e); e.refusal == nil {
		return
	}
	e.challenge, e.answer, e.answered = nil, nil, ""
	if e.remembers(*e.refusal) {
		k.save(e, nil)
	}
}

// assign sets the entry's credential and what follows from it alone.
func (k *Keeper) assign(e *entry, cred *Credential) {
	old := e.cred
	e.cred = cred
	if old != nil && old.Identity == cred.Identity && old.Secrets == cred.Secrets && old.Request == cred.Request {
		return
	}
	e.identity, e.account = "", ""
	if cred.Identity != unknownIdentity {
		e.identity = k.store.Hash([]byte("identity"), cred.Identity[:])
	}
	if cred.Provider != nil {
		e.account = k.store.Hash([]byte("account"), cred.Identity[:], cred.Secrets[:])
	}
	e.request = k.store.Hash([]byte("request"), cred.Request[:])
}

// meet takes over what the store remembers of a credential that was not there, or not
// known, before: its token only if it belongs to the same identity (I5).
func (k *Keeper) meet(e *entry, now time.Time) {
	if !e.rec.Removed.IsZero() { // the next removal starts another day
		e.rec.Removed = time.Time{}
		k.save(e, nil)
	}
	if e.identity == "" {
		return // until that is known
	}
	if e.lost != nil && e.lost.Kind == kindLogin && e.rec.Identity == e.identity && e.mayHaveAsked() {
		e.codeAsked(e.lost.At)
	}
	e.lost = nil
	switch {
	case e.rec.Identity != e.identity:
		k.replace(e)
	case e.cred.Provider == nil: // its secrets are compared when they are there
		e.adopt(k, now)
	case e.rec.Login != e.account || e.rec.Account != e.account:
		e.adopt(k, now)
		k.rekey(e)
	default:
		e.adopt(k, now)
	}
}

// replace starts over for another identity: the token goes at once, and what was
// under way no longer counts.
func (k *Keeper) replace(e *entry) {
	known := e.rec.Identity != ""
	e.forget()
	e.ground()
	k.rekey(e)
	e.rec.Identity = e.identity
	e.rec.KeepsRefresh, e.rec.NoRefresh = false, false
	e.rec.Person, e.rec.CodeAsked = false, time.Time{}
	e.rec.Issued, e.rec.Expires, e.rec.LastRenewal = time.Time{}, time.Time{}, time.Time{}
	e.readerNext, e.rec.ReaderNext, e.rec.ReaderWait = time.Time{}, time.Time{}, 0
	if known {
		k.save(e, nil)
	}
}

// ground lets what is in flight end without an effect.
func (e *entry) ground() {
	if e.flight != nil {
		e.flight.stale = true
		e.flight.cancel()
	}
}

// rekey has other secrets tried at once: what the old ones led to does not count
// for them, but for a rate limit, which is about the host rather than the secrets.
func (k *Keeper) rekey(e *entry) {
	e.login = e.rec.Login != e.account
	if e.rec.Account == e.account {
		return
	}
	known := e.rec.Account != ""
	next, class, detail := e.next, e.rec.Class, e.rec.Detail
	e.succeeded()
	if class == providers.Throttled.String() {
		e.next, e.rec.Next = next, next.Round(0)
		e.rec.Class, e.rec.Detail, e.rec.Failures, e.rec.Streak = class, detail, 1, 1
	}
	e.challenge, e.answer, e.answered = nil, nil, ""
	e.spread = time.Time{} // it does not wait behind a start of many
	e.rec.Account = e.account
	if known { // what no longer counts is not to come back by a restart
		k.save(e, nil)
	}
}

// remove takes the credential out of service. What the governor remembers of it
// stays for a day, so that removing and adding replays nothing.
func (k *Keeper) remove(e *entry, now time.Time, c *Change) {
	if e.cred != nil {
		c.Removed++
		k.hosts.drop(e)
		e.queued = false
		if fl := e.flight; fl != nil && !fl.stale && fl.kind == kindLogin && e.mayHaveAsked() {
			e.codeAsked(fl.began)
		}
		e.ground()
		e.cell.retire()
		e.unwanted()
	}
	e.forget()
	e.cred, e.cell, e.challenge, e.answer, e.asked = nil, nil, nil, nil, askNone
	e.rec.Removed = now.Round(0)
	k.save(e, nil)
	k.step(e)
}

// bury ends a removed credential's memory when its day is over.
func (k *Keeper) bury(e *entry, now time.Time) {
	if e.rec.Removed.IsZero() || k.entries[e.name] != e {
		return // not met yet, as no file was ever in force; or buried already
	}
	end := now.Add(min(remembered, e.rec.Removed.Add(remembered).Sub(now)))
	if e.flight == nil && reached(now, end) {
		k.delete(e, now)
		return
	}
	if !e.saveAt.IsZero() && until(now, e.saveAt) < until(now, end) {
		end = e.saveAt
	}
	k.wake(e, now.Add(max(time.Second, until(now, end))))
}

// delete ends the memory of a removed credential. The entry goes once its record is
// gone: a store that cannot delete now is asked again.
func (k *Keeper) delete(e *entry, now time.Time) {
	refusals, removed := e.rec.Refusals, e.rec.Removed
	e.rec = store.Record{Removed: removed}
	k.unlearn(refusals)
	e.next, e.readerNext, e.lost = time.Time{}, time.Time{}, nil
	e.saveAt = time.Time{}
	k.wake(e, now.Add(deleteAgain))
	k.store.Delete(e.name, func(err error) {
		if err != nil {
			return
		}
		k.post(func() {
			if e.cred == nil && e.rec.Removed.Equal(removed) && k.entries[e.name] == e {
				k.wake(e, time.Time{})
				delete(k.entries, e.name)
			}
		})
	})
}

// spread delays the start of many renewals that are due together, so that a start
// is no burst on the providers. Readers and operators overcome it.
func (k *Keeper) spread(due []*entry, now time.Time) {
	if len(due) <= spreadFrom {
		return
	}
	window := min(spreadMost, time.Duration(len(due))*spreadEach)
	for _, e := range due {
		e.spread = now.Add(time.Duration(k.random() * float64(window)))
	}
}

// forgetAccounts drops what is known of accounts that no record speaks of any more.
func (k *Keeper) forgetAccounts(now time.Time) {
	for hash, a := range k.accounts {
		if len(a.refusal) == 0 && reached(now, a.whole) {
			delete(k.accounts, hash)
		}
	}
}

// same says that nothing changed that anybody could notice.
func (c *Credential) same(other *Credential) bool {
	return c.Kind == other.Kind && c.Request == other.Request && c.RenewAt == other.RenewAt &&
		c.Lazy == other.Lazy && c.Asks == other.Asks && slices.Equal(c.Headers, other.Headers) &&
		slices.Equal(c.Rules.Allow, other.Rules.Allow) && slices.Equal(c.Rules.Operate, other.Rules.Operate) &&
		slices.Equal(c.Rules.Observe, other.Rules.Observe)
}
