package keeper

import (
	"context"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

const (
	wishMost = 10 * time.Second // the lifetime that a reader who asks for none would like
	wishPart = 10               // or this part of the whole, if that is less
)

// Demand is what a reader asks of a token.
type Demand struct {
	MinTTL time.Duration // lifetime that must be left; negative if none was asked for
	Wait   time.Duration // for a renewal, if the token at hand has too little left
}

// explicit says that the reader named a lifetime: a demand, and not a wish.
func (d Demand) explicit() bool { return d.MinTTL >= 0 }

// Token answers a reader: with the token at hand if that has enough lifetime left,
// else with what a renewal brings within the wait. Errors are pending, refused,
// challenge, throttled, short, and unknown if the credential goes meanwhile.
func (c *Cell) Token(ctx context.Context, d Demand) (*Answer, *api.Error) {
	now, v := time.Now(), c.view.Load()
	if v.beyond(d) && !v.removed {
		return nil, v.short(c.name, now, d)
	}
	c.touch(v)
	if v.enough(now, d) && !v.removed {
		return v.answer, nil
	}
	return c.await(ctx, d, now)
}

// touch notes that somebody read. The first to read a lazy credential's token has the
// owner plan its renewal.
func (c *Cell) touch(v *view) {
	if v.cred.Lazy && !c.read.Load() && !c.read.Swap(true) {
		go c.keeper.post(func() { c.keeper.visit(c, func(e *entry) { c.keeper.step(e) }) })
	}
}

// visit has the owner's entry of the cell, if it still has one, taken care of.
func (k *Keeper) visit(c *Cell, f func(*entry)) {
	if e := k.entries[c.name]; e != nil && e.cell == c {
		f(e)
	}
}

// enough says whether the token at hand serves the demand.
func (v *view) enough(now time.Time, d Demand) bool {
	if !v.usable(now) {
		return false
	}
	want := d.MinTTL
	if !d.explicit() {
		want = min(wishMost, v.lifetime/wishPart)
	}
	return until(now, v.expires) >= want
}

// beyond says that the demand is for more than tokens of this credential live: no
// login could meet it, so none is made.
func (v *view) beyond(d Demand) bool {
	return d.explicit() && v.lifetime > 0 && v.lifetime < d.MinTTL && !v.standing()
}

// await joins or causes a renewal and waits for a token that serves the demand.
func (c *Cell) await(ctx context.Context, d Demand, start time.Time) (*Answer, *api.Error) {
	limit := start.Add(d.Wait)
	if v := c.view.Load(); !d.explicit() && v.usable(start) {
		limit = start.Add(min(d.Wait, until(start, v.expires)/2))
	}
	w := c.keeper.waiter(ctx, limit)
	defer w.stop()
	held := false // by what readers can cause
	for asked := false; ; {
		v, now := c.view.Load(), time.Now()
		switch {
		case v.removed:
			return nil, api.Unknown(c.name)
		case v.enough(now, d):
			return v.answer, nil
		case v.beyond(d):
			return nil, v.short(c.name, now, d)
		case !asked && v.askable(now, d):
			asked = true
			ask := func(e *entry) { held = c.keeper.demand(e, d) }
			if c.keeper.call(ctx, func() { c.keeper.visit(c, ask) }) == nil {
				continue
			}
		}
		if !v.hopeful(now, limit) || !w.wait(v) {
			return c.settleFor(time.Now(), d, held)
		}
	}
}

// standing says that nothing but a person changes how things stand.
func (v *view) standing() bool { return v.code == api.CodeRefused || v.code == api.CodeChallenge }

// askable says whether asking the owner for a renewal could help. Where none is
// planned, as with a lazy credential, the view may be old, so it does not tell.
func (v *view) askable(now time.Time, d Demand) bool {
	held := v.backingOff && !v.next.IsZero()
	return !v.trying && !v.standing() && !held && !v.personal && (d.explicit() || v.cred.Lazy || !v.usable(now))
}

// hopeful says that an attempt is under way, or comes before the limit.
func (v *view) hopeful(now, limit time.Time) bool {
	return v.trying || !v.next.IsZero() && until(now, v.next) <= until(now, limit)
}

// settleFor is what a reader gets when waiting is over.
func (c *Cell) settleFor(now time.Time, d Demand, held bool) (*Answer, *api.Error) {
	v, name := c.view.Load(), c.name
	switch {
	case v.enough(now, d), v.usable(now) && !d.explicit():
		return v.answer, nil
	case !v.usable(now):
		return nil, c.problem(now)
	case held && v.code == "" && !reached(now, v.readerNext):
		return nil, overdone(name, until(now, v.readerNext))
	}
	return nil, v.short(name, now, d)
}

// demand is a reader's wish for a renewal. With a usable token at hand it is held
// back by what readers can cause; without one it only brings forward what is to come.
func (k *Keeper) demand(e *entry, d Demand) (held bool) {
	now := time.Now()
	switch {
	case e.flight != nil, e.queued, e.refusal != nil, e.challenge != nil, e.personal(), e.asked != askNone:
		return false
	case e.backingOff(now): // but now it is planned
	case !e.usable(now):
		e.asked = askReader
	case d.explicit() && !reached(now, e.readerMay(now)):
		return true
	case d.explicit():
		e.caused(now)
		e.asked = askReader
	}
	k.step(e)
	return false
}

// waiter waits for views to be replaced, in pieces, because a timer stands still
// while the machine is suspended.
type waiter struct {
	ctx      context.Context
	limit    time.Time
	stopping <-chan struct{}
	ended    <-chan struct{}
	timer    *time.Timer
}

func (k *Keeper) waiter(ctx context.Context, limit time.Time) *waiter {
	return &waiter{ctx: ctx, limit: limit, stopping: k.stopping, ended: k.ended, timer: time.NewTimer(longestSleep)}
}

func (w *waiter) stop() { w.timer.Stop() }

// wait returns when the view was replaced or a while has passed; false says that
// waiting is over: the limit is reached, the caller is gone, or tokend stops and
// nothing is in flight.
func (w *waiter) wait(v *view) bool {
	left := until(time.Now(), w.limit)
	if left <= 0 {
		return false
	}
	w.timer.Reset(min(left, longestSleep))
	select {
	case <-v.replaced:
	case <-w.timer.C:
	case <-w.ctx.Done():
		return false
	case <-w.ended:
		return false
	case <-w.stopping:
		if !v.trying {
			return false
		}
		w.stopping = nil
	}
	return true
}
