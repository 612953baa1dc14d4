package keeper

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// I8: a refusal is final, over waiting, reading, reloading, restarting, removing and
// adding again, and under another name; others secrets or an operator's retry end it.
func TestI8RefusedIsNeverSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Refused) }}
		cred := u.credential("a", "id", "wrong")
		cred.Advice = "bring another"
		r := newRig(t).start(cred)
		err := r.wantNone("a", api.CodeRefused)
		if !strings.Contains(err.Detail, "the provider said refused; bring another;") || !strings.Contains(err.Hint, "tokenctl retry a") {
			t.Errorf("the reader is told: %q, hint %q", err.Detail, err.Hint)
		}
		for name, try := range map[string]func(){
			"waiting":    func() { time.Sleep(48 * time.Hour) },
			"reloading":  func() { r.apply(u.credential("a", "id", "wrong")) },
			"restarting": func() { r.restart(cred) },
			"renewing":   func() { r.Renew(t.Context(), "a", time.Minute) },
			"dropping":   func() { r.Drop(t.Context(), "a", time.Minute) },
			"demanding":  func() { r.Cell("a").Token(t.Context(), Demand{MinTTL: time.Minute, Wait: time.Minute}) },
			"re-adding":  func() { r.apply(); r.restart(cred) },
			"renaming":   func() { r.apply(u.credential("b", "id", "wrong")); r.wantNone("b", api.CodeRefused); r.apply(cred) },
			"there and back": func() {
				u.answers(failure(providers.Throttled))
				r.apply(u.credential("a", "id", "wrong too"))
				time.Sleep(time.Second)
				u.mu.Lock()
				u.logins--
				u.mu.Unlock()
				r.apply(cred)
				time.Sleep(2 * time.Hour)
			},
		} {
			try()
			r.wantNone("a", api.CodeRefused)
			if logins, _ := u.asked(); logins != 1 {
				t.Fatalf("%s: %d logins", name, logins)
			}
		}
		u.answers(nil)
		time.Sleep(time.Minute)
		if _, err := r.Retry(t.Context(), "a", time.Minute); err != nil {
			t.Errorf("retry: %v", err)
		}
		r.want("a", "wrong-login-2")
		r.restart(cred)
		r.want("a", "wrong-login-2")
	})
}

func TestOtherSecretsEndARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Refused) }}
		r := newRig(t).start(u.credential("a", "id", "wrong"))
		r.wantNone("a", api.CodeRefused)
		u.answers(nil)
		r.apply(u.credential("a", "id", "right"))
		r.want("a", "right-login-2")
	})
}

func TestOtherSettingsEndAMisconfiguration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Misconfigured) }}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		r.wantNone("a", api.CodeRefused)
		r.restart(cred)
		r.wantNone("a", api.CodeRefused)
		r.wantAsked(u, 1, 0)
		u.answers(nil)
		mended := u.credential("a", "id", "pw")
		mended.Request = sha256.Sum256([]byte("another proxy"))
		r.apply(mended)
		r.want("a", "pw-login-2")
	})
}

// Before a refusal is final the secrets are read once more: they may have been
// rotated where nobody told us.
func TestSecretsAreReadOnceMoreBeforeARefusalIsFinal(t *testing.T) {
	for _, row := range []struct {
		name   string
		found  string
		err    error
		logins int
		state  api.State
	}{
		{"rotated", "right", nil, 2, api.StateFresh},
		{"unchanged", "wrong", nil, 1, api.StateRefused},
		{"unreadable", "", errors.New("reading the secret: no such file"), 1, api.StateRefused},
		{"rotated and refused as well", "wrong too", nil, 2, api.StateRefused},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: time.Hour}
				u.login = func(n int) error {
					if n == 2 && row.found == "right" {
						return nil
					}
					return failure(providers.Refused)
				}
				cred := u.credential("a", "id", "wrong")
				cred.Reread = func(context.Context) (*Credential, error) {
					return u.credential("a", "id", row.found), row.err
				}
				r := newRig(t).start(cred)
				time.Sleep(time.Hour / 2)
				r.wantState("a", row.state)
				r.wantAsked(u, row.logins, 0)
				r.apply(u.credential("a", "id", "wrong")) // the file still says so
				r.wantAsked(u, row.logins, 0)
			})
		})
	}
}

