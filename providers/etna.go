package providers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// etnaKind is ETNA Trader's Web API, which brokers run under names of their own, such
// as Autoshares (https://github.com/etnatrader/gitbookHelp, web-api/trading-api and
// https://github.com/AutoSharesAPI/API, pages/authentication.md). A login is all
// headers and may take several steps; a first step may send the user a code.
var etnaKind = Kind{
	Name: "etna",
	Help: "ETNA Trader, also as Autoshares (https://api.autoshares.com)",
	Keys: []Key{
		{Name: "app_key", Help: "the application's key, from the BO Companies widget", Secret: true, Identity: true, Required: true},
		{Name: "username", Help: "the user", Identity: true, Required: true},
		{Name: "password", Help: "the user's password", Secret: true, Required: true},
		{Name: "pin", Help: "the user's PIN: answers the PIN step, once per login", Secret: true},
		{Name: "code", Help: "gives the verification code; without it a person answers", Late: true},
	},
	Headers: []Header{{Name: "Authorization", Format: "Bearer {token}"}, {Name: "Et-App-Key", Format: "{app_key}"}},
	RenewAt: 0.8,
	Logins:  6,
	Person:  "code",
}

// The tokens are opaque, and the vendor's pages disagree on their life: 24 hours, 60
// minutes, 60 minutes of inactivity. An hour is safe and costs a login. Where a login
// costs a person's time it is the day, and callers who are refused earlier say so.
var (
	etnaLife       = life{assumed: time.Hour, longest: 24 * time.Hour}
	etnaPersonLife = life{assumed: 24 * time.Hour, longest: 24 * time.Hour}
)

// etnaTicketLife is how long an interim token is taken to live; no page says.
const etnaTicketLife = 5 * time.Minute

// The names of the steps. The first is the one of user name and password.
const (
	etnaBase = "BaseAuthentication"
	etnaCode = "VerificationCode"
)

// etnaPins are the two spellings of the PIN's step; the first is the server's.
var etnaPins = []string{"SecutityPin", "SecurityPin"}

type etna struct{ *caller }

func newEtna(c *caller) (Provider, error) {
	for _, key := range c.kind.Keys {
		if err := checkHeader(c.value(key)); err != nil {
			return nil, &KeyError{key.Name, err}
		}
	}
	return &etna{c}, nil
}

// Login sends user name and password, or a person's answer, and then answers what it
// is asked for: a PIN and a code from their sources, each at most once, so that it
// ends after three requests. What only a person can answer ends it with a *Challenge;
// the next Login goes on from there.
func (e *etna) Login(ctx context.Context, answer *Answer) (Token, error) {
	l := etnaLogin{etna: e, life: etnaLife}
	if answer != nil {
		text := strings.TrimSpace(answer.Text.Reveal())
		if err := checkCode(text); err != nil {
			again := answer.Challenge // nothing was sent, so the ticket is still good
			again.Prompt = "the answer was not sent: " + err.Error()
			return Token{}, &again
		}
		l.life, l.person, l.spent, l.ticket = etnaPersonLife, true, answer.spent, answer.Ticket
		l.answer(answer.Step, NewSecret(text))
	}
	for {
		r, err := l.send(ctx)
		switch {
		case err != nil:
			return Token{}, err
		case r.is("Succeeded") && r.ok() && !r.expired():
			token, err := r.token("Token")
			if err != nil {
				return Token{}, err
			}
			return r.issue(token, l.life)
		case r.is("Expecting") && r.believed() && !r.final():
			if err := l.next(ctx, r); err != nil {
				return Token{}, err
			}
		default:
			return Token{}, l.failure(r)
		}
	}
}

// etnaLogin is a login on its way through its steps.
type etnaLogin struct {
	*etna
	life   life
	person bool     // the answer at hand came from a person
	step   string   // that is answered; "" in a first request
	text   Secret   // the answer
	ticket Secret   // the newest interim token
	spent  string   // as in Challenge
	hide   []Secret // answers and interim tokens
}

// answer takes the answer to a step into the next request.
func (l *etnaLogin) answer(step string, text Secret) {
	l.step, l.text = step, text
	l.hide = append(l.hide, l.ticket, text)
}

