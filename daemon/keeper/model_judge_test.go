package keeper

import (
	"time"

	"github.com/tokend-project/tokend/providers"
)

// What the model says of the requests that a provider gets, and what it makes of their
// outcomes.

// starts judges a request that reached the provider.
func (m *model) starts(d *deed) {
	m.pass(d.at)
	c := m.creds[d.cred]
	want := c.kind()
	switch {
	case c.flight != nil:
		m.fault("%s: two requests at once", d.cred)
	case !c.on, m.stopped:
		m.fault("%s: a request of what is not in force", d.cred)
	case d.account != c.conf.account(), d.kind != want:
		m.fault("%s: a %s of %s, want a %s of %s", d.cred, d.kind, d.account, want, c.conf.account())
	case c.held, d.kind == kindLogin && m.refusal(c) && m.noAt.Before(d.at):
		m.fault("%s: what was refused is sent again", d.cred)
	case d.kind == kindRefresh && d.with != c.token.refresh:
		m.fault("%s: refreshed with %q, want %q", d.cred, d.with, c.token.refresh)
	case d.kind == kindLogin && c.asked:
		m.fault("%s: a login while a question is open", d.cred)
	case d.kind == kindLogin && c.person && (!c.ordered || d.at.Sub(c.codeAt) < time.Minute):
		m.fault("%s: another code was asked for", d.cred)
	case d.kind != kindAnswer && !c.ordered && d.at.Before(c.notBefore):
		m.fault("%s: tried again %v too early", d.cred, c.notBefore.Sub(d.at))
	case d.kind != kindAnswer && !c.ordered:
		m.reason(d, c)
	}
	m.spend(d)
	if c.may || c.waiting > 0 {
		c.mayCaused = d.at
	}
	c.flight, c.ordered, c.may, c.answering, c.cut = d, false, false, false, false
	if d.kind == kindLogin {
		c.asked = false
	}
}

// reason finds why the request was made by itself, or for a reader.
func (m *model) reason(d *deed, c *mirror) {
	planned := !c.usable(d.at) || c.fails > 0 || c.needLogin
	if !planned {
		earliest, _ := c.renewal()
		planned = !d.at.Before(earliest)
	}
	switch {
	case planned && (!c.conf.lazy || c.read > 0 || c.may || c.waiting > 0):
	case !c.may && c.waiting == 0:
		m.fault("%s: a %s that nobody asked for", d.cred, d.kind)
	default:
		life := c.token.life()
		if d.at.Sub(c.caused) < min(10*time.Second, life/4) && d.at.Before(c.token.issued.Add(life/2)) {
			m.fault("%s: readers caused two renewals within %v", d.cred, d.at.Sub(c.caused))
		}
		c.caused = c.mayAt
	}
}

func (m *model) spend(d *deed) {
	if d.kind == kindRefresh {
		return
	}
	held := time.Duration(0)
	if m.slack > 0 { // by the store
		held = durableWait
	}
	if d.kind == kindLogin && d.at.Before(m.whole[d.account].Add(-2*modelSpacing)) {
		m.fault("%s: a login above the budget", d.cred)
	}
	spend := func(budget map[string]time.Time, at time.Time) {
		if budget[d.account].After(at) {
			at = budget[d.account]
		}
		budget[d.account] = at.Add(modelSpacing)
	}
	spend(m.whole, d.at.Add(-held))
	spend(m.most, d.at)
	m.spender[d.account] = d.cred
}

// ends takes in what came of a request.
func (m *model) ends(d *deed, now time.Time) {
	m.pass(now)
	c := m.creds[d.cred]
	switch {
	case d.void, d.reply.cancelled && !d.stale: // what a restart makes of it
		return
	case d.stale:
		if c.flight == d {
			c.flight = nil
		}
		return
	}
	c.flight, c.lastEnd = nil, now
	switch {
	case d.reply.failed:
		m.failed(d, c, now)
	case d.reply.asks:
		if d.kind == kindLogin {
			c.person, c.codeAt = true, d.at
		}
		if d.account == c.conf.account() {
			c.asked, c.askedTill = true, d.reply.until
			c.fails, c.streak, c.class, c.notBefore, c.notAfter = 0, 0, "", time.Time{}, time.Time{}
		}
	case d.suspect && d.kind == kindRefresh:
	default:
		m.brought(d, c)
	}
}

func (m *model) brought(d *deed, c *mirror) {
	t := &modelToken{
		value: d.reply.token, refresh: d.reply.refresh, account: d.account,
		issued: d.at, expires: d.at.Add(d.reply.life),
	}
	if d.kind == kindRefresh {
		t.account = c.token.account
		if t.refresh == "" {
			t.refresh, c.keeps = d.with, true
		}
	} else {
		c.person = d.kind == kindAnswer
		c.needLogin = d.account != c.conf.account()
	}
	c.prior = c.token
	c.token, c.lifetime, c.renewed, c.asked, c.read = t, t.life(), true, false, 0
	c.fails, c.streak, c.class, c.notBefore, c.notAfter = 0, 0, "", time.Time{}, time.Time{}
	c.came++
}

func (m *model) failed(d *deed, c *mirror, now time.Time) {
	class, sent := d.reply.class, d.reply.sent
	no := class == providers.Refused || class == providers.Misconfigured
	switch {
	case d.kind == kindRefresh && (no || class == providers.RefreshRefused || class == providers.NoRefresh):
		if c.needLogin = true; c.token != nil {
			c.token.refresh = ""
		}
		c.noRefresh = c.noRefresh || class == providers.NoRefresh
	case no:
		key := refusalKey{d.account, ""}
		if class == providers.Misconfigured {
			key.request = d.request
		}
		m.refused[key], m.noAt = true, now
		c.keys = append(c.keys, key)
		if m.hold(c); c.held {
			c.fails, c.streak, c.class = c.fails+1, 0, class.String()
		} else {
			c.needLogin = true
		}
		c.asked = false
	case class == providers.TicketGone:
		c.asked = false
	case d.kind == kindAnswer: // the question stands
	default:
		if d.kind == kindRefresh && sent && !c.keeps && (class == providers.Transient || class == providers.Malformed) && c.token != nil {
			c.token.refresh = ""
		}
		if d.kind == kindLogin && sent && (class == providers.Transient || class == providers.Malformed) && c.mayAsk() {
			c.person, c.codeAt = true, d.at
		}
		if d.kind == kindRefresh || class == providers.Throttled || d.account == c.conf.account() {
			c.fail(class, d.reply.retryAfter, now)
			c.needLogin = c.needLogin || d.kind == kindRefresh && class == providers.Transient && c.streak >= 3 // it may be of no use
		}
	}
}