// What each class of failure leads to, without a token and with one.
func TestOutcomes(t *testing.T) {
	for _, row := range []struct {
		err    *providers.Error
		code   api.Code
		state  api.State     // while a token is left
		before time.Duration // not tried again until
		by     time.Duration // but then
	}{
		{failure(providers.Refused), api.CodeRefused, api.StateRefused, 1000 * time.Hour, 0},
		{failure(providers.Misconfigured), api.CodeRefused, api.StateRefused, 1000 * time.Hour, 0},
		{failure(providers.Throttled), api.CodeThrottled, api.StateStale, time.Minute, 67 * time.Second},
		{&providers.Error{Class: providers.Throttled, RetryAfter: 90 * time.Second, Err: errInterrupted}, api.CodeThrottled, api.StateStale, 90 * time.Second, 91 * time.Second},
		{failure(providers.Transient), api.CodePending, api.StateStale, 100 * time.Millisecond, 2 * time.Second},
		{failure(providers.Blocked), api.CodePending, api.StateStale, 5 * time.Minute, 331 * time.Second},
		{failure(providers.Malformed), api.CodePending, api.StateStale, time.Minute, 67 * time.Second},
	} {
		for _, alive := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v, alive %v", row.err.Class, alive), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					u := &upstream{life: 2 * time.Hour}
					if !alive {
						u.answers(row.err)
					}
					r := newRig(t).start(u.credential("a", "id", "pw"))
					synctest.Wait()
					base := 1
					if alive {
						u.answers(row.err)
						r.untilRenewal("a")
						base = 2
						s := r.wantState("a", row.state)
						if s.Error == nil || s.Error.Code != row.code || s.Failures != 1 {
							t.Errorf("status: %+v", s)
						}
						r.want("a", "pw-login-1")
					} else if err := r.wantNone("a", row.code); row.by > 0 && err.RetryAfter == 0 {
						t.Errorf("no retry_after: %+v", err)
					}
					time.Sleep(row.before - time.Millisecond)
					r.wantAsked(u, base, 0)
					if row.by > 0 {
						time.Sleep(row.by - row.before)
						if logins, _ := u.asked(); logins <= base {
							t.Errorf("not tried again after %v", row.by)
						}
					}
				})
			})
		}
	}
}

// Failures and the next try outlive a restart, so that a crash loop is no storm.
func TestBackOffSurvivesRestarts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Throttled) }}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		synctest.Wait()
		for range 20 {
			time.Sleep(time.Second)
			r.restart(cred)
			r.wantNone("a", api.CodeThrottled)
		}
		r.wantAsked(u, 1, 0)
	})
}

// A rate limit is about the host, so other secrets wait as well; any other failure
// of the old secrets does not count for new ones.
func TestNewSecretsAfterFailures(t *testing.T) {
	for class, want := range map[providers.Class]int{providers.Throttled: 1, providers.Blocked: 2, providers.Malformed: 2} {
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{life: time.Hour, login: func(int) error { return failure(class) }}
			r := newRig(t).start(u.credential("a", "id", "old"))
			synctest.Wait()
			r.apply(u.credential("a", "id", "new"))
			time.Sleep(time.Second)
			r.wantAsked(u, want, 0)
		})
	}
}

// An attempt that a crash left behind counts: for back-off, for the budget, and for
// a refresh token that was on its way to a server that rotates them.
func TestAttemptLeftBehindCounts(t *testing.T) {
	for _, row := range []struct {
		name              string
		rotates           bool
		logins, refreshes int // when all is well again
	}{{"rotating", true, 2, 2}, {"not rotating", false, 1, 3}} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: 10 * time.Minute, takes: time.Second}
				u.refresh = func(n int, _ string) (string, error) {
					if row.rotates {
						return fmt.Sprintf("refresh-%d", n), nil
					}
					return "", nil
				}
				cred := u.credential("a", "id", "pw")
				r := newRig(t).start(cred)
				time.Sleep(time.Second)
				synctest.Wait()
				if _, err := r.Renew(t.Context(), "a", time.Minute); err != nil {
					t.Fatal(err)
				}
				r.wantAsked(u, 1, 1)
				r.untilRenewal("a")
				r.wantAsked(u, 1, 2) // and no answer yet
				r.crash(cred)
				r.want("a", "pw-refresh-1")
				s := r.wantState("a", api.StateStale)
				if s.Failures != 1 || !strings.Contains(s.Error.Detail, "something may have been sent") {
					t.Errorf("after the crash: %+v, %+v", s, s.Error)
				}
				r.wantAsked(u, 1, 2) // backing off
				time.Sleep(5 * time.Second)
				r.wantState("a", api.StateFresh)
				r.wantAsked(u, row.logins, row.refreshes)
			})
		})
	}
}

