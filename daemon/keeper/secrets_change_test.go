package keeper

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// What a reload, a removal, a stop and an operator make of a reading under way.

func TestReloadDuringAReading(t *testing.T) {
	vaultTest(t, "with the same sources", func(t *testing.T, r *rig, v *vault) {
		v.slows(time.Minute)
		r.start(v.empty("t", "id"))
		time.Sleep(time.Second)
		again := v.empty("t", "id")
		again.RenewAt = 0.5
		r.apply(again)
		r.wantRead(v, 1, 0)
		v.slows(0)
		time.Sleep(time.Minute)
		r.want("a", "pw-login-1")
		r.wantRead(v, 2, 0)
		if at := r.Cell("a").view.Load().cred.RenewAt; at != 0.75 { // the vault's own
			t.Errorf("renew_at %v", at)
		}
	})
	vaultTest(t, "with the secrets", func(t *testing.T, r *rig, v *vault) {
		v.slows(time.Minute)
		r.start(v.empty("t", "id"))
		r.wantRead(v, 1, 0)
		r.apply(v.with("t", "id", "pw"))
		r.want("a", "pw-login-1")
		r.wantRead(v, 1, 1)
	})
	vaultTest(t, "with other sources", func(t *testing.T, r *rig, v *vault) {
		v.gives("id", "wrong", nil)
		v.slows(time.Minute)
		r.start(v.older("t", "id", "old"))
		r.wantRead(v, 1, 0)
		v.gives("id", "pw", nil)
		v.slows(time.Second)
		r.apply(v.older("u", "id", "old"))
		r.wantRead(v, 2, 1)
		time.Sleep(time.Second)
		r.want("a", "pw-login-1")
		time.Sleep(2 * time.Minute)
		r.wantRead(v, 2, 1)
	})
	vaultTest(t, "with other sources after failures", func(t *testing.T, r *rig, v *vault) {
		v.gives("", "", errVault)
		r.start(v.empty("t", "id"))
		time.Sleep(10 * time.Minute)
		v.gives("id", "pw", nil)
		r.apply(v.empty("u", "id"))
		r.want("a", "pw-login-1") // at once
	})
	vaultTest(t, "with the same sources after failures", func(t *testing.T, r *rig, v *vault) {
		v.gives("", "", errVault)
		r.start(v.empty("t", "id"))
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		before, _ := v.asked()
		for range 50 {
			r.apply(v.empty("t", "id"))
		}
		r.wantRead(v, before, 0)
		if s := r.wantState("a", api.StatePending); s.Error == nil {
			t.Error("the reason is forgotten")
		}
	})
	vaultTest(t, "without the credential", func(t *testing.T, r *rig, v *vault) {
		v.slows(time.Minute)
		r.start(v.empty("t", "id"))
		r.wantRead(v, 1, 0)
		r.apply()
		r.wantRead(v, 1, 1)
		r.apply(v.empty("t", "id"))
		r.wantRead(v, 2, 1)
		time.Sleep(time.Minute)
		r.want("a", "pw-login-1")
		r.wantRead(v, 2, 1)
	})
}

// A reload that was overtaken by a reading does not bring the older secrets back.
func TestReloadThatWasOvertaken(t *testing.T) {
	vaultTest(t, "by the reading of what is to come", func(t *testing.T, r *rig, v *vault) {
		v.slows(time.Second)
		r.start(v.older("t", "id", "old"))
		late := v.with("t", "id", "old")
		time.Sleep(time.Second)
		r.want("a", "pw-login-1")
		late.RenewAt = 0.5
		r.apply(late)
		r.want("a", "pw-login-1")
		r.wantRead(v, 2, 0) // for what else the reload brought
		time.Sleep(time.Second)
		r.want("a", "pw-login-1")
		r.wantAsked(v.upstream, 1, 0)
	})
	vaultTest(t, "by that before a refusal", func(t *testing.T, r *rig, v *vault) {
		v.upstream.login = func(n int) error {
			if n == 1 {
				return failure(providers.Refused)
			}
			return nil
		}
		late := v.with("t", "id", "old")
		time.Sleep(time.Second)
		r.start(v.with("t", "id", "old"))
		r.want("a", "pw-login-2")
		r.apply(late)
		r.want("a", "pw-login-2")
		r.wantState("a", api.StateFresh)
	})
	vaultTest(t, "while a refusal is looked at", func(t *testing.T, r *rig, v *vault) {
		v.upstream.answers(failure(providers.Refused))
		v.slows(time.Second)
		r.start(v.with("t", "id", "old"))
		r.wantRead(v, 1, 0)
		r.apply(v.with("t", "id", "old")) // it knows nothing better
		v.upstream.answers(nil)
		time.Sleep(2 * time.Second)
		r.want("a", "pw-login-2")
		r.wantRead(v, 2, 0)
	})
}

