package keeper

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// step does one thing that may happen.
func (w *world) step() {
	type weighted struct {
		weight int
		do     func()
	}
	all := []weighted{
		{14, w.sleep},
		{6, w.mood},
		{8, w.readers},
		{4, w.report},
		{6, w.operate},
		{6, w.reload},
		{3, w.revive},
		{1, w.stall},
		{1, w.spoil},
	}
	n := 0
	for _, o := range all {
		n += o.weight
	}
	n = w.random.IntN(n)
	for _, o := range all {
		if n -= o.weight; n < 0 {
			o.do()
			return
		}
	}
}

func (w *world) sleep() {
	d := w.about(pick(w.dice, time.Millisecond, time.Second, 20*time.Second, 2*time.Minute, w.life/3, w.life/3, w.life))
	if w.chance(0.05) && !w.slept { // a day costs a second
		d, w.slept = w.about(min(25*time.Hour, 50*w.life)), true
	}
	w.say("sleep %v", d)
	time.Sleep(d)
}

// mood changes how the provider is.
func (w *world) mood() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.good = pick(w.dice, 1, 1, 0.7, 0)
	w.takes = pick(w.dice, 0, 0, 300*time.Millisecond, 4*time.Second, 25*time.Second)
	w.classes = pick(w.dice,
		[]providers.Class{providers.Transient},
		[]providers.Class{providers.Throttled, providers.Blocked, providers.Malformed},
		[]providers.Class{providers.Refused, providers.Misconfigured},
		[]providers.Class{providers.Transient, providers.Throttled, providers.Blocked, providers.Malformed, providers.Refused, providers.Misconfigured})
	w.say("mood: %v good, takes %v, %v", w.good, w.takes, w.classes)
}

// someone is a credential of the file, "" if there is none.
func (w *world) someone() string {
	names := make([]string, 0, len(w.confs))
	for name := range w.confs {
		names = append(names, name)
	}
	if len(names) == 0 {
		return ""
	}
	slices.Sort(names)
	return pick(w.dice, names...)
}

func (w *world) patience() time.Duration {
	return pick(w.dice, 0, w.about(2*time.Second), w.about(20*time.Second), 5*time.Minute)
}

// readers come a few at a time.
func (w *world) readers() {
	name := w.someone()
	if name == "" {
		return
	}
	c, cell, start := w.model.creds[name], w.Cell(name), time.Now()
	var all sync.WaitGroup
	for range 1 + w.random.IntN(3) {
		d := Demand{MinTTL: -1, Wait: w.patience()}
		if w.chance(0.5) {
			d.MinTTL = time.Duration(w.random.Float64() * 1.3 * float64(w.life))
		}
		enough, limit := c.demanded(d, start), d.Wait
		if !d.explicit() && c.usable(start) {
			limit = min(limit, c.token.expires.Sub(start)/2)
		}
		c.waiting++
		w.say("%s is read with %v, enough %v", name, d, enough)
		all.Go(func() {
			a, err := cell.Token(w.t.Context(), d)
			now, token := time.Now(), ""
			if err == nil {
				token = string(a.Text)
			}
			d := Demand{MinTTL: d.MinTTL, Wait: limit}
			w.note(func() {
				w.model.pass(now)
				if enough && now != start {
					w.model.fault("a reader waited %v, though there is enough", now.Sub(start))
				}
				if c.waiting--; c.lastEnd.Equal(start) {
					c.read = max(c.read, 1) // perhaps it is the new token that was read
				}
				w.model.served(c, d, start, now, token, err)
			})
		})
	}
	all.Wait()
}

// call makes a call that waits for an attempt, with what the model expects of it.
func (w *world) call(what string, c *mirror, want api.Code, wait time.Duration, do func(context.Context, time.Duration) (api.Status, *api.Error)) {
	before, start := c.came, time.Now()
	w.say("%s, waits %v, model says %q", what, wait, want)
	s, err := do(w.t.Context(), wait)
	now := time.Now()
	w.note(func() {
		w.model.pass(now)
		w.model.came(c, want, before, wait, start, now, s, err)
	})
}

func (w *world) operate() {
	name := w.someone()
	if name == "" {
		return
	}
	c, now := w.model.creds[name], time.Now()
	act := func(do func(context.Context, string, time.Duration) (api.Status, *api.Error)) func(context.Context, time.Duration) (api.Status, *api.Error) {
		return func(ctx context.Context, wait time.Duration) (api.Status, *api.Error) { return do(ctx, name, wait) }
	}
	verb := pick(w.dice, "renew", "retry", "drop")
	if c.conf.asks && w.chance(0.6) {
		verb = "answer"
	}
	switch wait := w.patience(); verb {
	case "renew":
		w.call("renew "+name, c, c.order(now), wait, act(w.Renew))
	case "retry":
		w.call("retry "+name, c, w.model.retry(c, now), wait, act(w.Retry))
	case "drop":
		w.call("drop "+name, c, c.drop(now), wait, act(w.Drop))
	case "answer":
		w.call("answer "+name, c, c.answer(), wait, func(ctx context.Context, wait time.Duration) (api.Status, *api.Error) {
			return w.Answer(ctx, name, "1234", wait)
		})
	}
}

