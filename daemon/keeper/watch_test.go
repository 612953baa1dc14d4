package keeper

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// seen waits for all that is under way and takes what the watch has: names, "*" for
// all.
func seen(t *testing.T, w *Watch) []string {
	t.Helper()
	synctest.Wait()
	select {
	case <-w.Ready:
	default:
		if names, all := w.Take(); all || len(names) > 0 {
			t.Errorf("not ready, but there is %q, all %v", names, all)
		}
		return nil
	}
	names, all := w.Take()
	if all {
		return []string{"*"}
	}
	return names
}

func wantSeen(t *testing.T, w *Watch, want ...string) {
	t.Helper()
	if got := seen(t, w); !slices.Equal(got, want) {
		t.Errorf("the watch saw %q, want %q", got, want)
	}
}

func TestWatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		a, b := u.credential("a", "id-a", "pw"), u.credential("b", "id-b", "pw")
		r := newRig(t).start(a, b)
		synctest.Wait()
		all, onlyB, both := r.Watch(), r.Watch("b", "c"), r.Watch("a", "b", "a")
		for _, w := range []*Watch{all, onlyB, both} {
			wantSeen(t, w, "*") // how things stand
			wantSeen(t, w)
		}
		drop := func(name string) {
			t.Helper()
			if _, err := r.Drop(t.Context(), name, time.Minute); err != nil {
				t.Fatal(err)
			}
		}
		drop("a")
		wantSeen(t, all, "a")
		wantSeen(t, onlyB)
		drop("b")
		wantSeen(t, all, "b")
		wantSeen(t, onlyB, "b")
		wantSeen(t, both, "a", "b") // both since it last looked, each once
		onlyB.Close()
		drop("b")
		wantSeen(t, all, "b")
		wantSeen(t, onlyB)
		all.Close()
		both.Close()
		if len(r.watches.by) != 0 {
			t.Errorf("left behind: %v", r.watches.by)
		}
	})
}

// A reload is told once, as one, and not before its cells are in place.
func TestWatchReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute}
		a, b := u.credential("a", "id-a", "pw"), u.credential("b", "id-b", "pw")
		other, ruled := *a, *a
		other.Identity[0]++
		everyone, err := new(access.Names).Parse("everyone")
		if err != nil {
			t.Fatal(err)
		}
		ruled.Rules.Allow = []access.Rule{everyone}
		r := newRig(t).start(a)
		w := r.Watch()
		defer w.Close()
		wantSeen(t, w, "*")
		changed := 0
		for _, creds := range [][]*Credential{{a, b}, {b}, {}, {a}, {&other}, {a, b}, {&ruled}} {
			err := r.call(t.Context(), func() {
				heard := r.Keeper.event
				r.Keeper.event = func(Event) {
					changed++
					if len(w.ready) > 0 {
						t.Error("a watch was woken in the middle of a reload")
					}
				}
				r.Keeper.apply(creds)
				r.Keeper.event = heard
			})
			if err != nil {
				t.Fatal(err)
			}
			wantSeen(t, w, "*")
			wantSeen(t, w)
		}
		if changed == 0 {
			t.Error("no reload changed a state, so this test shows nothing")
		}
	})
}

// What changes by the clock alone is news: an expiry in every state. What a watch
// does not tell is none.
func TestWatchClock(t *testing.T) {
	for _, row := range []struct {
		state  api.State
		answer error
	}{
		{api.StateStale, failure(providers.Transient)},
		{api.StateRefused, failure(providers.Refused)},
		{api.StateChallenge, &providers.Challenge{Step: "code", Prompt: "which?"}},
	} {
		t.Run(string(row.state), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: time.Hour}
				r := newRig(t).start(u.credential("a", "id", "pw"))
				r.want("a", "pw-login-1")
				end := r.Cell("a").view.Load().expires
				u.answers(row.answer)
				w := r.Watch("a")
				defer w.Close()
				wantSeen(t, w, "*")
				r.untilRenewal("a")
				wantSeen(t, w, "a")
				before := r.wantState("a", row.state)
				time.Sleep(time.Until(end) - time.Second) // tries and fails, time and again
				wantSeen(t, w)
				time.Sleep(2 * time.Second)
				wantSeen(t, w, "a")
				if after := r.Cell("a").Status(); !before.Usable || after.Usable {
					t.Errorf("usable %v, then %v", before.Usable, after.Usable)
				}
			})
		})
	}
}

// Two thousand changes cost a watch that does not look one name each, and are one.
func TestWatchCoalesces(t *testing.T) {
	k := &Keeper{}
	w, other := k.Watch(), k.Watch("c00", "x")
	if k.watches.saw("c00", &facts{}, &facts{code: api.CodePending}); len(w.changed) != 0 {
		t.Error("a watch that has to look at everything keeps names")
	}
	w.Take()
	other.Take()
	for i := range 2000 {
		k.watches.saw(fmt.Sprintf("c%02d", i%20), &facts{}, &facts{code: api.CodePending})
	}
	if len(w.changed) != 20 || len(w.ready) != 1 || len(other.changed) != 1 {
		t.Errorf("%d and %d names wait, %d wake-ups", len(w.changed), len(other.changed), len(w.ready))
	}
	if got, all := w.Take(); all || len(got) != 20 || got[0] != "c00" || !slices.IsSorted(got) {
		t.Errorf("got %q, all %v", got, all)
	}
	if got, all := w.Take(); all || got != nil {
		t.Errorf("again: %q, all %v", got, all)
	}
}
