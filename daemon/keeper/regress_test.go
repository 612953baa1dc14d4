package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// Each test here is a fault that once was in the keeper.

// A removed credential's day ends whether or not tokend was restarted in between.
func TestRemovedIsForgottenAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Refused) }}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		r.wantNone("a", api.CodeRefused)
		r.apply()
		r.restart()
		time.Sleep(25 * time.Hour)
		r.apply(cred)
		r.wantAsked(u, 2, 0)
		r.apply()
		r.stop()
		time.Sleep(25 * time.Hour)
		r.start()
		r.restart()
		if records := r.store.Records(); len(records) != 0 {
			t.Errorf("%d records left", len(records))
		}
	})
}

// Removing, adding again and removing while tokend is stopped leaves a whole day from
// the last removal.
func TestRemovalCountsFromTheLastOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Refused) }}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		r.wantNone("a", api.CodeRefused)
		r.apply()
		r.apply(cred)
		time.Sleep(30 * 24 * time.Hour)
		r.restart()
		time.Sleep(time.Hour)
		r.apply(cred)
		r.wantNone("a", api.CodeRefused)
		r.wantAsked(u, 1, 0)
	})
}

// A removed credential's token leaves the disk, and after a day all else, though the
// store could not write when it was time.
func TestRemovalIsWrittenOnceTheStoreCan(t *testing.T) {
	for after, want := range map[time.Duration]int{0: 1, 25 * time.Hour: 0} {
		t.Run(after.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: 100 * time.Hour}
				r := newRig(t).start(u.credential("a", "id", "pw"))
				r.want("a", "pw-login-1")
				away := filepath.Join(t.TempDir(), "tokens.db")
				r.swap(r.path, away)
				if err := os.WriteFile(r.path, nil, 0o600); err != nil { // the store does not write over it
					t.Fatal(err)
				}
				r.apply()
				time.Sleep(after)
				synctest.Wait()
				r.swap(away, r.path)
				time.Sleep(2 * time.Minute)
				r.crash()
				records := r.store.Records()
				if len(records) != want || records["a"].Token != "" {
					t.Errorf("%d records, and a token %t", len(records), records["a"].Token != "")
				}
			})
		})
	}
}

// A lazy credential that was read early in its token's life is renewed ahead too.
func TestLazyIsRenewedAheadWheneverItWasRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		cred := u.credential("a", "id", "pw")
		cred.Lazy = true
		r := newRig(t).start(cred)
		if _, err := r.get("a", time.Minute); err != nil {
			t.Fatal(err)
		}
		r.want("a", "pw-login-1")
		time.Sleep(14 * time.Minute)
		r.wantAsked(u, 2, 0)
	})
}

// A lazy credential that fails when nobody has read, or before a restart, serves the
// next reader as well as any other.
func TestLazyIsNotStuckAfterAFailure(t *testing.T) {
	for name, after := range map[string]func(*rig, *Credential){
		"restart": func(r *rig, cred *Credential) {
			r.get("a", 0)
			synctest.Wait()
			r.restart(cred)
		},
		"operator": func(r *rig, _ *Credential) { r.Renew(r.t.Context(), "a", 0) },
	} {
		for _, wait := range []time.Duration{0, time.Hour} {
			t.Run(fmt.Sprintf("%s, %v later", name, wait), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					u := &upstream{life: time.Hour}
					u.answers(failure(providers.Transient))
					cred := u.credential("a", "id", "pw")
					cred.Lazy = true
					r := newRig(t).start(cred)
					after(r, cred)
					synctest.Wait()
					u.answers(nil)
					time.Sleep(wait)
					if _, err := r.get("a", 10*time.Second); err != nil {
						t.Errorf("a reader got %+v", err)
					}
				})
			})
		}
	}
}

// I8: what was refused under one name is not sent under another that waits its turn.
func TestI8RefusalHoldsForEveryName(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		one, other := u.credential("a", "id", "pw"), u.credential("b", "id", "pw")
		r := newRig(t).start(one, other)
		r.wantAsked(u, 2, 0)
		u.answers(failure(providers.Refused))
		if _, err := r.Renew(t.Context(), "a", time.Minute); code(err) != api.CodeRefused {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Hour)
		r.wantNone("b", api.CodeRefused)
		r.wantAsked(u, 3, 0)
		// The record of the other name is not the only one that knows.
		r.apply(other)
		time.Sleep(25 * time.Hour)
		r.apply(other)
		r.restart(other)
		r.wantNone("b", api.CodeRefused)
		r.wantAsked(u, 3, 0)
	})
}