func (w *world) report() {
	name := w.someone()
	if name == "" {
		return
	}
	c, start, wait := w.model.creds[name], time.Now(), w.patience()
	fingerprint, current := "0123456789abcdef", c.token != nil && w.chance(0.8)
	var want api.Code
	if current {
		fingerprint, want = api.Fingerprint(c.token.value), c.report(start)
	}
	w.say("%s is reported, current %v; waits %v, model says %q", name, current, wait, want)
	before := c.came
	s, err := w.Report(w.t.Context(), name, fingerprint, wait)
	now := time.Now()
	w.note(func() {
		w.model.pass(now)
		spaced := err != nil && err.Code == api.CodeThrottled && !c.mayCaused.IsZero() && now.Sub(c.mayCaused) < 10*time.Minute
		switch {
		case !current && (err != nil || now != start):
			w.model.fault("who reports an old token gets %v", err)
		case current && !spaced:
			w.model.came(c, want, before, wait, start, now, s, err)
		}
	})
}

// change changes the file.
func (w *world) change() string {
	name := pick(w.dice, "a", "a", "b")
	c, present := w.confs[name]
	if !present {
		c = w.model.creds[name].conf
		if c.identity == "" {
			c = w.confs["a"]
		}
		if c.identity == "" {
			return "nothing"
		}
		w.confs[name] = c
		return name + " is added"
	}
	what := pick(w.dice, "same", "request", "secret", "secret", "identity", "lazy", "renew_at", "removed")
	switch what {
	case "request":
		c.request = pick(w.dice, "r1", "r2")
	case "secret":
		c.secret = pick(w.dice, "s1", "s2")
	case "identity":
		c.identity = pick(w.dice, "id1", "id2")
	case "lazy":
		c.lazy = !c.lazy
	case "renew_at":
		c.renewAt = pick(w.dice, 0.3, 0.75, 0.95)
	}
	if w.confs[name] = c; what == "removed" {
		delete(w.confs, name)
	}
	return fmt.Sprintf("%s: %s, %+v", name, what, c)
}

func (w *world) reload() {
	w.say("reload: %s", w.change())
	w.model.apply(w.confs, time.Now())
	w.apply(w.credentials()...)
}

// revive stops or kills tokend and starts it again, perhaps with another file.
func (w *world) revive() {
	what := "nothing"
	if w.chance(0.3) {
		what = w.change()
	}
	w.again(what)
}

func (w *world) again(what string) {
	w.mend()
	crash := w.chance(0.5)
	w.say("crash %v; %s", crash, what)
	w.model.stopped = true
	stop := w.stop
	w.stop = func() {
		stop()
		now := time.Now()
		w.note(func() {
			w.model.restart(now)
			w.model.apply(w.confs, now)
		})
	}
	if !crash {
		w.restart(w.credentials()...)
		return
	}
	for _, c := range w.model.creds {
		if c.flight != nil {
			c.flight.void = true
		}
	}
	w.crash(w.credentials()...)
}

// stall has the store write nothing for a while.
func (w *world) stall() {
	if len(w.confs) != 1 || w.confs[w.someone()].asks {
		return
	}
	w.model.slack = 2*durableWait + time.Second
	w.noSave = true
	w.again("the same file")
	w.noSave = false
	for range 3 {
		w.settle()
		w.say("the store stalls")
		time.Sleep(w.about(pick(w.dice, time.Second, 10*time.Second, w.life/3)))
		w.settle()
		for name := range w.confs {
			c := w.model.creds[name]
			w.model.pass(time.Now())
			c.demanded(Demand{MinTTL: -1}, time.Now())
			c.read = 1 // perhaps of a token that is not out yet
			if token, err := w.get(name, 0); err == nil && (c.token == nil || !strings.HasPrefix(token, c.conf.identity) || !w.Cell(name).Status().Usable) {
				w.model.fault("%s: %q is served", name, token)
			}
		}
	}
	w.write()
	w.settle()
	w.model.slack = 0
}

// spoil has the store fail, until mend.
func (w *world) spoil() {
	if !w.sound {
		w.mend()
		return
	}
	w.say("the store fails")
	w.sound, w.aside = false, filepath.Join(w.t.TempDir(), "tokens.db")
	w.swap(w.path, w.aside)
	if err := os.WriteFile(w.path, nil, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// mend has the store write again, and all be written.
func (w *world) mend() {
	if w.sound {
		return
	}
	w.say("the store is mended")
	w.swap(w.aside, w.path)
	time.Sleep(backoffCap + time.Second)
	w.settle()
	w.sound = true
}
