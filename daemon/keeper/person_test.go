package keeper

import (
	"context"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// phone is an upstream whose logins ask a person for a code: 1234 is right, 401 ends
// the challenge, and anything else is asked for again.
type phone struct {
	*upstream
	codes int // sent
}

func (p *phone) Login(ctx context.Context, a *providers.Answer) (providers.Token, error) {
	now := time.Now()
	n, err := p.ask(ctx, &p.logins)
	if err != nil {
		return providers.Token{}, err
	}
	p.mu.Lock()
	login := p.login
	if a == nil {
		p.codes++
	}
	p.mu.Unlock()
	if login != nil {
		if err := login(n); err != nil {
			return providers.Token{}, err
		}
	}
	switch {
	case a == nil:
		return providers.Token{}, &providers.Challenge{Step: "VerificationCode", Prompt: "Expecting confirmation code", Expires: now.Add(5 * time.Minute)}
	case a.Text.Reveal() == "401":
		return providers.Token{}, failure(providers.TicketGone)
	case a.Text.Reveal() != "1234":
		return providers.Token{}, &providers.Challenge{Step: "VerificationCode", Prompt: "Invalid code", Expires: now.Add(5 * time.Minute)}
	}
	return p.token("token", now), nil
}

func (p *phone) sent() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.codes
}

func newPhone() (*phone, *Credential) {
	p := &phone{upstream: &upstream{life: 24 * time.Hour}}
	cred := p.credential("a", "id", "pw")
	cred.Provider, cred.Asks = p, true
	return p, cred
}

func (r *rig) answer(text string) *api.Error {
	r.t.Helper()
	_, err := r.Answer(r.t.Context(), "a", text, time.Minute)
	return err
}

// One code for the first login, however many clients ask, whatever is reloaded and
// restarted, and whatever time passes.
func TestOneCodeForTheFirstLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		s := r.wantState("a", api.StateChallenge)
		if s.Challenge == nil || s.Challenge.Step != "VerificationCode" || s.Challenge.Prompt != "Expecting confirmation code" || s.Usable {
			t.Errorf("status: %+v, challenge %+v", s, s.Challenge)
		}
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				for _, d := range []Demand{{-1, time.Minute}, {time.Hour, time.Minute}, {-1, 0}} {
					if _, err := r.Cell("a").Token(t.Context(), d); code(err) != api.CodeChallenge || !strings.Contains(err.Hint, "tokenctl answer a") {
						t.Errorf("a client got %+v", err)
					}
				}
			})
		}
		wg.Wait()
		r.apply(cred)
		for range 3 {
			r.restart(cred)
			s := r.wantState("a", api.StateChallenge)
			if s.Challenge != nil || !strings.Contains(s.Error.Detail, "`tokenctl retry a` requests a code") {
				t.Errorf("after a restart: challenge %+v, %+v", s.Challenge, s.Error)
			}
			r.wantNone("a", api.CodeChallenge)
		}
		r.apply()
		r.apply(cred)
		other := *cred
		other.Secrets[0]++
		r.apply(&other)
		time.Sleep(30 * 24 * time.Hour)
		r.wantNone("a", api.CodeChallenge)
		if p.sent() != 1 {
			t.Errorf("%d codes sent", p.sent())
		}
		if r.heard(EventChallenge) == 0 {
			t.Error("nobody heard that a person must answer")
		}
	})
}

func TestAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		r.wantState("a", api.StateChallenge)
		if err := r.answer("9999"); code(err) != api.CodeChallenge || !strings.Contains(err.Detail, "the answer was not taken; test asks for VerificationCode: Invalid code") {
			t.Errorf("a wrong answer got %+v", err)
		}
		p.answers(failure(providers.Transient))
		if err := r.answer("1234"); code(err) != api.CodeChallenge || !strings.Contains(err.Detail, "may not have arrived") {
			t.Errorf("an answer that was lost got %+v", err)
		}
		p.answers(nil)
		if err := r.answer("1234"); err != nil {
			t.Fatalf("the right answer got %+v", err)
		}
		r.want("a", "token")
		r.wantState("a", api.StateFresh)
		if err := r.answer("1234"); code(err) != api.CodeChallenge || !strings.Contains(err.Detail, "nothing to answer") {
			t.Errorf("an answer that nobody asked for got %+v", err)
		}
		r.restart(cred)
		r.wantState("a", api.StateFresh)
		if p.sent() != 1 {
			t.Errorf("%d codes sent", p.sent())
		}
	})
}

// From renew_at on the state says that a person is needed, and until the end of the
// token it is served; nothing asks for a code but an operator.
func TestRenewalThatNeedsAPerson(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		synctest.Wait()
		if err := r.answer("1234"); err != nil {
			t.Fatal(err)
		}
		due := r.Cell("a").view.Load().renew
		time.Sleep(time.Until(due) - time.Millisecond)
		r.wantState("a", api.StateFresh)
		time.Sleep(2 * time.Millisecond)
		s := r.wantState("a", api.StateChallenge)
		if !s.Usable || s.Challenge != nil || s.Error.Code != api.CodeChallenge || !strings.Contains(s.Error.Detail, "serves until 2000-01-02T00:00:00Z") {
			t.Errorf("status: %+v, %+v", s, s.Error)
		}
		r.want("a", "token")
		if _, err := r.Report(t.Context(), "a", s.Fingerprint, time.Minute); code(err) != api.CodeChallenge {
			t.Errorf("a complaint got %+v", err)
		}
		if _, err := r.Retry(t.Context(), "a", time.Minute); code(err) != api.CodeChallenge {
			t.Errorf("retry got %+v", err)
		}
		if s := r.wantState("a", api.StateChallenge); s.Challenge == nil || !s.Usable {
			t.Errorf("after retry: %+v", s)
		}
		r.want("a", "token")
		if err := r.answer("1234"); err != nil {
			t.Errorf("the answer got %+v", err)
		}
		r.wantState("a", api.StateFresh)
		if p.sent() != 2 {
			t.Errorf("%d codes sent", p.sent())
		}
		time.Sleep(25 * time.Hour)
		r.wantNone("a", api.CodeChallenge)
	})
}