// send makes one request. The credentials are in all of them; Authorization and an
// answer are in all but the first. That a step of an unknown name is answered like
// the verification code is an assumption.
func (l *etnaLogin) send(ctx context.Context) (*etnaReply, error) {
	header := map[string]string{
		"Accept":     "application/json",
		"Et-App-Key": l.Secrets["app_key"].Reveal(),
		"Username":   l.Values["username"],
		"Password":   l.Secrets["password"].Reveal(),
	}
	if l.step != "" {
		name := etnaCode
		if isPin(l.step) {
			name = "PinCode"
		}
		header["Authorization"] = "Bearer " + l.ticket.Reveal()
		header[name] = l.text.Reveal()
	}
	a, err := l.post(ctx, request{path: "/token", header: header, hide: l.hide})
	if err != nil {
		return nil, err
	}
	return readEtna(a), nil
}

// next prepares the answer to what the reply asks for, if it is configured and was
// not sent before; a *Challenge if a person has to give it.
func (l *etnaLogin) next(ctx context.Context, r *etnaReply) error {
	if !r.interim.Empty() {
		if err := checkToken(r.interim.Reveal()); err != nil {
			return r.fail(Malformed, "answered without a usable interim token (%s): %w", r.said(), err)
		}
		l.ticket = r.interim
	}
	if l.ticket.Empty() {
		return r.fail(Malformed, "asks for more without an interim token (%s)", r.said())
	}
	key := etnaKey(r.step)
	switch {
	case key != "" && slices.Contains(strings.Fields(l.spent), key):
		return l.useless(r, key)
	case l.person && sameStep(r.step, l.step):
		return l.challenge(r) // who mistyped may try again
	}
	text := l.Secrets[key]
	if source := l.Late[key]; source != nil {
		var err error
		if text, err = r.ask(ctx, source); err != nil {
			return err
		}
	}
	if text.Empty() {
		return l.challenge(r)
	}
	l.person = false
	l.spent += key + " "
	l.answer(r.step, text)
	return nil
}

// challenge hands the reply's question to a person.
func (l *etnaLogin) challenge(r *etnaReply) *Challenge {
	return &Challenge{
		Step: r.label(), Prompt: r.mask.clean(r.reason), Ticket: l.ticket,
		Expires: r.received.Add(etnaTicketLife), spent: l.spent,
	}
}

// failure is the Error of a reply that neither succeeded nor asks for an answer.
func (l *etnaLogin) failure(r *etnaReply) *Error {
	class := r.class()
	switch {
	case r.expired():
		return r.fail(Refused, "says that the password has expired (%s): change it in the web terminal", r.said())
	case r.final() && r.unset():
		return r.fail(Refused, "says that no PIN is set (%s): set one in the web terminal", r.said())
	case r.final():
		return r.fail(Refused, "asks for what no login can give (%s): log in at the web terminal", r.said())
	case r.believed() && strings.Contains(strings.ToLower(r.fault), "application key"):
		return r.fail(Misconfigured, "does not know the application key (%s): correct app_key", r.said())
	case r.is("Failed") && r.believed(), class == Refused && r.status != http.StatusForbidden:
		return l.turnedDown(r)
	case class == Refused: // a 403 of the API's own
		return r.fail(Misconfigured, "does not accept the application key (%s): correct app_key", r.said())
	case r.ok() && r.state != "" && !r.is("Succeeded"):
		return r.fail(Malformed, "answered with the unknown State %q (%s)", r.mask.clean(r.state), r.said())
	}
	e := r.judge("the user name and password")
	if class == Throttled {
		e.RetryAfter = cmp.Or(e.RetryAfter, r.reset())
	}
	return e
}

// turnedDown is the Error of a plain no to what was sent.
func (l *etnaLogin) turnedDown(r *etnaReply) *Error {
	switch {
	case r.status == http.StatusLocked:
		return r.fail(Refused, "has locked the account (%s): have it unlocked", r.said())
	case l.step == "" || r.base():
		return r.fail(Refused, "refused the user name and password (%s): correct them", r.said())
	case l.person:
		return r.fail(TicketGone, "refused the answer and ended the login (%s): it was wrong or late; a new login has to be asked for", r.said())
	}
	return l.useless(r, etnaKey(l.step))
}

// useless is the Error of a configured answer that did not serve. It is never sent
// twice: a few wrong ones lock the account.
func (l *etnaLogin) useless(r *etnaReply, key string) *Error {
	return r.fail(Refused, "refused the configured %s (%s): correct it", key, r.said())
}

// etnaReply is an answer with the fields that decide, blanks around them dropped.
type etnaReply struct {
	*answer
	state, step, reason, fault string
	interim                    Secret
}

