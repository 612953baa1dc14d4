package keeper

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// demand asks with these bounds and says how long the answer took.
func (r *rig) demand(minTTL, wait time.Duration) (token string, err *api.Error, took time.Duration) {
	start := time.Now()
	a, err := r.Cell("a").Token(r.t.Context(), Demand{MinTTL: minTTL, Wait: wait})
	if err == nil {
		token = string(a.Text)
	}
	return token, err, time.Since(start)
}

// What min_ttl and wait lead to. The token lives 10 minutes; the row says how old it
// is, what the provider does from now on, and how long it takes to do it.
func TestMinTTLAndWait(t *testing.T) {
	const none = -1
	for _, row := range []struct {
		name    string
		age     time.Duration
		answers error
		takes   time.Duration
		minTTL  time.Duration
		wait    time.Duration
		token   string
		code    api.Code
		took    time.Duration
	}{
		{"enough is left", 0, nil, 0, 5 * time.Minute, 10 * time.Second, "pw-login-1", "", 0},
		{"more is demanded: renewed", time.Minute, nil, 2 * time.Second, 599 * time.Second, 10 * time.Second, "", api.CodeShort, 2 * time.Second},
		{"more is demanded and comes", time.Minute, nil, 2 * time.Second, 595 * time.Second, 10 * time.Second, "pw-login-2", "", 2 * time.Second},
		{"more is demanded than comes in time", time.Minute, nil, 12 * time.Second, 595 * time.Second, 10 * time.Second, "", api.CodeShort, 10 * time.Second},
		{"more than tokens ever live", time.Minute, nil, 0, 11 * time.Minute, 10 * time.Second, "", api.CodeShort, 0},
		{"no wait", time.Minute, nil, time.Second, 595 * time.Second, 0, "", api.CodeShort, 0},
		{"a failing renewal", time.Minute, failure(providers.Malformed), 2 * time.Second, 595 * time.Second, 10 * time.Second, "", api.CodeShort, 2 * time.Second},
		{"a wish waits half of what is left", 10*time.Minute - 8*time.Second, nil, time.Hour, none, time.Minute, "pw-login-1", "", 4 * time.Second},
		{"a wish is content with what is there", time.Minute, nil, 0, none, 10 * time.Second, "pw-login-1", "", 0},
		{"a wish does not wait for nothing", 10*time.Minute - 8*time.Second, failure(providers.Refused), 0, none, time.Minute, "pw-login-1", "", 0},
		{"refused, and too short", 9 * time.Minute, failure(providers.Refused), 0, 9 * time.Minute, time.Minute, "", api.CodeShort, 0},
		{"none, and the login takes a while", 11 * time.Minute, nil, time.Hour, none, 10 * time.Second, "", api.CodePending, 10 * time.Second},
		{"none, and nobody waits without need", 11 * time.Minute, failure(providers.Blocked), 0, none, 10 * time.Second, "", api.CodePending, 0},
		{"none, refused", 11 * time.Minute, failure(providers.Refused), 0, none, 10 * time.Second, "", api.CodeRefused, 0},
		{"none, refused, and a demand that never can be met", 11 * time.Minute, failure(providers.Refused), 0, time.Hour, 10 * time.Second, "", api.CodeRefused, 0},
		{"none, rate limited", 11 * time.Minute, &providers.Error{Class: providers.Throttled, RetryAfter: time.Hour, Err: errInterrupted}, 0, none, 10 * time.Second, "", api.CodeThrottled, 0},
	} {
		t.Run(row.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: 10 * time.Minute}
				r := newRig(t).start(u.credential("a", "id", "pw"))
				r.want("a", "pw-login-1")
				u.mu.Lock()
				u.takes, u.login = row.takes, func(int) error { return row.answers }
				u.mu.Unlock()
				time.Sleep(row.age)
				synctest.Wait()
				token, err, took := r.demand(row.minTTL, row.wait)
				if token != row.token || code(err) != row.code || took != row.took {
					t.Errorf("got %q, %+v after %v; want %q, %q after %v", token, err, took, row.token, row.code, row.took)
				}
			})
		})
	}
}

// Demands are bound by what readers can cause, like complaints.
func TestDemandsAreThrottled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		time.Sleep(time.Minute)
		for i, want := range []api.Code{"", api.CodeThrottled} {
			if _, err, _ := r.demand(time.Hour, 5*time.Second); code(err) != want {
				t.Errorf("demand %d: %v", i+1, err)
			}
			time.Sleep(time.Second)
		}
		r.wantAsked(u, 2, 0)
	})
}

