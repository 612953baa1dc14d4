package keeper

import (
	"context"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

// Report says that the API rejected the token with this fingerprint. If that is
// still the current one, a renewal is joined or caused, within what readers can
// cause; the reported token is served on until its successor is there. The status
// comes back when a new token came, or the fingerprint was not current any more;
// else the problem.
func (k *Keeper) Report(ctx context.Context, name, fingerprint string, wait time.Duration) (api.Status, *api.Error) {
	return k.operate(ctx, name, wait, func(e *entry, now time.Time) (bool, *api.Error) {
		if e.token.Value.Empty() || api.Fingerprint(e.token.Value.Reveal()) != fingerprint {
			return true, nil
		}
		return false, k.complain(e, now)
	})
}

// complain causes a renewal for a reader, if readers may cause one.
func (k *Keeper) complain(e *entry, now time.Time) *api.Error {
	may := e.readerMay(now)
	if !e.reported {
		k.tell(e, Event{Kind: EventReported})
	}
	defer func() { e.reported = true }()
	v := e.cell.view.Load()
	switch {
	case e.flight != nil, e.queued, e.asked != askNone:
		return nil
	case e.refusal != nil, e.challenge != nil, e.backingOff(now):
		return v.problem(e.name, now)
	case e.asksAgain(now):
		return api.Errorf(api.CodeChallenge, "%s", e.question(now)).For(e.name)
	case !reached(now, may):
		return overdone(e.name, until(now, may))
	}
	e.caused(now)
	e.asked = askReader
	k.step(e)
	return nil
}

// Renew renews now, for an operator, by refresh where there is one; bound by the
// login budget alone. It does not lift a refusal.
func (k *Keeper) Renew(ctx context.Context, name string, wait time.Duration) (api.Status, *api.Error) {
	return k.operate(ctx, name, wait, func(e *entry, now time.Time) (bool, *api.Error) {
		return false, k.startIfMay(e, now)
	})
}

// Retry forgets the refusal, the back-off or the dead challenge and tries now,
// never above the login budget.
func (k *Keeper) Retry(ctx context.Context, name string, wait time.Duration) (api.Status, *api.Error) {
	return k.operate(ctx, name, wait, func(e *entry, now time.Time) (bool, *api.Error) {
		if err := e.tooSoon(now); err != nil {
			return false, err
		}
		k.pardon(e)
		if e.refusal != nil && e.cred.Reread != nil {
			e.cred = e.cred.unread() // better what the sources give by now than what was refused
		}
		e.unread.next = time.Time{}
		e.refusal, e.challenge, e.answered = nil, nil, ""
		e.rec.Streak = 0
		e.next, e.rec.Next = time.Time{}, time.Time{}
		k.save(e, nil)
		k.start(e)
		return false, nil
	})
}

// Drop forgets the token at once, because it leaked, and logs in anew.
func (k *Keeper) Drop(ctx context.Context, name string, wait time.Duration) (api.Status, *api.Error) {
	return k.operate(ctx, name, wait, func(e *entry, now time.Time) (bool, *api.Error) {
		e.forget()
		e.login = true
		if e.flight != nil {
			e.flight.suspect = true
		}
		k.save(e, nil)
		k.tell(e, Event{Kind: EventDropped})
		return false, k.startIfMay(e, now)
	})
}

// startIfMay is start for the verbs that lift nothing: a refusal, an open question or
// a code that was only just sent stand in their way, unless a renewal is under way
// that they can join.
func (k *Keeper) startIfMay(e *entry, now time.Time) *api.Error {
	if e.flight == nil {
		if e.refusal != nil || e.challenge != nil {
			k.step(e) // readers see at once what was dropped
			return e.cell.view.Load().problem(e.name, now)
		}
		if problem := e.tooSoon(now); problem != nil {
			k.step(e)
			return problem
		}
	}
	k.start(e)
	return nil
}

// start has a renewal of the entry begin for an operator, unless one is under way.
func (k *Keeper) start(e *entry) {
	if e.flight == nil && !e.queued {
		e.asked = askOperator
		if e.cred.Provider == nil {
			e.unread.next = time.Time{}
		}
	}
	k.step(e)
}

// operate has the owner do something to an entry, and waits for what the attempt
// that it leads to brings; done says that nothing needs to be waited for.
func (k *Keeper) operate(ctx context.Context, name string, wait time.Duration, do func(*entry, time.Time) (done bool, err *api.Error)) (api.Status, *api.Error) {
	c := k.Cell(name)
	if c == nil {
		return api.Status{}, api.Unknown(name)
	}
	var before *view
	var done bool
	var problem *api.Error
	// What was asked for is done even if the caller has gone: ctx ends the wait alone.
	err := k.call(context.WithoutCancel(ctx), func() {
		problem = api.Unknown(name)
		before = c.view.Load()
		k.visit(c, func(e *entry) { done, problem = do(e, time.Now()) })
	})
	switch {
	case err != nil:
		return api.Status{}, api.Stopping().For(name)
	case problem != nil:
		return api.Status{}, problem
	case done:
		return c.Status(), nil
	}
	return c.result(ctx, before, time.Now().Add(wait))
}

// result waits for the first token or failure after the view before.
func (c *Cell) result(ctx context.Context, before *view, limit time.Time) (api.Status, *api.Error) {
	w := c.keeper.waiter(ctx, limit)
	defer w.stop()
	for {
		v, now := c.view.Load(), time.Now()
		switch {
		case v.removed:
			return api.Status{}, api.Unknown(c.name)
		case v.tokens > before.tokens:
			return v.status(c.name, now), nil
		case !v.trying && v.attempts > before.attempts, !v.hopeful(now, limit), !w.wait(v):
			return api.Status{}, c.problem(time.Now())
		}
	}
}

// overdone says that readers have caused as many renewals as they may for now.
func overdone(name string, after time.Duration) *api.Error {
	return api.Errorf(api.CodeThrottled, "readers have caused too many renewals; the next may be caused in %s", brief(after)).
		For(name).After(after).WithHint("an operator may run `tokenctl renew %s`", name)
}

// short says that the token at hand does not last long enough.
func (v *view) short(name string, now time.Time, d Demand) *api.Error {
	left := max(0, until(now, v.expires))
	switch {
	case v.lifetime < d.MinTTL:
		return api.Errorf(api.CodeShort, "tokens of this credential live %s, and %s are asked for", brief(v.lifetime), brief(d.MinTTL)).For(name)
	case v.code != "":
		return api.Errorf(api.CodeShort, "the token has %s left, and renewing it is failing: %s", brief(left), v.detail).For(name).After(v.retry(now))
	}
	return api.Errorf(api.CodeShort, "the token has %s left, and no better one came in time", brief(left)).For(name).After(v.retry(now))
}

// problem says why there is no token, or why none will come because tokend stops.
func (c *Cell) problem(now time.Time) *api.Error {
	v := c.view.Load()
	select {
	case <-c.keeper.stopping:
		if !v.trying {
			return api.Stopping().For(c.name)
		}
	default:
	}
	return v.problem(c.name, now)
}

// problem says why there is no token, or why the attempt to get one failed.
func (v *view) problem(name string, now time.Time) *api.Error {
	switch {
	case v.code == api.CodeRefused:
		return api.Errorf(v.code, "%s; nothing is tried until the secrets change or an operator says retry", v.detail).For(name).
			WithHint("mend the credentials file, or run `tokenctl retry %s`", name)
	case v.code == api.CodeChallenge && v.challenge != nil:
		return api.Errorf(v.code, "%s", v.detail).For(name).WithHint("an operator answers with `tokenctl answer %s`", name)
	case v.code == api.CodeChallenge:
		return api.Errorf(v.code, "%s", v.detail).For(name)
	case v.trying && v.code == "":
		return api.Errorf(api.CodePending, "a renewal is under way").For(name).After(time.Second)
	case v.trying:
		return api.Errorf(v.code, "%s; another try is under way", v.detail).For(name).After(time.Second)
	case v.code != "":
		return api.Errorf(v.code, "%s; next try in %s", v.detail, brief(v.retry(now))).For(name).After(v.retry(now))
	}
	return api.Errorf(api.CodePending, "the next login is due in %s", brief(v.retry(now))).For(name).After(v.retry(now))
}

// retry is how long it is until the next attempt.
func (v *view) retry(now time.Time) time.Duration {
	if v.next.IsZero() {
		return time.Second
	}
	return max(0, until(now, v.next))
}

// brief is a duration for people: whole seconds, no zero units behind.
func brief(d time.Duration) string {
	if d > 0 && d < time.Second {
		return "under 1s"
	}
	s := d.Round(time.Second).String()
	for _, zero := range []struct{ long, short string }{{"h0m0s", "h"}, {"m0s", "m"}} {
		if n := len(s) - len(zero.long); n >= 0 && s[n:] == zero.long {
			return s[:n] + zero.short
		}
	}
	return s
}
