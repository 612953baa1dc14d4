package keeper

import (
	"context"
	"fmt"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// codeSpacing is the least time between two codes that a person is sent.
const codeSpacing = time.Minute

// Where logins ask a person for a code, only the very first login of a credential
// asks by itself. Whatever else would log in (a timer, a reader, a reload, a restart)
// waits for an operator, because each login sends that person a code, and codes that
// nobody asked for teach people to ignore them. The record remembers it; what the
// provider sent along with its question stays in memory and dies with it.

// personal says that another login would ask a person for a code.
func (e *entry) personal() bool { return e.cred != nil && e.cred.Asks && e.rec.Person }

// asksAgain says that the next renewal would ask a person for a code.
func (e *entry) asksAgain(now time.Time) bool { return e.personal() && e.kind(now) == kindLogin }

// awaitsOperator says that a login is due, and that only an operator may have it
// made.
func (e *entry) awaitsOperator(now time.Time) bool {
	if !e.personal() || e.flight != nil || e.queued || e.asked == askOperator || e.cred.Provider == nil {
		return false
	}
	return e.kind(now) == kindLogin && (e.login || !e.usable(now) || reached(now, e.renew))
}

// asksNext is when the clocks alone change what a person is asked for: a question
// runs out, or the renewal of a token comes due that needs an operator. Zero: never.
func (e *entry) asksNext(now time.Time) time.Time {
	switch {
	case e.flight != nil: // its end tells
	case e.challenge != nil:
		return e.challenge.Expires
	case e.personal() && e.usable(now) && !reached(now, e.renew):
		return e.renew
	}
	return time.Time{}
}

// question is what a person reads who has to act.
func (e *entry) question(now time.Time) string {
	text := e.answered
	if text != "" {
		text += "; "
	}
	if e.challenge != nil {
		return text + fmt.Sprintf("%s asks for %s: %s", e.provider(), e.challenge.Step, e.challenge.Prompt)
	}
	serves := "no token is left"
	if e.usable(now) {
		serves = "the token at hand serves until " + wire(e.token.Expires).Format(time.RFC3339)
	}
	return text + fmt.Sprintf("logging in asks a person for a code; %s; `tokenctl retry %s` requests a code", serves, e.name)
}

// codeAsked notes that a login asks, or may have asked, a person for a code.
func (e *entry) codeAsked(at time.Time) {
	e.rec.Person = true
	e.rec.CodeAsked = at.Round(0)
}

// mayHaveAsked says that a login of which nobody knows how it ended may have sent a
// person a code: unless the last one that is known came through without.
func (e *entry) mayHaveAsked() bool {
	return e.cred.Asks && (e.rec.Person || e.rec.LastRenewal.IsZero())
}

// tooSoon is the problem of an operator who requests another code within the minute.
func (e *entry) tooSoon(now time.Time) *api.Error {
	if !e.personal() || e.rec.CodeAsked.IsZero() {
		return nil
	}
	wait := min(e.rec.CodeAsked.Add(codeSpacing).Sub(now), codeSpacing)
	if wait <= 0 {
		return nil
	}
	return api.Errorf(api.CodeThrottled, "a code was requested under a minute ago; the next can be in %s", brief(wait)).For(e.name).After(wait)
}

// expireChallenge drops a question that nobody answered in time.
func (e *entry) expireChallenge(now time.Time) {
	if e.challenge != nil && e.flight == nil && !e.challenge.Expires.IsZero() && reached(now, e.challenge.Expires) {
		e.challenge = nil
		e.answered = "the last code was not answered in time"
	}
}

// Answer answers the pending challenge. It fails with challenge if there is nothing
// to answer, or if the answer was not taken.
func (k *Keeper) Answer(ctx context.Context, name, text string, wait time.Duration) (api.Status, *api.Error) {
	return k.operate(ctx, name, wait, func(e *entry, now time.Time) (bool, *api.Error) {
		e.expireChallenge(now)
		switch {
		case e.flight != nil, e.queued:
			return false, api.Errorf(api.CodeChallenge, "a renewal is under way; there is nothing to answer yet").For(name).After(time.Second)
		case e.challenge == nil && e.personal():
			return false, api.Errorf(api.CodeChallenge, "there is nothing to answer: %s", e.question(now)).For(name)
		case e.challenge == nil:
			return false, api.Errorf(api.CodeChallenge, "there is nothing to answer").For(name)
		}
		e.answer = &providers.Answer{Challenge: *e.challenge, Text: providers.NewSecret(text)}
		e.answered = ""
		k.step(e)
		return false, nil
	})
}