// A hundred complaints about one token cost one login, and the reported token is
// served until its successor is there.
func TestComplaints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		time.Sleep(time.Minute)
		u.slows(3 * time.Second)
		fingerprint := r.Cell("a").Status().Fingerprint
		var wg sync.WaitGroup
		for range 100 {
			wg.Go(func() {
				s, err := r.Report(t.Context(), "a", fingerprint, 10*time.Second)
				if err != nil || s.Fingerprint == fingerprint {
					t.Errorf("a complaint got %+v, %v", s, err)
				}
			})
		}
		time.Sleep(time.Second)
		r.want("a", "pw-login-1")
		r.wantState("a", api.StateFresh)
		wg.Wait()
		r.want("a", "pw-login-2")
		if _, err := r.Report(t.Context(), "a", fingerprint, 0); err != nil {
			t.Errorf("a complaint about an old token got %v", err)
		}
		r.wantAsked(u, 2, 0)
		if n := r.heard(EventReported); n != 1 {
			t.Errorf("heard of the reported token %d times", n)
		}
	})
}

// A complaint that leads to a failed attempt gets its problem, though the old token
// is served on.
func TestComplaintGetsTheProblemOfTheAttempt(t *testing.T) {
	for class, want := range map[providers.Class]api.Code{
		providers.Refused: api.CodeRefused, providers.Throttled: api.CodeThrottled, providers.Transient: api.CodePending,
	} {
		synctest.Test(t, func(t *testing.T) {
			u := &upstream{life: time.Hour}
			r := newRig(t).start(u.credential("a", "id", "pw"))
			r.want("a", "pw-login-1")
			u.answers(failure(class))
			for range 2 { // also while refused or backing off, then without an attempt
				_, err := r.Report(t.Context(), "a", r.Cell("a").Status().Fingerprint, 10*time.Second)
				if code(err) != want {
					t.Errorf("%v: got %+v", class, err)
				}
			}
			r.wantAsked(u, 2, 0)
			r.want("a", "pw-login-1")
		})
	}
}

// Drop forgets at once, in memory and on disk, and what a refresh in flight makes of
// the leaked chain does not count.
func TestDrop(t *testing.T) {
	for _, inFlight := range []bool{false, true} {
		t.Run(fmt.Sprintf("refresh in flight %v", inFlight), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				u := &upstream{life: 10 * time.Minute, takes: 2 * time.Second}
				u.refresh = func(int, string) (string, error) { return "", nil }
				cred := u.credential("a", "id", "pw")
				r := newRig(t).start(cred)
				time.Sleep(2 * time.Second)
				r.want("a", "pw-login-1")
				if inFlight {
					r.untilRenewal("a")
				}
				if _, err := r.Drop(t.Context(), "a", 0); code(err) != api.CodePending {
					t.Errorf("drop without a wait: %v", err)
				}
				r.wantNone("a", api.CodePending)
				r.call(t.Context(), func() {
					if rec := r.entries["a"].rec; rec.Token != "" || rec.Refresh != "" {
						t.Error("the dropped token is still in the record")
					}
				})
				time.Sleep(5 * time.Second)
				r.want("a", "pw-login-2")
				if r.heard(EventDropped) != 1 {
					t.Error("nobody heard of the drop")
				}
			})
		})
	}
}

func TestAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: 15 * time.Minute, skew: 42 * time.Second}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		a, err := r.Cell("a").Token(t.Context(), Demand{MinTTL: -1, Wait: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		var got api.Token
		if err := json.Unmarshal(a.JSON, &got); err != nil {
			t.Fatal(err)
		}
		want := api.Token{
			Name: "a", Token: "pw-login-1", Fingerprint: "16ad607e761c6b25", State: api.StateFresh,
			IssuedAt:  time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC),
			ExpiresAt: time.Date(2000, 1, 1, 0, 15, 0, 0, time.UTC),
			Headers:   []api.Header{{Name: "Authorization", Value: "Bearer pw-login-1"}},
		}
		if g, w := fmt.Sprintf("%#v", got), fmt.Sprintf("%#v", want); g != w || got.Headers[0] != want.Headers[0] || got.Token != want.Token {
			t.Errorf("answer %s, want %s", g, w)
		}
		if want := `"16ad607e761c6b25.946685700"`; a.ETag != want {
			t.Errorf("ETag %s, want %s", a.ETag, want)
		}
		s := r.wantState("a", api.StateFresh)
		if s.SkewSeconds != 42 || r.heard(EventSkew) != 1 {
			t.Errorf("skew %d, heard %d times", s.SkewSeconds, r.heard(EventSkew))
		}
	})
}

func TestReaderWhoLeavesIsLetGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := &upstream{life: time.Hour, takes: time.Hour}
		r := newRig(t).start(u.credential("a", "id", "pw"))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if _, err := r.Cell("a").Token(ctx, Demand{MinTTL: -1, Wait: time.Minute}); code(err) != api.CodePending {
			t.Errorf("got %v", err)
		}
		if took := time.Since(start); took != time.Second {
			t.Errorf("let go after %v", took)
		}
	})
}

func TestBrief(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", time.Millisecond: "under 1s", 90 * time.Second: "1m30s", time.Minute: "1m",
		2 * time.Hour: "2h", 100 * time.Minute: "1h40m", 10*time.Second + 1: "10s",
	} {
		if got := brief(d); got != want {
			t.Errorf("%v is %q, want %q", d, got, want)
		}
	}
}
