package keeper

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// I1: while the owner is held up, nothing that anybody does changes anything.
func TestI1OnlyTheOwnerChangesState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		r.want("a", "pw-login-1")
		release := make(chan struct{})
		go r.post(func() { <-release })
		synctest.Wait()
		seen := r.Cell("a").view.Load()
		ctx, cancel := context.WithCancel(t.Context())
		for range 10 {
			go r.Renew(ctx, "a", time.Minute)
			go r.Retry(ctx, "a", time.Minute)
			go r.Drop(ctx, "a", time.Minute)
			go r.Report(ctx, "a", r.Cell("a").Status().Fingerprint, time.Minute)
			go r.Apply(ctx, nil)
			go r.Cell("a").Token(ctx, Demand{MinTTL: 14 * time.Minute, Wait: time.Minute})
		}
		time.Sleep(12 * time.Minute)
		synctest.Wait()
		if r.Cell("a").view.Load() != seen {
			t.Error("the view changed behind the owner's back")
		}
		r.wantAsked(u, 1, 0)
		r.want("a", "pw-login-1") // readers do not wait for the owner
		cancel()
		synctest.Wait()
		close(release)
	})
}

// I3: what a caller saw is there after a crash in the next instant.
func TestI3TokenIsDurableBeforeAnybodySeesIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute, takes: time.Second}
		u.refresh = func(n int, _ string) (string, error) { return fmt.Sprintf("rotated-%d", n), nil }
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		for i := range 10 {
			if i > 0 {
				if _, err := r.Renew(t.Context(), "a", time.Minute); err != nil {
					t.Fatal(err)
				}
			}
			seen, err := r.get("a", time.Minute)
			if err != nil {
				t.Fatal(err)
			}
			r.crash(cred)
			r.want("a", seen)
		}
		r.wantAsked(u, 1, 9)
	})
}

// I3: with a store that does not write, readers get the token after two seconds for
// the attempt and two for the token, and everybody hears of it.
func TestI3StalledStoreIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		r := newRig(t)
		r.noSave = true
		r.start(u.credential("a", "id", "pw"))
		time.Sleep(2*durableWait - time.Millisecond)
		r.wantNone("a", api.CodePending)
		time.Sleep(time.Millisecond)
		r.want("a", "pw-login-1")
		if s := r.wantState("a", api.StateFresh); s.Saved {
			t.Error("the status says that the token is saved")
		}
		if r.heard(EventUnsaved) != 1 {
			t.Error("nobody heard that the store stalls")
		}
		ctx, cancel := context.WithCancel(t.Context())
		wrote := make(chan error)
		go func() { wrote <- r.store.Run(ctx) }()
		if s := r.wantState("a", api.StateFresh); !s.Saved || r.heard(EventSaved) != 1 {
			t.Error("nobody heard that the store writes again")
		}
		cancel()
		<-wrote
	})
}

// I3: with a store that fails, readers get the token at once, and the write is tried
// again and again.
func TestI3FailingStoreIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		r := newRig(t)
		r.noSave = true
		r.start()
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		r.store.Run(ended) // from here on every write fails
		r.apply(u.credential("a", "id", "pw"))
		r.want("a", "pw-login-1")
		if s := r.wantState("a", api.StateFresh); s.Saved {
			t.Error("the status says that the token is saved")
		}
		time.Sleep(time.Hour)
		if s := r.wantState("a", api.StateFresh); s.Saved {
			t.Error("the status says that the token is saved")
		}
		if n := r.heard(EventUnsaved); n != 1 {
			t.Errorf("an operator heard %d times of one trouble", n)
		}
	})
}

// I5: a stored token is used for the same identity only; the secrets may differ, then
// a login follows.
func TestI5StoredTokenIsForTheSameIdentity(t *testing.T) {
	for _, row := range []struct {
		identity, secret string
		served           string // at once
		then             string
	}{
		{"id", "pw", "pw-login-1", "pw-login-1"},
		{"id", "new", "pw-login-1", "new-login-2"},
		{"other", "pw", "", "pw-login-2"},
	} {
		for _, how := range []string{"restart", "reload", "removal"} {
			t.Run(fmt.Sprintf("%s, %s, %s", how, row.identity, row.secret), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					u := &upstream{life: time.Hour}
					r := newRig(t).start(u.credential("a", "id", "pw"))
					r.want("a", "pw-login-1")
					u.slows(time.Second)
					served, then := row.served, row.then
					next := u.credential("a", row.identity, row.secret)
					switch how {
					case "restart":
						r.restart(next)
					case "reload":
						r.apply(next)
					case "removal": // what was removed is gone
						r.apply()
						r.apply(next)
						served, then = "", row.secret+"-login-2"
					}
					if served != "" {
						r.want("a", served)
					} else {
						r.wantNone("a", api.CodePending)
					}
					time.Sleep(2 * time.Second)
					r.want("a", then)
				})
			})
		}
	}
}

