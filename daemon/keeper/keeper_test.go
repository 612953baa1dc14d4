package keeper

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

func TestTokenIsKeptFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute, takes: time.Second}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		if got, err := r.get("a", 10*time.Second); err != nil || got != "pw-login-1" {
			t.Fatalf("first token: %q, %v", got, err)
		}
		for range 24 * 60 {
			time.Sleep(time.Minute)
			s := r.wantState("a", api.StateFresh)
			if left := time.Until(s.ExpiresAt); left < 2*time.Minute {
				t.Fatalf("only %v left", left)
			}
		}
		if logins, _ := u.asked(); logins < 24*4 || logins > 24*7 {
			t.Errorf("%d logins in a day of 15 minute tokens", logins)
		}
	})
}

func TestThousandReadersOfAnExpiredTokenCauseOneLogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute, takes: 3 * time.Second}
		r := newRig(t).start()
		cred := u.credential("a", "id", "pw")
		cred.Lazy = true
		r.apply(cred)
		r.wantState("a", api.StateIdle)
		readers := func(want string) {
			t.Helper()
			var wg sync.WaitGroup
			for range 1000 {
				wg.Go(func() {
					if got, err := r.get("a", 10*time.Second); err != nil || got != want {
						t.Errorf("a reader got %q, %v", got, err)
					}
				})
			}
			wg.Wait()
		}
		readers("pw-login-1")
		r.wantAsked(u, 1, 0)
		time.Sleep(20 * time.Minute)
		r.wantState("a", api.StateIdle)
		readers("pw-login-2")
		r.wantAsked(u, 2, 0)
	})
}

// A lazy credential is renewed ahead if somebody read its token, and only then.
func TestLazy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		cred := u.credential("a", "id", "pw")
		cred.Lazy = true
		r := newRig(t).start(cred)
		time.Sleep(time.Hour)
		r.wantState("a", api.StateIdle)
		r.wantAsked(u, 0, 0)
		if got, err := r.get("a", time.Minute); err != nil || got != "pw-login-1" {
			t.Fatalf("the first reader got %q, %v", got, err)
		}
		time.Sleep(time.Minute)
		r.want("a", "pw-login-1") // so this one is renewed ahead
		time.Sleep(time.Hour)
		r.wantState("a", api.StateIdle) // and its successor is not
		r.wantAsked(u, 2, 0)
		if _, err := r.get("a", time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(14 * time.Minute)
		r.want("a", "pw-login-3") // read when its renewal was due already
		r.wantAsked(u, 4, 0)
		r.wantState("a", api.StateFresh)
	})
}

// I9, and the two clocks that I9 names: a usable token is served whatever else
// fails, and not a moment longer.
func TestI9UsableTokenIsServedUntilItsExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		r.want("a", "pw-login-1")
		expires := r.Cell("a").Status().ExpiresAt
		u.answers(failure(providers.Malformed))
		for time.Until(expires) > time.Minute {
			r.want("a", "pw-login-1")
			time.Sleep(30 * time.Second)
		}
		s := r.wantState("a", api.StateStale)
		if !s.Usable || s.Error == nil || s.Error.Code != api.CodePending {
			t.Errorf("stale: %+v", s)
		}
		time.Sleep(time.Until(expires) - time.Millisecond)
		r.want("a", "pw-login-1")
		time.Sleep(time.Millisecond)
		r.wantNone("a", api.CodePending)
		if s := r.wantState("a", api.StatePending); s.Usable {
			t.Error("a dead token is called usable")
		}
	})
}

// I2: whatever readers, operators and reloads do, one request is under way at most.
func TestI2OneRenewalInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Minute, takes: 2 * time.Second}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				for range 20 {
					time.Sleep(time.Duration(i+1) * 177 * time.Millisecond)
					switch i % 5 {
					case 0:
						r.Renew(t.Context(), "a", time.Second)
					case 1:
						r.Retry(t.Context(), "a", time.Second)
					case 2:
						r.Drop(t.Context(), "a", time.Second)
					case 3:
						r.Report(t.Context(), "a", r.Cell("a").Status().Fingerprint, time.Second)
					default:
						r.apply(u.credential("a", "id", []string{"pw", "other"}[i/5%2]))
					}
				}
			})
		}
		wg.Wait()
		time.Sleep(time.Minute)
		r.wantState("a", api.StateFresh)
		if u.most != 1 {
			t.Errorf("%d requests at once", u.most)
		}
	})
}

// I2 holds over an identity change too: the old renewal has ended before the new starts.
func TestI2I4IdentityChangeInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: 5 * time.Second}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		synctest.Wait()
		r.apply(u.credential("a", "other", "pw"))
		time.Sleep(6 * time.Second)
		r.wantState("a", api.StateFresh)
		r.want("a", "pw-login-2")
		if u.most != 1 {
			t.Errorf("%d requests at once", u.most)
		}
		if r.heard(EventDiscarded) != 1 {
			t.Error("nobody heard that a result was discarded")
		}
	})
}

// I4: a removed credential's renewal leads to nothing, not even after a restart.
func TestI4RemovedInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: 5 * time.Second}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		synctest.Wait()
		cell := r.Cell("a")
		if c := r.apply(); c.Removed != 1 {
			t.Errorf("change: %+v", c)
		}
		time.Sleep(time.Minute)
		if _, err := cell.Token(t.Context(), Demand{MinTTL: -1}); err == nil || err.Code != api.CodeUnknown {
			t.Errorf("a removed credential answers %v", err)
		}
		r.restart()
		if rec := r.store.Records()["a"]; rec.Token != "" || rec.Removed.IsZero() {
			t.Errorf("stored after removal: token %t, removed %v", rec.Token != "", rec.Removed)
		}
	})
}

// I4: after a change of secrets alone the result in flight is kept, and a login with
// the new secrets follows.
func TestI4SecretsChangeInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: 5 * time.Second}
		r := newRig(t).start(u.credential("a", "id", "old"))
		synctest.Wait()
		r.apply(u.credential("a", "id", "new"))
		time.Sleep(5 * time.Second)
		r.want("a", "old-login-1")
		time.Sleep(6 * time.Second)
		r.want("a", "new-login-2")
		r.wantAsked(u, 2, 0)
	})
}

// I7: a stop lets what is in flight finish, and its result is there after the restart.
func TestI7StopLetsRenewalsFinish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: 8 * time.Second}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		synctest.Wait()
		r.restart(cred)
		r.want("a", "pw-login-1")
		r.wantAsked(u, 1, 0)
	})
}

func TestStopDoesNotWaitBeyondTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: time.Hour}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		synctest.Wait()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			if _, err := r.get("a", 5*time.Minute); err == nil || err.Code != api.CodePending {
				t.Errorf("a reader who waited got %v", err)
			}
		})
		before := time.Now()
		r.stop()
		if took := time.Since(before); took != 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
		waiting.Wait()
	})
}

func TestStopSendsWaitersAwayWhoseRenewalIsNotInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Malformed) }}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		synctest.Wait()
		var waiting sync.WaitGroup
		waiting.Go(func() {
			_, err := r.get("a", 5*time.Minute) // the next try is due in a minute
			if err == nil || err.Code != api.CodePending || err.RetryAfter != 1 {
				t.Errorf("got %+v", err)
			}
		})
		synctest.Wait()
		before := time.Now()
		r.stop()
		waiting.Wait()
		if took := time.Since(before); took != 0 {
			t.Errorf("stopping took %v", took)
		}
	})
}
