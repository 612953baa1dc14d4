package keeper

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// Cell is what readers see of one credential. Its view is replaced whole, so a
// reader needs no lock and does not wait for the owner.
type Cell struct {
	keeper *Keeper
	name   string
	view   atomic.Pointer[view]
	read   atomic.Bool // somebody read since the token came: what a lazy credential goes by
}

// view is one state of a credential, complete and immutable.
type view struct {
	facts
	answer   *Answer       // nil without a token
	replaced chan struct{} // closed when the next view is there
}

// facts are what a view is made of; equal facts need no new view.
type facts struct {
	cred        *Credential
	state       api.State
	alive       bool // the token, when this was written: that it dies is news
	token       providers.Secret
	issued      time.Time
	expires     time.Time
	renew       time.Time     // when the token's own renewal is due
	lifetime    time.Duration // of this token, or of the last one
	lastRenewal time.Time
	failures    int
	saved       bool
	skew        time.Duration
	code        api.Code // of what is wrong; "" if nothing is
	detail      string
	aside       string // what is wrong with the sources of the secrets, where those of before still do
	challenge   *providers.Challenge
	personal    bool // logins ask a person for a code

	trying     bool      // a renewal is in flight, or waits for a place; or secrets are being read
	next       time.Time // when the next one starts; zero if none will by itself
	backingOff bool
	readerNext time.Time // when a reader may cause one again
	tokens     uint64    // that ever came
	attempts   uint64    // that ever ended
	removed    bool
}

// Answer is a token as it goes to a reader, encoded already.
type Answer struct {
	JSON []byte // api.Token
	Text []byte // the bare token
	ETag string // with its quotes
}

// Format writes the entity tag, whatever the verb: the rest is the token.
func (a Answer) Format(f fmt.State, _ rune) { _, _ = fmt.Fprint(f, "answer ", a.ETag) }

// LogValue is what Format writes.
func (a Answer) LogValue() slog.Value { return slog.StringValue("answer " + a.ETag) }

func newCell(k *Keeper, name string) *Cell {
	c := &Cell{keeper: k, name: name}
	c.view.Store(&view{replaced: make(chan struct{})})
	return c
}

// Name is the credential's name.
func (c *Cell) Name() string { return c.name }

// Rules say who may do what with the credential.
func (c *Cell) Rules() access.Rules { return c.view.Load().cred.Rules }

// Status describes the credential at this moment.
func (c *Cell) Status() api.Status { return c.view.Load().status(c.name, time.Now()) }

// show replaces the view and wakes who waits on the old one.
func (c *Cell) show(v *view) {
	old := c.view.Swap(v)
	close(old.replaced)
	c.keeper.watches.saw(c.name, &old.facts, &v.facts)
}

// retire tells who waits that the credential is gone.
func (c *Cell) retire() {
	v := *c.view.Load()
	v.removed, v.trying, v.next, v.replaced = true, false, time.Time{}, make(chan struct{})
	c.show(&v)
}

// Cell returns the named credential's cell, nil if there is none.
func (k *Keeper) Cell(name string) *Cell { return (*k.cells.Load())[name] }

// Cells returns all cells, sorted by name.
func (k *Keeper) Cells() []*Cell {
	return slices.SortedFunc(maps.Values(*k.cells.Load()), func(a, b *Cell) int { return strings.Compare(a.name, b.name) })
}

// facts of the entry at this moment.
func (e *entry) facts(k *Keeper, now time.Time) facts {
	code, detail := e.say(now)
	f := facts{
		cred: e.cred, state: e.state(now), alive: e.usable(now), token: e.token.Value,
		issued: e.token.Issued, expires: e.token.Expires, renew: e.renew, lifetime: e.lifetime(),
		lastRenewal: e.rec.LastRenewal, failures: e.failures(), saved: e.saved, skew: e.token.Skew,
		code: code, detail: detail, challenge: e.challenge, personal: e.personal(),
		trying: e.flight != nil || e.queued || e.reading != nil, backingOff: e.backingOff(now), readerNext: e.readerNext,
		tokens: e.tokens, attempts: e.attempts,
	}
	if at, ok := e.attemptAt(k, now); ok {
		f.next = at
	}
	if e.cred.Provider == nil {
		f.next = e.readAt(k, now)
	} else if e.unread.fails > 0 {
		f.aside = "the secrets of before are in use: " + e.unread.why
	}
	return f
}