// Complaints before renew_at do not ask for a code either.
func TestReadersNeverAskForACode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		synctest.Wait()
		if err := r.answer("1234"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		s := r.wantState("a", api.StateFresh)
		if _, err := r.Report(t.Context(), "a", s.Fingerprint, time.Minute); code(err) != api.CodeChallenge {
			t.Errorf("a complaint got %+v", err)
		}
		if _, err := r.Cell("a").Token(t.Context(), Demand{23*time.Hour + time.Minute, time.Minute}); code(err) != api.CodeShort {
			t.Errorf("a demand got %+v", err)
		}
		r.want("a", "token")
		if p.sent() != 1 {
			t.Errorf("%d codes sent", p.sent())
		}
	})
}

// Codes are a minute apart, whichever verb asks for them.
func TestCodesAreAMinuteApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		synctest.Wait()
		time.Sleep(40 * time.Second)
		for _, ask := range []func(context.Context, string, time.Duration) (api.Status, *api.Error){r.Retry, r.Drop} {
			if _, err := ask(t.Context(), "a", time.Minute); err == nil {
				t.Error("another code within a minute")
			}
		}
		if _, err := r.Retry(t.Context(), "a", time.Minute); code(err) != api.CodeThrottled || err.RetryAfter != 20 {
			t.Errorf("retry got %+v", err)
		}
		time.Sleep(20 * time.Second)
		if _, err := r.Retry(t.Context(), "a", time.Minute); code(err) != api.CodeChallenge {
			t.Errorf("retry got %+v", err)
		}
		if p.sent() != 2 {
			t.Errorf("%d codes sent", p.sent())
		}
	})
}

// A challenge ends with its ticket: by time, or by the provider's word.
func TestChallengeEnds(t *testing.T) {
	for name, end := range map[string]func(*rig){
		"unanswered": func(*rig) { time.Sleep(5 * time.Minute) },
		"ticket gone": func(r *rig) {
			if err := r.answer("401"); code(err) != api.CodeChallenge || !strings.Contains(err.Detail, "tokenctl retry a") {
				r.t.Errorf("an answer that ended the challenge got %+v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p, cred := newPhone()
				r := newRig(t).start(cred)
				synctest.Wait()
				end(r)
				r.wantNone("a", api.CodeChallenge)
				if s := r.wantState("a", api.StateChallenge); s.Challenge != nil {
					t.Errorf("still there: %+v", s.Challenge)
				}
				time.Sleep(time.Hour)
				if p.sent() != 1 {
					t.Errorf("%d codes sent", p.sent())
				}
			})
		})
	}
}

// A first login of which nobody knows how it ended may have sent a code; one of an
// account that is known to need none is tried again.
func TestUnknownEndOfALoginThatMayAsk(t *testing.T) {
	for _, row := range []struct {
		name  string
		known bool
		crash bool
		class providers.Class
		state api.State
	}{
		{"first, no answer", false, false, providers.Transient, api.StateChallenge},
		{"first, an answer without sense", false, false, providers.Malformed, api.StateChallenge},
		{"first, crash", false, true, providers.Transient, api.StateChallenge},
		{"needs no code, no answer", true, false, providers.Transient, api.StateFresh},
		{"needs no code, an answer without sense", true, false, providers.Malformed, api.StateFresh},
		{"needs no code, crash", true, true, providers.Transient, api.StateFresh},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: time.Hour}
				cred := u.credential("a", "id", "pw")
				cred.Asks = true
				if !row.known {
					u.slows(time.Second)
					u.answers(failure(row.class))
				}
				r := newRig(t).start(cred)
				synctest.Wait()
				if row.known {
					u.slows(time.Second)
					u.answers(failure(row.class))
					r.untilRenewal("a")
				}
				if row.crash {
					r.crash(cred)
				}
				time.Sleep(time.Second)
				synctest.Wait()
				logins, _ := u.asked()
				u.answers(nil)
				time.Sleep(2 * time.Minute)
				r.wantState("a", row.state)
				if after, _ := u.asked(); !row.known && after != logins {
					t.Errorf("%d logins, then %d", logins, after)
				}
			})
		})
	}
}

func TestRefusedAnswerIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		synctest.Wait()
		p.answers(failure(providers.Refused))
		if err := r.answer("1234"); code(err) != api.CodeRefused {
			t.Errorf("got %+v", err)
		}
		r.wantNone("a", api.CodeRefused)
	})
}

func TestAnswerToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t).start()
		if err := r.answer("1234"); code(err) != api.CodeUnknown {
			t.Errorf("got %+v", err)
		}
	})
}

// A question stands no longer once the same secrets were refused under another name.
func TestAnswerWithSecretsThatWereRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		r.wantState("a", api.StateChallenge)
		p.answers(failure(providers.Refused))
		other := *cred
		other.Name = "b"
		r.apply(cred, &other)
		time.Sleep(time.Minute)
		r.wantNone("b", api.CodeRefused)
		logins, _ := p.asked()
		if err := r.answer("1234"); code(err) != api.CodeRefused {
			t.Errorf("the answer got %+v", err)
		}
		r.wantAsked(p.upstream, logins, 0)
	})
}