// What the governor remembers of a removed credential stays a day, and no longer.
func TestRemovedIsRememberedForADay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, login: func(int) error { return failure(providers.Refused) }}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		r.wantNone("a", api.CodeRefused)
		r.apply()
		time.Sleep(23 * time.Hour)
		r.apply(cred)
		r.wantNone("a", api.CodeRefused)
		r.wantAsked(u, 1, 0)
		r.apply()
		time.Sleep(25 * time.Hour)
		r.restart()
		if records := r.store.Records(); len(records) != 0 {
			t.Errorf("%d records left", len(records))
		}
		r.apply(cred)
		r.wantAsked(u, 2, 0)
	})
}

// A file that was never in force leaves the records alone.
func TestNothingIsForgottenBeforeTheFirstFile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 100 * time.Hour}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		r.want("a", "pw-login-1")
		r.stop()
		idle := newRig(t)
		idle.path = r.path
		idle.startIdle()
		time.Sleep(30 * time.Hour)
		idle.stop()
		r.start(cred)
		r.want("a", "pw-login-1")
	})
}

func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 10 * time.Minute}
		u.refresh = func(n int, with string) (string, error) {
			if want := fmt.Sprintf("rotated-%d", n-1); n > 1 && with != want {
				t.Errorf("refresh %d came with %q, want %q", n, with, want)
			}
			return fmt.Sprintf("rotated-%d", n), nil
		}
		cred := u.credential("a", "id", "pw")
		r := newRig(t).start(cred)
		r.wantAsked(u, 1, 0)
		r.untilRenewal("a")
		r.wantAsked(u, 1, 1)
		r.restart(cred)
		r.untilRenewal("a")
		r.wantAsked(u, 1, 2)
		r.want("a", "pw-refresh-2")
		r.apply(u.credential("a", "id", "new")) // what was refreshed with the old secrets is not enough
		r.want("a", "new-login-2")
	})
}

func TestRefreshTurnedDown(t *testing.T) {
	for class, again := range map[providers.Class]int{
		providers.RefreshRefused: 2, providers.NoRefresh: 1, providers.Refused: 2, providers.Misconfigured: 2,
	} {
		t.Run(class.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: 10 * time.Minute}
				u.refresh = func(int, string) (string, error) { return "", failure(class) }
				cred := u.credential("a", "id", "pw")
				r := newRig(t).start(cred)
				r.untilRenewal("a")
				r.want("a", "pw-login-2")
				r.wantAsked(u, 2, 1)
				r.restart(cred)
				r.untilRenewal("a")
				r.wantAsked(u, 3, again)
				r.wantState("a", api.StateFresh)
			})
		})
	}
}

// A refresh that fails again and again, though the server is there, gives way to a
// login.
func TestLoginAfterFailedRefreshes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 10 * time.Minute}
		u.refresh = func(n int, _ string) (string, error) {
			if n == 1 {
				return "", nil // so it does not rotate them
			}
			return "", failure(providers.Transient)
		}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		r.untilRenewal("a")
		r.wantAsked(u, 1, 1)
		time.Sleep(10 * time.Minute)
		r.wantState("a", api.StateFresh)
		r.wantAsked(u, 2, 1+refreshTries)
	})
}

// The login comes ahead of the refresh token's own end.
func TestLoginAheadOfTheRefreshTokensEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 10 * time.Minute}
		u.refresh = func(int, string) (string, error) { return "", nil }
		r := newRig(t).start(u.credential("a", "id", "pw"))
		time.Sleep(21 * time.Hour)
		if logins, _ := u.asked(); logins != 1 {
			t.Errorf("%d logins before the refresh token nears its end", logins)
		}
		time.Sleep(2 * time.Hour)
		if logins, _ := u.asked(); logins != 2 {
			t.Errorf("%d logins an hour before the refresh token ends", logins)
		}
		r.wantState("a", api.StateFresh)
	})
}

// Changed secrets do not wait for their turn in a start of many.
func TestChangedSecretsOvertakeAStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		var creds []*Credential
		for i := range 1000 {
			creds = append(creds, u.credential(fmt.Sprintf("c%d", i), fmt.Sprintf("id%d", i), "pw"))
		}
		r := newRig(t).start(creds...)
		synctest.Wait()
		changed := 0
		for i, c := range creds {
			if changed < 5 && r.Cell(c.Name).Status().State == api.StatePending {
				changed++
				creds[i] = u.credential(c.Name, fmt.Sprintf("id%d", i), "new")
			}
		}
		r.apply(creds...)
		synctest.Wait()
		for _, c := range creds {
			if c.Provider.(client).secret == "new" {
				r.wantState(c.Name, api.StateFresh)
			}
		}
	})
}
