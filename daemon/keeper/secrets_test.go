package keeper

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// Secrets that are still to come are read at once and by themselves, and then the
// login is made; who waits, waits for both.
func TestSecretsComeBeforeTheLogin(t *testing.T) {
	vaultTest(t, "eager", func(t *testing.T, r *rig, v *vault) {
		v.slows(3 * time.Second)
		r.start(v.empty("t", "id"))
		r.wantState("a", api.StatePending)
		r.wantAsked(v.upstream, 0, 0)
		start := time.Now()
		if got, err := r.get("a", 10*time.Second); got != "pw-login-1" || time.Since(start) != 3*time.Second {
			t.Errorf("after %v: %q, %v", time.Since(start), got, err)
		}
		r.wantRead(v, 1, 0)
	})
	vaultTest(t, "lazy", func(t *testing.T, r *rig, v *vault) {
		c := v.empty("t", "id")
		c.Lazy = true
		v.gives("id", "pw", errVault)
		r.start(c)
		r.wantState("a", api.StatePending) // for whoever wrote the table to see
		time.Sleep(time.Minute)
		lazy := v.with("t", "id", "pw")
		lazy.Lazy = true
		r.apply(lazy)
		r.wantState("a", api.StateIdle)
		r.wantAsked(v.upstream, 0, 0)
		if got, err := r.get("a", time.Second); got != "pw-login-1" {
			t.Errorf("%q, %v", got, err)
		}
	})
}

// Sources that give nothing are asked again with back-off, and nothing is sent.
func TestUnreadableSecrets(t *testing.T) {
	vaultTest(t, "without a token", func(t *testing.T, r *rig, v *vault) {
		v.gives("", "", errVault)
		r.start(v.empty("t", "id"))
		s := r.wantState("a", api.StatePending)
		if s.Error == nil || s.Error.Code != api.CodePending || s.Error.Detail != errVault.Error() || s.Failures != 1 || s.RenewAt.IsZero() {
			t.Errorf("the status: %+v, %+v", s, s.Error)
		}
		if err := r.wantNone("a", api.CodePending); !strings.HasPrefix(err.Detail, errVault.Error()+"; next try in ") || err.RetryAfter == 0 {
			t.Errorf("the problem: %+v", err)
		}
		time.Sleep(2 * time.Hour)
		v.wantBackOff(t, backoffDead)
		r.wantAsked(v.upstream, 0, 0)
		if rec := r.recorded(); rec.Failures != 0 || !rec.Next.IsZero() || rec.Attempt != nil {
			t.Errorf("the record counts it among the logins: %+v", rec)
		}
		r.apply(v.empty("t", "id"))
		synctest.Wait()
		v.gives("id", "pw", nil)
		if got, err := r.get("a", 5*time.Minute); got != "pw-login-1" {
			t.Errorf("when they are there: %q, %v", got, err)
		}
		if n, _ := v.asked(); r.heard(EventUnread) != n-1 || r.heard(EventRead) != 1 {
			t.Errorf("%d readings, %d failed, %d mended", n, r.heard(EventUnread), r.heard(EventRead))
		}
		if s := r.wantState("a", api.StateFresh); s.Error != nil || s.Failures != 0 {
			t.Errorf("the status: %+v", s)
		}
	})
	vaultTest(t, "with older secrets", func(t *testing.T, r *rig, v *vault) {
		r.start(v.upstream.credential("a", "id", "old"))
		r.want("a", "old-login-1")
		v.gives("", "", errVault)
		v.slows(time.Millisecond)
		r.apply(v.older("t", "id", "old"))
		w := r.Watch("a")
		defer w.Close()
		w.Take()
		<-w.Ready
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if names, _ := w.Take(); len(names) != 1 {
			t.Error("who watches does not hear of it")
		}
		v.slows(0)
		s := r.wantState("a", api.StateFresh)
		if s.Error == nil || s.Error.Code != api.CodePending || s.Error.Detail != "the secrets of before are in use: "+errVault.Error() || s.Failures != 0 {
			t.Errorf("the status: %+v, %+v", s, s.Error)
		}
		time.Sleep(time.Hour)
		r.want("a", "old-login-2")
		v.wantBackOff(t, backoffCap)
		v.gives("id", "pw", nil)
		time.Sleep(backoffCap + time.Second)
		r.want("a", "pw-login-3")
		r.wantAsked(v.upstream, 3, 0)
		if s := r.wantState("a", api.StateFresh); s.Error != nil {
			t.Errorf("the status: %+v", s.Error)
		}
	})
}