// A stop does not wait for who gives secrets, nor does anybody then.
func TestStopDuringAReading(t *testing.T) {
	vaultTest(t, "of what is to come", func(t *testing.T, r *rig, v *vault) {
		v.slows(time.Hour)
		r.start(v.empty("t", "id"))
		got := make(chan *api.Error, 1)
		go func() {
			_, err := r.get("a", time.Minute)
			got <- err
		}()
		synctest.Wait()
		start := time.Now()
		r.stop()
		if err := <-got; err == nil || err.Code != api.CodePending || time.Since(start) != 0 {
			t.Errorf("a waiter got %v, and the stop took %v", err, time.Since(start))
		}
		if _, killed := v.asked(); killed != 1 || r.heard(EventUnread) != 0 {
			t.Errorf("%d cancelled, %d failures", killed, r.heard(EventUnread))
		}
	})
	for name, end := range map[string]func(*rig, *Credential){
		"of a refusal": func(r *rig, c *Credential) { r.restart(c) },
		"by a crash":   func(r *rig, c *Credential) { r.crash(c) },
	} {
		vaultTest(t, name, func(t *testing.T, r *rig, v *vault) {
			v.upstream.answers(failure(providers.Refused))
			v.slows(lookTime)
			r.start(v.with("t", "id", "pw"))
			r.wantRead(v, 1, 0)
			start := time.Now()
			end(r, v.with("t", "id", "pw"))
			if took := time.Since(start); took != 0 || r.heard(EventUnread) != 0 {
				t.Errorf("the stop took %v, with %d failures", took, r.heard(EventUnread))
			}
			time.Sleep(time.Hour)
			r.wantState("a", api.StateRefused)
			r.wantAsked(v.upstream, 1, 0)
		})
	}
	vaultTest(t, "of what is to come, by a crash", func(t *testing.T, r *rig, v *vault) {
		v.slows(time.Second)
		r.start(v.empty("t", "id"))
		r.wantRead(v, 1, 0)
		r.crash(v.empty("t", "id"))
		time.Sleep(time.Second)
		r.want("a", "pw-login-1") // nothing was sent, so nothing is counted
	})
}

