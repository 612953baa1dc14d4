package keeper

import (
	"slices"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// What the model makes of reloads, restarts and calls. The calls say what they get at
// once, "" if that depends on an attempt.

func (m *model) apply(confs map[string]conf, now time.Time) {
	m.pass(now)
	for name, c := range m.creds {
		next, present := confs[name]
		switch {
		case !present && (c.on || c.account != "" && c.removed.IsZero()):
			c.remove(now)
		case !present:
		case !c.on:
			m.add(c, next)
		case c.conf.identity != next.identity:
			c.replace()
			c.conf = next
			c.rekey()
		default:
			changed := c.conf.secret != next.secret
			if c.conf = next; changed {
				c.rekey()
			}
		}
		if present {
			m.hold(c)
		}
	}
}

func (m *model) add(c *mirror, next conf) {
	c.on, c.removed = true, time.Time{}
	if c.conf.identity != next.identity {
		c.replace()
	} else if c.lost != nil && c.mayAsk() {
		c.person, c.codeAt = true, c.lost.at
	}
	c.conf, c.lost = next, nil
	c.rekey()
}

func (c *mirror) remove(now time.Time) {
	if c.on && c.flight != nil && !c.flight.stale && c.flight.kind == kindLogin && c.mayAsk() {
		c.person, c.codeAt = true, c.flight.at
	}
	c.ground()
	c.token, c.on, c.removed = nil, false, now
	c.asked, c.answering, c.ordered, c.may, c.read = false, false, false, false, 0
}

func (c *mirror) ground() {
	if c.flight != nil {
		c.flight.stale = true
	}
}

// replace starts over for another identity.
func (c *mirror) replace() {
	c.ground()
	c.token, c.lifetime, c.renewed, c.person, c.codeAt = nil, 0, false, false, time.Time{}
	c.keeps, c.noRefresh, c.caused = false, false, time.Time{}
}

// rekey is for secrets that may be others: only a rate limit outlives that.
func (c *mirror) rekey() {
	c.needLogin = c.token == nil || c.token.account != c.conf.account()
	if c.account == c.conf.account() {
		return
	}
	if c.account = c.conf.account(); c.class == "throttled" {
		c.fails, c.streak = 1, 1
	} else {
		c.fails, c.streak, c.class, c.notBefore, c.notAfter = 0, 0, "", time.Time{}, time.Time{}
	}
	c.asked, c.answering = false, false
}

// restart is what tokend knows when it is there again.
func (m *model) restart(now time.Time) {
	m.last, m.stopped = now, false
	for account, name := range m.spender {
		if m.creds[name].account != account { // a record has the budget of its account alone
			delete(m.whole, account)
		}
	}
	for _, c := range m.creds {
		if fl := c.flight; fl != nil && !fl.stale {
			if fl.kind == kindRefresh && !c.keeps && c.token != nil {
				c.token.refresh = ""
			}
			if fl.kind == kindLogin {
				c.lost = fl
			}
			c.fail(providers.Transient, 0, now)
			c.cut = true
		}
		if c.cut && c.streak > 0 { // found again at each start until another request is made
			c.notAfter = now.Add(250*time.Millisecond + min(time.Second<<min(c.streak-1, 10), 5*time.Minute))
		}
		c.flight, c.on, c.read = nil, false, 0
		c.asked, c.answering, c.ordered, c.may = false, false, false, false
	}
}

func (c *mirror) tooSoon(now time.Time) bool {
	return c.conf.asks && c.person && now.Before(c.codeAt.Add(time.Minute))
}

// order is an operator's wish for a renewal.
func (c *mirror) order(now time.Time) api.Code {
	switch {
	case c.flight != nil:
		return ""
	case c.held:
		return api.CodeRefused
	case c.asked:
		return api.CodeChallenge
	case c.tooSoon(now):
		return api.CodeThrottled
	}
	c.ordered = true
	return ""
}

func (m *model) retry(c *mirror, now time.Time) api.Code {
	if c.tooSoon(now) {
		return api.CodeThrottled
	}
	of := func(key refusalKey) bool { return key.account == c.conf.account() }
	for key := range m.refused {
		if of(key) {
			delete(m.refused, key)
		}
	}
	for _, other := range m.creds {
		other.keys = slices.DeleteFunc(other.keys, of)
	}
	c.held, c.asked, c.streak = false, false, 0
	c.notBefore, c.notAfter = time.Time{}, time.Time{}
	c.ordered = c.flight == nil
	return ""
}

func (c *mirror) drop(now time.Time) api.Code {
	c.token, c.needLogin = nil, true
	if c.flight != nil {
		c.flight.suspect = true
	}
	return c.order(now)
}

func (c *mirror) answer() api.Code {
	if c.flight != nil || !c.asked {
		return api.CodeChallenge
	}
	c.answering = true
	return ""
}

// wished is what a reader may do to the schedule.
func (c *mirror) wished(now time.Time) {
	if !c.may {
		c.may, c.mayAt = true, now
	}
}

func (c *mirror) report(now time.Time) api.Code {
	switch {
	case c.flight != nil:
	case c.held:
		return api.CodeRefused
	case c.asked:
		return api.CodeChallenge
	case c.conf.asks && c.person && c.kind() == kindLogin && c.fails == 0:
		return api.CodeChallenge
	default:
		c.wished(now)
	}
	return ""
}

// demanded prepares the model for a reader; it says whether the token at hand will do.
func (c *mirror) demanded(d Demand, now time.Time) (enough bool) {
	standing := c.held || c.code(now) == api.CodeChallenge
	if d.explicit() && c.lifetime > 0 && c.lifetime < d.MinTTL && !standing {
		return false
	}
	if c.read = max(c.read, 1); c.conf.lazy {
		c.read = 2
	}
	want := d.MinTTL
	if !d.explicit() {
		want = min(10*time.Second, c.lifetime/10)
	}
	if c.usable(now) && c.token.expires.Sub(now) >= want {
		return true
	}
	if d.explicit() || !c.usable(now) {
		c.wished(now)
	}
	return false
}

// shares says that another name has the same account: its logins may hold this one's
// back at the last moment.
func (m *model) shares(c *mirror) bool {
	for _, other := range m.creds {
		if other != c && other.account == c.account {
			return true
		}
	}
	return false
}

// served judges what a reader got who came at start.
func (m *model) served(c *mirror, d Demand, start, now time.Time, token string, err *api.Error) {
	took := now.Sub(start)
	if took > d.Wait {
		m.fault("a reader waited %v, not %v", took, d.Wait)
	}
	if took > 0 && c.flight == nil && c.lastEnd.Before(start) && !m.refusal(c) && !m.shares(c) {
		m.fault("a reader with %v waited %v for nothing, and got %q, %v", d, took, token, err)
	}
	if err == nil {
		switch {
		case c.lastEnd.Equal(now) && c.prior != nil && token == c.prior.value && now.Before(c.prior.expires): // at this very moment
		case !c.usable(now) || token != c.token.value:
			m.fault("a reader got %q, which is not the token", token)
		case d.explicit() && c.token.expires.Sub(now) < d.MinTTL:
			m.fault("a reader got less than %v", d.MinTTL)
		}
		return
	}
	if c.lastEnd.Equal(now) {
		return // at this very moment something came
	}
	standing := c.held || m.refusal(c) || c.awaits(now) > 0 || c.asked
	beyond := d.explicit() && c.lifetime > 0 && c.lifetime < d.MinTTL
	codes := []api.Code{api.CodeShort}
	switch {
	case c.usable(now) && !d.explicit():
		m.fault("a reader got %v with a token at hand", err)
	case c.usable(now) && !c.mayCaused.IsZero() && now.Sub(c.mayCaused) < 10*time.Minute:
		codes = append(codes, api.CodeThrottled)
	case !c.usable(now) && (!beyond || standing):
		codes = m.problems(c, now)
		if beyond && !c.held && !c.asked { // perhaps not standing
			codes = append(codes, api.CodeShort)
		}
	}
	if !slices.Contains(codes, err.Code) {
		m.fault("a reader got %s (%v), want one of %v", err.Code, err, codes)
	}
}

// problems are the codes that say why there is no token, or no new one.
func (m *model) problems(c *mirror, now time.Time) (all []api.Code) {
	if m.refusal(c) {
		all = append(all, api.CodeRefused)
	}
	if c.awaits(now) == 1 {
		all = append(all, api.CodeChallenge)
	}
	if code := c.code(now); code != "" {
		return append(all, code)
	}
	return append(all, api.CodePending)
}

// came judges what a call got that waits for an attempt; before are the tokens that
// had come by then.
func (m *model) came(c *mirror, want api.Code, before int, wait time.Duration, start, now time.Time, s api.Status, err *api.Error) {
	took := now.Sub(start)
	switch {
	case took > wait:
		m.fault("a caller waited %v, not %v", took, wait)
	case want != "" && (err == nil || err.Code != want || took > 0):
		m.fault("a caller got %v after %v, want %s at once", err, took, want)
	case want == "" && err == nil && c.came == before:
		m.fault("a caller is told of a new token, and there is none")
	case want == "" && c.lastEnd.Equal(now) && err != nil: // at this very moment
	case want == "" && err != nil && !slices.Contains(m.problems(c, now), err.Code):
		m.fault("a caller got %s (%v), want one of %v", err.Code, err, m.problems(c, now))
	case err == nil && c.lastEnd.Equal(now) && c.prior != nil && s.Fingerprint == api.Fingerprint(c.prior.value):
	case err == nil && (c.token == nil || s.Fingerprint != api.Fingerprint(c.token.value)):
		m.fault("a caller got %+v", s)
	}
}

// status compares what everybody may see.
func (m *model) status(name string, s api.Status, now time.Time, saved bool) {
	c := m.creds[name]
	if s.State == api.StateRefused && !c.held && m.refusal(c) {
		m.hold(c)
		c.ordered, c.may = false, false
	}
	if s.State == api.StateRefused && m.refusal(c) && c.answering { // not sent, and the question is over
		c.asked, c.answering = false, false
	}
	if states := m.states(c, now); !slices.Contains(states, s.State) {
		m.fault("%s is %s (%+v), want one of %v", name, s.State, s.Error, states)
	}
	var code api.Code
	if s.Error != nil {
		code = s.Error.Code
	}
	if want := c.code(now); code != want && c.awaits(now) != 1 {
		m.fault("%s: code %q, want %q", name, code, want)
	}
	fingerprint := ""
	if c.token != nil {
		fingerprint = api.Fingerprint(c.token.value)
	}
	if s.Usable != c.usable(now) || s.Fingerprint != fingerprint || s.Failures != c.fails || saved && !s.Saved || (s.Challenge != nil) != c.asked {
		m.fault("%s: %+v; want usable %v, fingerprint %q, %d failures, a question %v", name, s, c.usable(now), fingerprint, c.fails, c.asked)
	}
}