// Once the secrets changed, nothing but a login will do, also after one that failed.
func TestLoginWithNewSecretsIsTriedUntilItIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 10 * time.Hour}
		u.refresh = func(int, string) (string, error) { return "", nil }
		r := newRig(t).start(u.credential("a", "id", "old"))
		r.want("a", "old-login-1")
		u.answers(failure(providers.Malformed))
		r.apply(u.credential("a", "id", "new"))
		r.wantState("a", api.StateStale)
		u.answers(nil)
		time.Sleep(2 * time.Minute)
		r.want("a", "new-login-3")
		r.wantAsked(u, 3, 0)
	})
}

// A login that was under way when an operator dropped the token is the login that
// the drop asks for.
func TestDropDuringALoginNeedsNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		synctest.Wait()
		p.slows(2 * time.Second)
		go r.answer("1234")
		time.Sleep(time.Second)
		if s, err := r.Drop(t.Context(), "a", time.Minute); err != nil || s.State != api.StateFresh {
			t.Errorf("drop: %+v, %v", s, err)
		}

		u := &upstream{life: time.Hour, takes: time.Second}
		r.apply(cred, u.credential("b", "id", "pw"))
		synctest.Wait()
		r.Drop(t.Context(), "b", time.Minute)
		time.Sleep(time.Minute)
		r.wantAsked(u, 1, 0)
	})
}

// Secrets that were changed and changed back during a login need no other.
func TestSecretsThereAndBackDuringALogin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: time.Second}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		synctest.Wait()
		r.apply(u.credential("a", "id", "other"))
		r.apply(u.credential("a", "id", "pw"))
		time.Sleep(time.Minute)
		r.want("a", "pw-login-1")
		r.wantAsked(u, 1, 0)
	})
}

// The owner does not spin while an answer is on its way and its question ran out.
func TestNoHotLoopWhenAQuestionRunsOutInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		r := newRig(t).start(cred)
		synctest.Wait()
		time.Sleep(5*time.Minute - time.Second)
		p.slows(time.Minute)
		go r.answer("1234")
		time.Sleep(2 * time.Second)
		r.wantState("a", api.StateChallenge)
		r.call(t.Context(), func() {
			if wait := time.Until(r.entries["a"].due); r.entries["a"].index >= 0 && wait < time.Second {
				t.Errorf("the owner looks again in %v", wait)
			}
		})
	})
}

// What is known of one identity is not taken for another's.
func TestNewIdentityStartsFromNothing(t *testing.T) {
	for _, how := range []string{"reload", "restart"} {
		t.Run(how, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: time.Hour}
				cred, next := u.credential("a", "id", "pw"), u.credential("a", "other", "pw")
				cred.Asks, next.Asks = true, true
				r := newRig(t).start(cred)
				r.want("a", "pw-login-1")
				u.life = 3 * time.Hour
				u.answers(failure(providers.Transient))
				if how == "reload" {
					r.apply(next)
				} else {
					r.restart(next)
				}
				// Its first login may have asked for a code, so there is no second.
				if s := r.wantState("a", api.StateChallenge); !s.LastRenewal.IsZero() {
					t.Errorf("last renewal at %v", s.LastRenewal)
				}
				time.Sleep(time.Hour)
				r.wantAsked(u, 2, 0)
				// Its tokens may live longer.
				u.answers(nil)
				u.slows(time.Second)
				go r.Retry(t.Context(), "a", time.Minute)
				synctest.Wait()
				if _, err, _ := r.demand(2*time.Hour, time.Minute); err != nil {
					t.Errorf("a demand got %+v", err)
				}
			})
		})
	}
}

// A budget that one account has spent is not another's after a restart.
func TestBudgetStaysWithItsAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		for range loginBurst {
			r.Renew(t.Context(), "a", 0)
			synctest.Wait()
		}
		next := u.credential("a", "id", "other")
		next.Lazy = true
		r.apply(next)
		synctest.Wait()
		r.restart(next)
		if _, err := r.get("a", 0); err != nil {
			t.Fatal(err)
		}
		r.want("a", "other-login-4")
	})
}

// A refusal that another name met with ends an open question too.
func TestRefusalEndsAnOpenQuestion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, cred := newPhone()
		other := *cred
		other.Name = "b"
		r := newRig(t).start(cred)
		r.wantState("a", api.StateChallenge)
		p.answers(failure(providers.Misconfigured))
		r.apply(cred, &other)
		r.wantState("b", api.StateRefused)
		r.apply(cred, &other)
		if s := r.wantState("a", api.StateRefused); s.Challenge != nil {
			t.Errorf("still there: %+v", s.Challenge)
		}
		if err := r.answer("1234"); code(err) != api.CodeChallenge {
			t.Errorf("an answer got %v", err)
		}
		r.wantAsked(p.upstream, 2, 0)
	})
}

// swap renames a file while tokend runs.
func (r *rig) swap(from, to string) {
	r.t.Helper()
	if err := os.Rename(from, to); err != nil {
		r.t.Fatal(err)
	}
}
