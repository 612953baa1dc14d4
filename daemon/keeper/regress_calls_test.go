package keeper

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// More faults that once were in the keeper: what callers were told, and when.

// Whoever waits for a renewal that has not begun is sent away when tokend stops, and
// everybody is once it has stopped.
func TestStopLeavesNobodyWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: time.Hour}
		var creds []*Credential
		for i := range perHost + 1 {
			creds = append(creds, u.credential(fmt.Sprintf("c%d", i), fmt.Sprintf("id%d", i), "pw"))
		}
		r := newRig(t).start(creds...)
		synctest.Wait()
		stopped := time.Now()
		var waiting sync.WaitGroup
		for i, cred := range creds {
			waiting.Go(func() {
				_, err := r.get(cred.Name, 5*time.Minute)
				if code(err) != api.CodePending || err.RetryAfter != 1 {
					t.Errorf("%s: a reader got %+v", cred.Name, err)
				}
				if waited := time.Since(stopped); i == perHost && waited != 0 || waited > 10*time.Second {
					t.Errorf("%s: a reader waited %v", cred.Name, waited)
				}
			})
		}
		synctest.Wait()
		r.stop()
		waiting.Wait()
	})
}

// A refusal that was lifted says what it was until the next try has ended.
func TestLiftedRefusalKeepsItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		u.answers(failure(providers.Refused))
		r := newRig(t).start(u.credential("a", "id", "pw"))
		r.wantNone("a", api.CodeRefused)
		u.slows(time.Second)
		go r.Retry(t.Context(), "a", 0)
		if err := r.wantNone("a", api.CodePending); !strings.Contains(err.Detail, "the provider said refused") {
			t.Errorf("a reader is told %q", err.Detail)
		}
	})
}

// A first login whose end nobody saw because of a reload may have asked for a code.
func TestReloadDuringTheFirstLoginAsksForNoOtherCode(t *testing.T) {
	for name, reload := range map[string]func(*rig, *Credential){
		"removed and added again": func(r *rig, cred *Credential) { r.apply(); r.apply(cred) },
		"other secrets": func(r *rig, cred *Credential) {
			other := *cred
			other.Secrets[0]++
			r.apply(&other)
		},
	} {
		for _, answered := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, answered %v", name, answered), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p, cred := newPhone()
					p.slows(time.Second)
					if !answered {
						p.answers(failure(providers.Transient))
					}
					r := newRig(t).start(cred)
					synctest.Wait()
					reload(r, cred)
					time.Sleep(time.Hour)
					r.wantState("a", api.StateChallenge)
					r.wantAsked(p.upstream, 1, 0)
				})
			})
		}
	}
}

// Who was held back at first, and then waited for a renewal that came by itself and
// failed, is told that.
func TestHeldBackReaderHearsOfTheFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 2 * time.Minute}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		if _, err := r.Report(t.Context(), "a", r.wantState("a", api.StateFresh).Fingerprint, time.Minute); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		time.Sleep(5 * time.Second)
		u.answers(failure(providers.Refused))
		if _, err, _ := r.demand(119*time.Second, 5*time.Minute); code(err) != api.CodeShort || !strings.Contains(err.Detail, "the provider said refused") {
			t.Errorf("got %+v", err)
		}
	})
}

// An answer without a sane token may have rotated the refresh token all the same.
func TestMalformedRefreshSpendsARotatingToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 10 * time.Minute}
		u.refresh = func(int, string) (string, error) { return "", failure(providers.Malformed) }
		r := newRig(t).start(u.credential("a", "id", "pw"))
		r.untilRenewal("a")
		time.Sleep(2 * time.Minute)
		r.want("a", "pw-login-2")
		r.wantAsked(u, 2, 1)
	})
}

// What an operator's call waits for is what came of that call, not of what ended just
// before it.
func TestOperatorGetsWhatCameOfTheCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: time.Second}
		r := newRig(t)
		r.noSave = true
		r.start(u.credential("a", "id", "pw"))
		time.Sleep(durableWait + time.Second) // the token came, and is not written yet
		synctest.Wait()
		release := make(chan struct{})
		go r.post(func() { <-release })
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		wrote := make(chan error)
		go func() { wrote <- r.store.Run(ctx) }() // and now it is; the owner hears of it first
		synctest.Wait()
		done := make(chan api.Status)
		go func() {
			s, err := r.Drop(t.Context(), "a", time.Minute)
			if err != nil {
				t.Error(err)
			}
			done <- s
		}()
		synctest.Wait()
		close(release)
		if s := <-done; !s.Usable {
			t.Errorf("the drop ended with %+v", s)
		}
		cancel()
		<-wrote
	})
}

// I3 holds for a login whose record was emptied by a drop while it was being written:
// the store gets its time again.
func TestI3DroppedWhileBeingWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: time.Second}
		r := newRig(t)
		r.noSave = true
		r.start(u.credential("a", "id", "pw"))
		time.Sleep(durableWait + time.Second) // the token came
		synctest.Wait()
		r.Drop(t.Context(), "a", 0)
		time.Sleep(2*durableWait - time.Second)
		r.wantNone("a", api.CodePending)
		time.Sleep(time.Second)
		r.want("a", "pw-login-1")
	})
}