// wantBackOff asserts that the vault was asked again later and later, up to top.
func (v *vault) wantBackOff(t *testing.T, top time.Duration) {
	t.Helper()
	v.mu.Lock()
	defer v.mu.Unlock()
	if len(v.looks) < 10 || len(v.looks) > 400 {
		t.Errorf("asked %d times", len(v.looks))
	}
	longest := time.Duration(0)
	for i := 1; i < len(v.looks); i++ {
		wait := v.looks[i].Sub(v.looks[i-1])
		if most := backoffBase/4 + doubled(backoffBase, i, top); wait < backoffBase/4 || wait > most+time.Millisecond {
			t.Errorf("look %d after %v, at most %v", i+1, wait, most)
		}
		longest = max(longest, wait)
	}
	if longest < top/4 {
		t.Errorf("it waits %v at most, want up to %v", longest, top)
	}
}

// A login waits for secrets that are being read rather than be made with those of
// before, which may be what the table was changed for; but not for ever.
func TestLoginWaitsForTheReading(t *testing.T) {
	vaultTest(t, "it ends", func(t *testing.T, r *rig, v *vault) {
		v.slows(10 * time.Second)
		r.start(v.older("t", "id", "old"))
		time.Sleep(10*time.Second - 1)
		r.wantAsked(v.upstream, 0, 0)
		time.Sleep(time.Nanosecond)
		r.want("a", "pw-login-1")
	})
	vaultTest(t, "it hangs", func(t *testing.T, r *rig, v *vault) {
		v.slows(time.Hour)
		r.start(v.older("t", "id", "old"))
		time.Sleep(readPatience - 1)
		r.wantAsked(v.upstream, 0, 0)
		time.Sleep(time.Second)
		r.want("a", "old-login-1")
		time.Sleep(time.Hour)
		r.want("a", "pw-login-3") // after a renewal with the old one
		r.wantRead(v, 1, 0)
	})
	vaultTest(t, "a refresh needs no secrets", func(t *testing.T, r *rig, v *vault) {
		v.upstream.refresh = func(int, string) (string, error) { return "", nil }
		r.start(v.with("t", "id", "pw"))
		r.want("a", "pw-login-1")
		v.slows(time.Hour)
		r.apply(v.older("u", "id", "pw"))
		time.Sleep(50 * time.Minute)
		r.want("a", "pw-refresh-1")
		r.wantRead(v, 1, 0)
	})
}

// After a restart a stored token serves while the secrets are being read, if it is
// known whose it is; nothing is forgotten if it is not.
func TestRestartWithSecretsToCome(t *testing.T) {
	stored := func(r *rig, v *vault, c *Credential) {
		r.start(v.with("t", "id", "pw"))
		r.want("a", "pw-login-1")
		v.slows(time.Minute)
		r.restart(c)
	}
	vaultTest(t, "the same secrets", func(t *testing.T, r *rig, v *vault) {
		stored(r, v, v.empty("t", "id"))
		r.want("a", "pw-login-1")
		time.Sleep(time.Minute)
		r.wantState("a", api.StateFresh)
		r.wantAsked(v.upstream, 1, 0)
		r.want("a", "pw-login-1")
	})
	vaultTest(t, "other secrets", func(t *testing.T, r *rig, v *vault) {
		v.gives("id", "new", nil)
		stored(r, v, v.empty("t", "id"))
		r.want("a", "pw-login-1")
		time.Sleep(time.Minute)
		r.want("a", "new-login-2")
	})
	vaultTest(t, "after a failure", func(t *testing.T, r *rig, v *vault) {
		v.upstream.answers(failure(providers.Malformed))
		r.start(v.with("t", "id", "pw"))
		r.wantAsked(v.upstream, 1, 0)
		r.restart(v.empty("t", "id"))
		time.Sleep(malformedWait - time.Second)
		r.wantAsked(v.upstream, 1, 0)
	})
	vaultTest(t, "no secrets", func(t *testing.T, r *rig, v *vault) {
		v.gives("", "", errVault)
		stored(r, v, v.empty("t", "id"))
		time.Sleep(50 * time.Minute)
		r.want("a", "pw-login-1")
		if s := r.wantState("a", api.StateStale); s.Error == nil || s.Error.Detail != errVault.Error() || s.Failures == 0 {
			t.Errorf("the status: %+v", s)
		}
		time.Sleep(11 * time.Minute)
		r.wantNone("a", api.CodePending)
		r.wantAsked(v.upstream, 1, 0)
	})
	vaultTest(t, "no secrets, and a complaint", func(t *testing.T, r *rig, v *vault) {
		v.gives("", "", errVault)
		stored(r, v, v.empty("t", "id"))
		v.slows(0)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		time.Sleep(time.Until(r.Cell("a").view.Load().next) - time.Millisecond)
		if _, err := r.Report(t.Context(), "a", api.Fingerprint("pw-login-1"), 0); err == nil || !strings.HasPrefix(err.Detail, errVault.Error()) {
			t.Errorf("it gets %v", err)
		}
		v.gives("id", "pw", nil)
		time.Sleep(10 * time.Minute)
		r.wantState("a", api.StateFresh)
		r.wantAsked(v.upstream, 1, 0) // while backing off it causes nothing
	})
	vaultTest(t, "an unknown identity", func(t *testing.T, r *rig, v *vault) {
		stored(r, v, v.empty("t", ""))
		r.wantNone("a", api.CodePending)
		time.Sleep(30 * time.Second)
		r.restart(v.empty("t", "")) // and once more before it is known
		r.wantNone("a", api.CodePending)
		time.Sleep(time.Minute)
		r.want("a", "pw-login-1")
		r.wantAsked(v.upstream, 1, 0)
	})
	vaultTest(t, "an unknown identity that is another", func(t *testing.T, r *rig, v *vault) {
		v.gives("other", "pw", nil)
		stored(r, v, v.empty("t", ""))
		time.Sleep(time.Minute)
		r.want("a", "pw-login-2")
	})
}

