package keeper

import (
	"context"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/providers"
)

// TestModel has the keeper live through random sequences of events and compares all
// that it does and says with the model. TOKEND_MODEL_RUNS sets how many sequences,
// TOKEND_MODEL_SEED where they begin: always at the same place if unset, so that what
// fails is the change at hand. A failure names the seed of its sequence.
func TestModel(t *testing.T) {
	runs, seed := setting(t, "TOKEND_MODEL_RUNS", 200), setting(t, "TOKEND_MODEL_SEED", 1)
	t.Logf("%d sequences from seed %d", runs, seed)
	for i := range runs {
		t.Run(fmt.Sprintf("seed %d", seed+i), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newWorld(t, uint64(seed+i)).live(30) })
		})
	}
}

func setting(t *testing.T, name string, otherwise int64) int64 {
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// world is one sequence: a keeper, the provider's side, and the model that hears of
// what happens from the log.
type world struct {
	*rig
	dice
	model *model
	vault *dice // what is still to come of credentials; nil: nothing ever is
	confs map[string]conf
	sound bool // the store writes
	slept bool // long
	aside string

	mu      sync.Mutex // guards what follows
	fate    dice       // the provider's
	log     []func()
	trace   []string
	good    float64 // part of the requests that go well
	classes []providers.Class
	takes   time.Duration
	life    time.Duration
	codes   bool // logins of those that may ask do ask
	tokens  int
}

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{
		rig: newRig(t), dice: dice{rand.New(rand.NewPCG(seed, 1))}, fate: dice{rand.New(rand.NewPCG(seed, 2))}, sound: true, good: 1,
		classes: []providers.Class{providers.Transient},
	}
	w.codes = w.chance(0.8)
	if seed%3 == 0 {
		w.vault = &dice{rand.New(rand.NewPCG(seed, 3))}
	}
	w.life = w.about(pick(w.dice, 20*time.Second, 2*time.Minute, 15*time.Minute, 24*time.Hour))
	w.model = &model{
		creds: map[string]*mirror{"a": {}, "b": {}}, refused: map[refusalKey]bool{},
		whole: map[string]time.Time{}, most: map[string]time.Time{}, spender: map[string]string{}, last: time.Now(),
	}
	w.model.fault = func(format string, args ...any) {
		w.t.Helper()
		w.t.Fatalf("seed %d: %s\n%s", seed, fmt.Sprintf(format, args...), strings.Join(w.trace[max(0, len(w.trace)-30):], "\n"))
	}
	c := conf{identity: "id1", secret: "s1", request: "r1", lazy: w.chance(0.3), renewAt: 0.75}
	c.asks = w.chance(0.3)
	c.refreshes = !c.asks && w.chance(0.6)
	w.confs = map[string]conf{"a": c}
	if w.chance(0.4) {
		w.confs["b"] = c
	}
	return w
}

type dice struct{ random *rand.Rand }

func pick[T any](d dice, from ...T) T { return from[d.random.IntN(len(from))] }

func (d dice) chance(p float64) bool { return d.random.Float64() < p }

// about is a time not much over d that coincides with nothing.
func (d dice) about(t time.Duration) time.Duration {
	return t + time.Duration(d.random.Float64()*0.2*float64(t))
}

// note adds to the log, in the order of what happens.
func (w *world) note(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.log = append(w.log, f)
}

func (w *world) say(format string, args ...any) {
	w.trace = append(w.trace, time.Now().Format("02 15:04:05.000 ")+fmt.Sprintf(format, args...))
}

// settle waits for what is under way at this moment, and has the model hear of it.
func (w *world) settle() {
	synctest.Wait()
	w.mu.Lock()
	log := w.log
	w.log = nil
	w.mu.Unlock()
	for _, f := range log {
		f()
	}
}

func (w *world) live(steps int) {
	w.say("%+v; tokens live %v", w.confs, w.life)
	w.start(w.credentials()...)
	w.model.apply(w.confs, time.Now())
	w.compare()
	for range steps {
		w.step()
		w.compare()
	}
	w.mend()
}

func (w *world) compare() {
	w.settle()
	now := time.Now()
	w.model.pass(now)
	for name := range w.confs {
		w.model.status(name, w.Cell(name).Status(), now, w.sound)
	}
}

// voice is the provider of one credential.
type voice struct {
	*world
	name string
	conf conf
}

// refreshing is a voice whose provider has a refresh endpoint.
type refreshing struct{ voice }