// refresh brings the readers' view and the loop's next look at the entry up to date.
func (k *Keeper) refresh(e *entry) {
	if e.cred == nil {
		return
	}
	now := time.Now()
	f := e.facts(k, now)
	if e.cell.view.Load().facts != f {
		v := &view{facts: f, replaced: make(chan struct{})}
		if !f.token.Empty() {
			v.answer = f.encode(e.name)
		}
		e.cell.show(v)
	}
	switch {
	case e.told == f.state:
	case f.state == api.StateChallenge: // a person has to know, also at a start
		k.tell(e, Event{Kind: EventChallenge, Err: errors.New(f.detail)})
	case e.told == "": // how it starts is no news
		e.told = f.state
	default:
		k.tell(e, Event{Kind: EventState, Due: f.next})
	}
	at := f.next
	for _, other := range []time.Time{e.saveAt, e.dies(now), e.asksNext(now), e.readAt(k, now)} {
		if at.IsZero() || !other.IsZero() && until(now, other) < until(now, at) {
			at = other
		}
	}
	if !at.IsZero() { // never at once: what is due now has been done
		at = now.Add(max(until(now, at), time.Millisecond))
	}
	k.wake(e, at)
}

// dies is when the usable token at hand ends; zero if there is none.
func (e *entry) dies(now time.Time) time.Time {
	if !e.usable(now) {
		return time.Time{}
	}
	return e.token.Expires
}

// tell has everybody who listens hear of an event of the entry.
func (k *Keeper) tell(e *entry, event Event) {
	event.Credential, event.Provider = e.name, e.provider()
	if e.cred != nil {
		event.State = e.state(time.Now())
		e.told = event.State
	}
	k.event(event)
}

// encode makes the answer that readers of these facts get.
func (f *facts) encode(name string) *Answer {
	token := f.token.Reveal()
	t := api.Token{
		Name: name, Token: token, Fingerprint: api.Fingerprint(token),
		IssuedAt: wire(f.issued), ExpiresAt: wire(f.expires), State: f.state,
	}
	for _, h := range f.cred.Headers {
		t.Headers = append(t.Headers, api.Header{Name: h.Name, Value: strings.ReplaceAll(h.Format, "{token}", token)})
	}
	body, err := json.Marshal(t)
	if err != nil { // strings and times of this century always encode
		panic(err)
	}
	return &Answer{
		JSON: append(body, '\n'), Text: []byte(token),
		ETag: fmt.Sprintf("%q", fmt.Sprintf("%s.%d", t.Fingerprint, t.ExpiresAt.Unix())),
	}
}

// wire is the time as it crosses the socket.
func wire(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Round(0).Truncate(time.Second)
}

// usable says whether the view's token is one that both clocks hold for alive.
func (v *view) usable(now time.Time) bool { return v.answer != nil && !reached(now, v.expires) }

// stateAt is the state, which the clocks may change before the owner does.
func (v *view) stateAt(now time.Time) api.State {
	switch {
	case v.state != api.StateFresh && v.state != api.StateStale, v.usable(now):
		return v.state
	case v.cred.Lazy && v.state == api.StateFresh:
		return api.StateIdle
	}
	return api.StatePending
}

func (v *view) status(name string, now time.Time) api.Status {
	s := api.Status{
		Name: name, Provider: v.cred.Kind.Name, State: v.stateAt(now), Usable: v.usable(now),
		LastRenewal: wire(v.lastRenewal), RenewAt: wire(v.next), Failures: v.failures,
		Saved: v.saved, SkewSeconds: int(v.skew.Round(time.Second) / time.Second),
	}
	if v.next.IsZero() && v.personal && v.usable(now) && v.challenge == nil {
		s.RenewAt = wire(v.renew) // when a person will be needed
	}
	if v.answer != nil {
		s.Fingerprint = api.Fingerprint(v.token.Reveal())
		s.IssuedAt, s.ExpiresAt = wire(v.issued), wire(v.expires)
	}
	if v.challenge != nil {
		s.Challenge = &api.Challenge{Step: v.challenge.Step, Prompt: v.challenge.Prompt, ExpiresAt: wire(v.challenge.Expires)}
	}
	switch {
	case v.code != "":
		s.Error = &api.StatusError{Code: v.code, Detail: v.detail}
	case v.aside != "":
		s.Error = &api.StatusError{Code: api.CodePending, Detail: v.aside}
	}
	return s
}