func readEtna(a *answer) *etnaReply {
	r := &etnaReply{answer: a}
	o, err := a.object()
	if err != nil {
		return r
	}
	var interim string
	for name, field := range map[string]*string{"State": &r.state, "Step": &r.step, "Reason": &r.reason, "error": &r.fault, "Token": &interim} {
		text, _ := o.text(name) // what is no string says nothing
		*field = strings.TrimSpace(text)
	}
	r.interim = NewSecret(interim)
	a.mask.hide(r.interim)
	return r
}

func (r *etnaReply) is(state string) bool { return strings.EqualFold(r.state, state) }

// believed says whether the status lets the State speak: nothing is final, or asks
// for an answer, that came with a 429 or 5xx.
func (r *etnaReply) believed() bool {
	class := r.class()
	return r.ok() || r.status/100 == 4 && r.status != http.StatusProxyAuthRequired && (class == Refused || class == Misconfigured)
}

// base says whether the reply is about user name and password; some name that in State.
func (r *etnaReply) base() bool { return strings.EqualFold(r.step, etnaBase) || r.is(etnaBase) }

// expired says whether the password has to be changed. A token may come along that is
// good for that alone, whatever the status and State.
func (r *etnaReply) expired() bool {
	reason := strings.ToLower(r.reason)
	return r.base() && strings.Contains(reason, "password") && strings.Contains(reason, "expired")
}

// unset says whether the user has no PIN yet ("PIN code is not init").
func (r *etnaReply) unset() bool { return strings.Contains(strings.ToLower(r.reason), "not init") }

// final says whether the reply asks for something that no answer can give.
func (r *etnaReply) final() bool {
	asks := r.is("Expecting") || r.is(etnaBase)
	return r.believed() && (asks && r.base() || r.unset() && !r.is("Succeeded"))
}

// label is the step as a person gets to see it.
func (r *etnaReply) label() string {
	if etnaKey(r.step) != "" {
		return r.step
	}
	return cmp.Or(r.mask.clean(r.step), "an unnamed step")
}

// said is words, with the step.
func (r *etnaReply) said() string {
	if r.step == "" {
		return r.words()
	}
	return quote(fmt.Sprintf("HTTP %d, step %s", r.status, r.label()), r.mask.clean(r.reason))
}

// reset is how long it is to X-RateLimit-Reset, a Unix time of the server's.
func (r *etnaReply) reset() time.Duration {
	at, err := strconv.ParseInt(strings.TrimSpace(r.header.Get("X-RateLimit-Reset")), 10, 64)
	if err != nil || at > lastSecond {
		return 0
	}
	if wait := r.local(time.Unix(at, 0)).Sub(r.received); wait > 0 {
		return clampWait(wait)
	}
	return 0
}

// ask runs the source of a code, for the time of this reply's clock. The server has
// taken the user name and password by now and may have sent a code, so that a source
// that fails is not asked again for a minute.
func (r *etnaReply) ask(ctx context.Context, source Source) (Secret, error) {
	secret, err := source(ctx, time.Now().Add(r.skew))
	text := strings.TrimSpace(secret.Reveal())
	if err == nil {
		err = checkCode(text)
	}
	switch {
	case ctx.Err() != nil:
		return Secret{}, r.fail(Transient, "asks for a code, and getting it was given up: %w", ctx.Err())
	case err != nil:
		e := r.fail(Transient, "asks for a code, and getting it from its source went wrong: %s", r.mask.clean(err.Error()))
		e.RetryAfter = time.Minute
		return Secret{}, e
	}
	return NewSecret(text), nil
}

// etnaKey is the key whose value answers the step, "" if there is none.
func etnaKey(step string) string {
	switch {
	case isPin(step):
		return "pin"
	case strings.EqualFold(step, etnaCode):
		return "code"
	}
	return ""
}

func isPin(step string) bool {
	return slices.ContainsFunc(etnaPins, func(name string) bool { return strings.EqualFold(name, step) })
}

func sameStep(one, other string) bool {
	return strings.EqualFold(one, other) || isPin(one) && isPin(other)
}

// checkCode tells what is no code, before it costs one of few tries.
func checkCode(text string) error {
	switch {
	case text == "":
		return errors.New("it is empty")
	case len(text) > 128:
		return errors.New("it is longer than 128 characters")
	case strings.Contains(text, " ") || checkHeader(text) != nil:
		return errors.New("it has a blank, or a character that is not printable ASCII")
	}
	return nil
}