// The login budget holds over restarts and crashes in the middle of logins.
func TestCrashLoopStaysWithinTheBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: 2 * time.Second}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		for range 60 {
			time.Sleep(time.Second)
			r.crash(cred)
		}
		if logins, _ := u.asked(); logins > loginBurst+12 {
			t.Errorf("%d logins in a minute of crashes", logins)
		}
	})
}

func TestBudgetIsPerAccountAndHoldsForOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		r := newRig(t).start(u.credential("a", "id", "pw"), u.credential("b", "id", "pw"))
		r.wantAsked(u, 2, 0)
		for range 30 {
			r.Retry(t.Context(), "a", time.Second)
			r.Renew(t.Context(), "b", time.Second)
		}
		took := time.Minute // two waits of a second each time
		if logins, _ := u.asked(); logins > loginBurst+int(took/spacing(12)) {
			t.Errorf("%d logins in a minute", logins)
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		for i := loginBurst; i < len(u.at); i++ {
			if gap := u.at[i].Sub(u.at[i-loginBurst]); gap < spacing(12) {
				t.Errorf("%d logins within %v", loginBurst+1, gap)
			}
		}
	})
}

func TestPlacesPerHostAndSpreadStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: 3 * time.Second}
		var creds []*Credential
		for i := range 200 {
			creds = append(creds, u.credential(fmt.Sprintf("c%d", i), fmt.Sprintf("id%d", i), "pw"))
		}
		r := newRig(t).start(creds...)
		synctest.Wait()
		if logins, _ := u.asked(); logins > perHost {
			t.Errorf("%d logins at once at the start", logins)
		}
		if _, err := r.get("c199", time.Minute); err != nil {
			t.Errorf("a reader does not overcome the spread: %v", err)
		}
		time.Sleep(200 / perHost * 3 * time.Second)
		time.Sleep(spreadMost)
		r.wantAsked(u, 200, 0)
		if u.most != perHost {
			t.Errorf("%d renewals in flight to one host, want %d", u.most, perHost)
		}
	})
}

// Complaints cause renewals at once, then 10 s apart, doubling, and again at once
// after a token that lived past half its life unreported.
func TestWhatReadersCanCause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		complain := func() *api.Error {
			synctest.Wait()
			_, err := r.Report(t.Context(), "a", r.Cell("a").Status().Fingerprint, time.Minute)
			return err
		}
		if err := complain(); err != nil {
			t.Fatalf("the first complaint: %v", err)
		}
		for _, wait := range []time.Duration{10, 20, 40, 80} {
			err := complain()
			if err == nil || err.Code != api.CodeThrottled || err.RetryAfter != int(wait) {
				t.Fatalf("a complaint too early got %+v, want to come back in %d s", err, wait)
			}
			time.Sleep(wait*time.Second - time.Millisecond)
			if err := complain(); err == nil || err.Code != api.CodeThrottled {
				t.Fatalf("a complaint a moment too early got %v", err)
			}
			time.Sleep(time.Millisecond)
			if err := complain(); err != nil {
				t.Fatalf("after %d s: %v", wait, err)
			}
		}
		time.Sleep(31 * time.Minute) // past half of its life
		for _, want := range []api.Code{"", api.CodeThrottled} {
			err := complain()
			if got := code(err); got != want {
				t.Errorf("a complaint after a good token got %q, want %q", got, want)
			}
		}
	})
}

func code(err *api.Error) api.Code {
	if err == nil {
		return ""
	}
	return err.Code
}
