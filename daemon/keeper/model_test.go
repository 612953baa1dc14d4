package keeper

import (
	"fmt"
	"slices"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// The model says a second time, and in another way, what must hold of credentials. It
// hears of each request and its outcome at the provider, and of what callers and
// reloads do, in the order in which they happen. What follows from these alone (state,
// error code, token) it knows exactly; where chance has a say it knows bounds. It never
// looks into the keeper.

// conf is a credential as the file has it.
type conf struct {
	identity, secret, request string
	lazy, asks, refreshes     bool
	renewAt                   float64
}

func (c conf) account() string { return c.identity + "/" + c.secret }

// deed is one request to the provider.
type deed struct {
	cred, kind       string
	account, request string
	with             string // the refresh token
	at               time.Time
	reply            reply
	stale            bool // its credential was removed, or became another's
	suspect          bool // the token was dropped meanwhile
	void             bool // tokend died meanwhile
}

// reply is what the provider makes of it.
type reply struct {
	failed     bool
	class      providers.Class
	retryAfter time.Duration
	sent       bool
	asks       bool // a challenge
	cancelled  bool
	token      string
	refresh    string
	life       time.Duration
	until      time.Time // of a challenge
}

type modelToken struct {
	value, refresh, account string
	issued, expires         time.Time
}

func (t *modelToken) life() time.Duration { return t.expires.Sub(t.issued) }

// refusalKey is an account, and the settings if these were at fault.
type refusalKey struct{ account, request string }

// mirror is what the model knows of one credential.
type mirror struct {
	conf     conf
	on       bool
	account  string // whose failures these are
	removed  time.Time
	token    *modelToken
	prior    *modelToken // the one before
	lifetime time.Duration
	flight   *deed
	lost     *deed // a login in flight when tokend died
	came     int   // tokens
	lastEnd  time.Time

	fails, streak       int
	class               string
	notBefore, notAfter time.Time // the next try, unless an operator says so

	needLogin, keeps, noRefresh, renewed bool

	held bool // refused
	keys []refusalKey

	asked     bool // a question is open
	askedTill time.Time
	answering bool
	person    bool // logins ask for codes
	codeAt    time.Time

	ordered   bool      // by an operator, and not yet begun
	may       bool      // a reader may have caused a renewal
	mayAt     time.Time // since when
	caused    time.Time // the latest that only a reader can have caused
	mayCaused time.Time // the latest that one may have caused
	cut       bool      // tokend died during its latest request
	waiting   int       // readers
	read      int       // since the token came: 0 no, 1 while eager, 2 while lazy
}

// model is all of it.
type model struct {
	fault   func(format string, args ...any)
	creds   map[string]*mirror
	refused map[refusalKey]bool
	whole   map[string]time.Time // login budgets, at least
	most    map[string]time.Time // and at most
	spender map[string]string    // who had the latest login of each
	last    time.Time            // of the latest event
	slack   time.Duration
	stopped bool
	noAt    time.Time // of the latest refusal
}

const modelSpacing = 5 * time.Second // twelve logins a minute

func (c *mirror) usable(now time.Time) bool { return c.token != nil && now.Before(c.token.expires) }

// renewal is when the token's own renewal may and must begin.
func (c *mirror) renewal() (earliest, latest time.Time) {
	life := float64(c.token.life())
	top := life - min(life/2, float64(10*time.Second))
	f := c.conf.renewAt
	at := func(d float64) time.Time { return c.token.issued.Add(time.Duration(d)) }
	return at(min(top, life*max(f-0.1, f/2)) - 1), at(min(top, f*life) + 1)
}

func (c *mirror) kind() string {
	switch {
	case c.answering:
		return kindAnswer
	case !c.conf.refreshes, c.needLogin, c.noRefresh, c.token == nil, c.token.refresh == "":
		return kindLogin
	}
	return kindRefresh
}

// mayAsk says that a login of unknown end may have sent somebody a code.
func (c *mirror) mayAsk() bool { return c.conf.asks && (c.person || !c.renewed) }

func (m *model) refusal(c *mirror) bool {
	return m.refused[refusalKey{c.conf.account(), ""}] || m.refused[refusalKey{c.conf.account(), c.conf.request}]
}

// hold makes the credential a refused one, if it is.
func (m *model) hold(c *mirror) {
	if c.held = m.refusal(c); c.held {
		c.asked, c.answering = false, false
	}
	for _, key := range []refusalKey{{c.conf.account(), ""}, {c.conf.account(), c.conf.request}} {
		if m.refused[key] && !slices.Contains(c.keys, key) {
			c.keys = append(c.keys, key)
		}
	}
}

// pass lets the time pass: nothing that is due may have been left undone.
func (m *model) pass(now time.Time) {
	for name, c := range m.creds {
		if due, ok := m.due(c); ok && !m.stopped && now.After(due.Add(m.slack+2*time.Millisecond)) {
			m.fault("%s: nothing has begun, though it was due at %v", name, due)
		}
		if c.asked && c.flight == nil && !now.Before(c.askedTill) {
			c.asked = false
		}
		if end := c.removed.Add(24 * time.Hour); !c.removed.IsZero() && !now.Before(end) && !c.on {
			m.bury(name, c)
		}
	}
	m.last = now
}

func (m *model) bury(name string, c *mirror) {
	m.creds[name] = &mirror{}
	for _, key := range c.keys {
		if !slices.ContainsFunc([]string{"a", "b"}, func(n string) bool { return slices.Contains(m.creds[n].keys, key) }) {
			delete(m.refused, key)
		}
	}
}

// due is when the next request must have begun.
func (m *model) due(c *mirror) (time.Time, bool) {
	login := c.kind() == kindLogin
	switch {
	case !c.on, c.flight != nil, c.held, login && m.refusal(c):
		return time.Time{}, false
	case c.asked && !c.answering, login && c.person && !c.ordered:
		return time.Time{}, false
	case !c.ordered && c.conf.lazy && c.read != 2:
		return time.Time{}, false
	}
	due := m.last
	if !c.ordered && !c.needLogin && c.fails == 0 && c.token != nil {
		if _, latest := c.renewal(); latest.After(due) {
			due = latest
		}
	}
	if !c.ordered && c.notAfter.After(due) {
		due = c.notAfter
	}
	if budget := m.most[c.conf.account()].Add(-2 * modelSpacing); login && budget.After(due) {
		due = budget
	}
	return due, true
}

// fail counts a failure, and bounds the time of the next try.
func (c *mirror) fail(class providers.Class, asked time.Duration, now time.Time) {
	if c.class != class.String() {
		c.streak = 0
	}
	c.fails, c.streak, c.class = c.fails+1, c.streak+1, class.String()
	lo, hi := time.Minute, 66*time.Second
	switch {
	case asked > 0:
		lo, hi = asked, asked
	case class == providers.Blocked:
		lo = min(5*time.Minute<<min(c.streak-1, 4), time.Hour)
		hi = lo + lo/10
	case class == providers.Malformed && c.streak > 3:
		lo, hi = 5*time.Minute, 330*time.Second
	case class == providers.Transient:
		most := 5 * time.Minute
		if c.usable(now) {
			most = time.Minute
		}
		lo, hi = time.Millisecond, 250*time.Millisecond+min(time.Second<<min(c.streak-1, 10), most)
	}
	c.notBefore, c.notAfter = now.Add(lo), now.Add(hi)
}

// code is what is wrong, "" if nothing is.
func (c *mirror) code(now time.Time) api.Code {
	switch {
	case c.held:
		return api.CodeRefused
	case c.asked, c.awaits(now) == 2:
		return api.CodeChallenge
	case c.fails > 0 && c.class == "throttled":
		return api.CodeThrottled
	case c.fails > 0:
		return api.CodePending
	}
	return ""
}

// awaits says whether only an operator can have the next login made: 0 no, 1 perhaps
// so already, 2 yes.
func (c *mirror) awaits(now time.Time) int {
	if !c.conf.asks || !c.person || c.flight != nil || c.ordered || c.kind() != kindLogin {
		return 0
	}
	if c.needLogin || !c.usable(now) {
		return 2
	}
	earliest, latest := c.renewal()
	switch {
	case now.Before(earliest):
		return 0
	case now.After(latest.Add(2 * time.Millisecond)):
		return 2
	}
	return 1
}

// states are those that the credential may be in.
func (m *model) states(c *mirror, now time.Time) (all []api.State) {
	if !c.held && m.refusal(c) { // shared with another name; found out when it is due
		all = append(all, api.StateRefused)
	}
	if c.awaits(now) == 1 {
		all = append(all, api.StateChallenge)
	}
	idle := c.conf.lazy && c.fails == 0 && c.flight == nil && !c.ordered
	switch {
	case c.held:
		return []api.State{api.StateRefused}
	case c.asked, c.awaits(now) == 2:
		return append(all, api.StateChallenge)
	case c.usable(now) && c.fails > 0:
		return append(all, api.StateStale)
	case c.usable(now):
		return append(all, api.StateFresh)
	case idle && c.read != 2 && !c.may:
		return append(all, api.StateIdle)
	case idle: // somebody asked, and the budget holds the login back
		return append(all, api.StateIdle, api.StatePending)
	}
	return append(all, api.StatePending)
}

func (d *deed) String() string {
	r := d.reply
	return fmt.Sprintf("%s of %s for %s: failed %v %v sent %v after %v, asks %v, cancelled %v, token %q for %v", d.kind, d.cred, d.account, r.failed, r.class, r.sent, r.retryAfter, r.asks, r.cancelled, r.token, r.life)
}