func (v voice) Login(ctx context.Context, a *providers.Answer) (providers.Token, error) {
	if a != nil {
		return v.serve(ctx, kindAnswer, "")
	}
	return v.serve(ctx, kindLogin, "")
}

func (r refreshing) Refresh(ctx context.Context, prev providers.Token) (providers.Token, error) {
	return r.serve(ctx, kindRefresh, prev.Refresh.Reveal())
}

func (v voice) serve(ctx context.Context, kind, with string) (providers.Token, error) {
	d := &deed{cred: v.name, kind: kind, account: v.conf.account(), request: v.conf.request, with: with, at: time.Now()}
	v.note(func() { v.model.starts(d) })
	reply, takes := v.draw(kind, v.conf)
	select {
	case <-time.After(takes):
	case <-ctx.Done():
		reply = replyCancelled
	}
	now := time.Now()
	reply.until = now.Add(5 * time.Minute)
	v.note(func() {
		d.reply = reply
		v.trace = append(v.trace, now.Format("02 15:04:05.000 ")+d.String())
		v.model.ends(d, now)
	})
	switch {
	case reply.failed:
		return providers.Token{}, &providers.Error{
			Class: reply.class, Sent: reply.sent, RetryAfter: reply.retryAfter, Err: fmt.Errorf("the provider said %v", reply.class),
		}
	case reply.asks:
		return providers.Token{}, &providers.Challenge{Step: "Code", Prompt: "?", Expires: reply.until}
	}
	return providers.Token{
		Value: providers.NewSecret(reply.token), Refresh: providers.NewSecret(reply.refresh), Issued: d.at, Expires: d.at.Add(reply.life),
	}, nil
}

var replyCancelled = reply{failed: true, class: providers.Transient, sent: true, cancelled: true}

// draw decides what a request gets, and how long that takes.
func (w *world) draw(kind string, c conf) (reply, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	takes := w.fate.about(w.takes)
	switch {
	case !w.fate.chance(w.good):
		return w.no(kind), takes
	case c.asks && w.codes && (kind == kindLogin || kind == kindAnswer && w.fate.chance(0.2)):
		return reply{asks: true}, takes
	}
	w.tokens++
	r := reply{token: fmt.Sprintf("%s-token-%d", c.account(), w.tokens), life: w.fate.about(w.life)}
	if c.refreshes && (kind == kindLogin || w.fate.chance(0.6)) {
		r.refresh = fmt.Sprintf("refresh-%d", w.tokens)
	}
	return r, takes
}

// no is a failure.
func (w *world) no(kind string) reply {
	r := reply{failed: true, class: pick(w.fate, w.classes...), sent: w.fate.chance(0.8)}
	switch {
	case kind == kindRefresh && w.fate.chance(0.3):
		r.class = pick(w.fate, providers.RefreshRefused, providers.NoRefresh)
	case kind == kindAnswer && w.fate.chance(0.4):
		r.class = providers.TicketGone
	case (r.class == providers.Throttled || r.class == providers.Transient) && w.fate.chance(0.4):
		r.retryAfter = w.fate.about(time.Second << w.fate.random.IntN(9))
	}
	return r
}

// credentials are those of the file.
func (w *world) credentials() (all []*Credential) {
	kind := &providers.Kind{Name: "test", Logins: 12}
	for name, c := range w.confs {
		v := voice{w, name, c}
		cred := &Credential{
			Name: name, Kind: kind, Provider: v, RenewAt: c.renewAt, Lazy: c.lazy, Asks: c.asks, Host: "api.example.com:443",
			Identity: sha256.Sum256([]byte(c.identity)), Secrets: sha256.Sum256([]byte(c.secret)), Request: sha256.Sum256([]byte(c.request)),
		}
		if c.refreshes {
			cred.Provider = refreshing{v}
		}
		all = append(all, w.toCome(cred))
	}
	return all
}

// toCome is the credential with its secrets to be read again or at all, which takes no
// time: that must make no difference to anybody.
func (w *world) toCome(whole *Credential) *Credential {
	if w.vault == nil {
		return whole
	}
	whole.Reread = func(context.Context) (*Credential, error) {
		again := *whole
		return &again, nil
	}
	switch pick(*w.vault, "whole", "older", "none") {
	case "older":
		return whole.unread()
	case "none":
		none := whole.unread()
		none.Provider, none.Secrets = nil, [32]byte{}
		return none
	}
	return whole
}