// What comes of a reading takes the place of the credential as a reload would.
func TestReadingChangesTheIdentity(t *testing.T) {
	vaultTest(t, "to another", func(t *testing.T, r *rig, v *vault) {
		r.start(v.with("t", "id", "pw"))
		r.want("a", "pw-login-1")
		v.gives("other", "new", nil)
		v.slows(time.Minute)
		r.apply(v.older("u", "id", "pw"))
		r.want("a", "pw-login-1")
		v.upstream.slows(time.Second)
		time.Sleep(time.Minute)
		r.wantNone("a", api.CodePending) // it goes at once
		time.Sleep(time.Second)
		r.want("a", "new-login-2")
	})
	vaultTest(t, "to what nobody knows yet", func(t *testing.T, r *rig, v *vault) {
		r.start(v.with("t", "id", "pw"))
		r.want("a", "pw-login-1")
		v.gives("", "", errVault)
		r.apply(v.empty("u", ""))
		r.wantNone("a", api.CodePending)
		if rec := r.recorded(); rec.Token != "" {
			t.Errorf("the record has the token of another: %+v", rec)
		}
		r.apply(v.empty("u", ""))
		synctest.Wait()
		v.gives("id", "pw", nil)
		time.Sleep(10 * time.Minute)
		r.want("a", "pw-login-2")
	})
	vaultTest(t, "to one that was refused", func(t *testing.T, r *rig, v *vault) {
		v.upstream.answers(failure(providers.Refused))
		r.start(v.upstream.credential("a", "id", "pw"))
		r.wantState("a", api.StateRefused)
		r.apply(v.empty("t", "id"))
		r.wantState("a", api.StateRefused)
		r.wantAsked(v.upstream, 1, 0)
	})
}

// Try reads the secrets too, since a check has no memory.
func TestTryReadsTheSecrets(t *testing.T) {
	vaultTest(t, "it", func(t *testing.T, _ *rig, v *vault) {
		if s, err := Try(t.Context(), v.empty("t", "id")); err != nil || s.Fingerprint != api.Fingerprint("pw-login-1") {
			t.Errorf("%+v, %v", s, err)
		}
		v.gives("", "", errVault)
		if _, err := Try(t.Context(), v.empty("t", "id")); err == nil || err.Code != api.CodePending || err.Detail != errVault.Error() {
			t.Errorf("%v", err)
		}
		if _, err := Try(t.Context(), v.older("t", "id", "old")); err == nil || err.Code != api.CodePending {
			t.Errorf("with older ones: %v", err)
		}
		synctest.Wait()
		if logins, _ := v.upstream.asked(); logins != 1 {
			t.Errorf("%d logins", logins)
		}
	})
}