// Retry asks the sources at once, Renew if nothing can be sent without; what was
// ordered is not made up for later.
func TestOperatorAndUnreadableSecrets(t *testing.T) {
	for verb, do := range map[string]func(*rig) (api.Status, *api.Error){
		"retry": func(r *rig) (api.Status, *api.Error) { return r.Retry(r.t.Context(), "a", time.Minute) },
		"renew": func(r *rig) (api.Status, *api.Error) { return r.Renew(r.t.Context(), "a", time.Minute) },
	} {
		vaultTest(t, verb, func(t *testing.T, r *rig, v *vault) {
			v.gives("", "", errVault)
			r.start(v.empty("t", "id"))
			time.Sleep(time.Hour)
			synctest.Wait()
			before, _ := v.asked()
			if _, err := do(r); err == nil || err.Code != api.CodePending || err.RetryAfter == 0 {
				t.Errorf("while they give nothing: %v", err)
			}
			r.wantRead(v, before+1, 0)
			v.gives("id", "pw", nil)
			v.slows(5 * time.Second)
			if s, err := do(r); err != nil || s.Fingerprint != api.Fingerprint("pw-login-1") {
				t.Errorf("then: %+v, %v", s, err)
			}
			r.wantRead(v, before+2, 0)
		})
	}
	vaultTest(t, "renew with older ones", func(t *testing.T, r *rig, v *vault) {
		r.start(v.upstream.credential("a", "id", "old"))
		v.gives("", "", errVault)
		v.slows(time.Second)
		r.apply(v.older("t", "id", "old"))
		time.Sleep(time.Minute)
		if s, err := r.Renew(t.Context(), "a", time.Minute); err != nil || s.Fingerprint != api.Fingerprint("old-login-2") {
			t.Errorf("%+v, %v", s, err)
		}
		synctest.Wait()
		before, _ := v.asked()
		if s, err := r.Retry(t.Context(), "a", time.Minute); err != nil || s.Fingerprint != api.Fingerprint("old-login-3") {
			t.Errorf("%+v, %v", s, err)
		}
		r.wantRead(v, before+1, 0)
	})
	vaultTest(t, "an order where logins ask a person", func(t *testing.T, r *rig, v *vault) {
		asking := func(c *Credential) *Credential { c.Asks = true; return c }
		v.upstream.answers(&providers.Challenge{Step: "Code", Expires: time.Now().Add(time.Minute)})
		r.start(asking(v.with("t", "id", "pw")))
		r.wantState("a", api.StateChallenge)
		v.gives("", "", errVault)
		r.restart(asking(v.empty("t", "id")))
		time.Sleep(time.Hour)
		if _, err := r.Retry(t.Context(), "a", time.Minute); err == nil || err.Code != api.CodePending {
			t.Errorf("%v", err)
		}
		r.apply(asking(v.with("t", "id", "pw")))
		r.wantState("a", api.StateChallenge)
		r.wantAsked(v.upstream, 1, 0) // nobody gets a code in the night for an order of the day
	})
}

// Before a refusal is final its sources are asked; when they cannot tell, again.
func TestRefusalWithUnreadableSecrets(t *testing.T) {
	vaultTest(t, "until they are there", func(t *testing.T, r *rig, v *vault) {
		v.upstream.answers(failure(providers.Refused))
		v.gives("", "", errVault)
		r.start(v.with("t", "id", "old"))
		s := r.wantState("a", api.StateRefused)
		if want := "the provider said refused; and then " + errVault.Error(); s.Error == nil || s.Error.Detail != want || !s.RenewAt.IsZero() {
			t.Errorf("the status: %+v, %+v", s, s.Error)
		}
		r.wantRead(v, 1, 0)
		r.apply(v.with("t", "id", "old")) // which knows nothing of it
		time.Sleep(time.Hour)
		r.wantAsked(v.upstream, 1, 0)
		if n, _ := v.asked(); n < 10 {
			t.Errorf("asked %d times", n)
		}
		v.upstream.answers(nil)
		v.gives("id", "pw", nil)
		time.Sleep(6 * time.Minute)
		r.want("a", "pw-login-2")
	})
	vaultTest(t, "which are the same", func(t *testing.T, r *rig, v *vault) {
		v.upstream.answers(failure(providers.Refused))
		r.start(v.with("t", "id", "pw"))
		time.Sleep(time.Hour)
		r.wantState("a", api.StateRefused)
		r.wantRead(v, 1, 0)
		v.upstream.answers(nil)
		v.gives("id", "new", nil)
		if s, err := r.Retry(t.Context(), "a", time.Minute); err != nil || s.Fingerprint != api.Fingerprint("new-login-2") {
			t.Errorf("retry sends what was refused: %+v, %v", s, err)
		}
	})
	vaultTest(t, "which are another's", func(t *testing.T, r *rig, v *vault) {
		v.upstream.login = func(n int) error {
			if n == 2 {
				return failure(providers.Refused)
			}
			return nil
		}
		r.start(v.with("t", "id", "old"))
		r.want("a", "old-login-1")
		v.gives("other", "pw", nil)
		r.untilRenewal("a")
		r.want("a", "pw-login-3")
		r.restart(v.upstream.credential("a", "other", "pw"))
		r.want("a", "pw-login-3")
	})
}
