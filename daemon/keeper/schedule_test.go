package keeper

import (
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers"
)

func TestRenewAt(t *testing.T) {
	issued := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, row := range []struct {
		name     string
		lifetime time.Duration
		fraction float64
		random   float64
		want     time.Duration // after issued
	}{
		{"finam", 15 * time.Minute, 0.75, 0, 675 * time.Second},
		{"finam, earliest", 15 * time.Minute, 0.75, 1, 585 * time.Second},
		{"a day", 24 * time.Hour, 0.9, 0, 77760 * time.Second},
		{"a minute", time.Minute, 0.6, 0, 36 * time.Second},
		{"a minute, earliest", time.Minute, 0.6, 1, 30 * time.Second},
		{"10 s must be left", time.Minute, 0.95, 0, 50 * time.Second},
		{"as far as the lifetime allows", 12 * time.Second, 0.95, 0, 6 * time.Second},
		{"the smallest fraction is not eaten by jitter", time.Hour, 0.1, 1, 3 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			got := renewAt(issued, row.lifetime, row.fraction, row.random).Sub(issued)
			if diff := (got - row.want).Abs(); diff > time.Microsecond {
				t.Errorf("renewed after %v, want %v", got, row.want)
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	const alive, dead = false, true
	for _, row := range []struct {
		name   string
		class  providers.Class
		streak int
		asked  time.Duration
		dead   bool
		random float64
		want   time.Duration
	}{
		{"throttled", providers.Throttled, 1, 0, alive, 0, time.Minute},
		{"throttled, latest", providers.Throttled, 9, 0, alive, 1, 66 * time.Second},
		{"Retry-After wins", providers.Throttled, 1, 90 * time.Second, alive, 0.5, 90 * time.Second},
		{"Retry-After of a 503", providers.Transient, 5, 7 * time.Second, alive, 0.5, 7 * time.Second},
		{"Retry-After has a floor", providers.Throttled, 1, time.Millisecond, alive, 0, time.Second},
		{"and a ceiling", providers.Throttled, 1, 48 * time.Hour, alive, 0, time.Hour},
		{"first transient", providers.Transient, 1, 0, alive, 1, 1250 * time.Millisecond},
		{"doubling", providers.Transient, 4, 0, alive, 1, 8250 * time.Millisecond},
		{"full jitter", providers.Transient, 4, 0, alive, 0, 250 * time.Millisecond},
		{"cap", providers.Transient, 40, 0, alive, 1, time.Minute + 250*time.Millisecond},
		{"cap without a token", providers.Transient, 40, 0, dead, 1, 5*time.Minute + 250*time.Millisecond},
		{"malformed", providers.Malformed, 3, 0, alive, 0, time.Minute},
		{"malformed once more", providers.Malformed, 4, 0, alive, 0, 5 * time.Minute},
		{"blocked", providers.Blocked, 1, 0, alive, 0, 5 * time.Minute},
		{"blocked twice", providers.Blocked, 2, 0, alive, 0, 10 * time.Minute},
		{"blocked for long", providers.Blocked, 30, 0, alive, 0, time.Hour},
		{"a firewall's Retry-After does not hurry us", providers.Blocked, 1, time.Second, alive, 0, 5 * time.Minute},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := retryAfter(row.class, row.streak, row.asked, row.dead, row.random); got != row.want {
				t.Errorf("waits %v, want %v", got, row.want)
			}
		})
	}
}

func TestUntilTakesTheNearerClock(t *testing.T) {
	now := time.Now()
	at := now.Add(time.Minute)
	stepped := func(d time.Duration) time.Time { return now.Round(0).Add(d) } // the wall clock alone
	if got := until(now, at); got != time.Minute {
		t.Errorf("with both clocks in step: %v", got)
	}
	if got := until(stepped(2*time.Minute), at.Round(0)); got != -time.Minute {
		t.Errorf("after a suspended machine woke: %v", got)
	}
	if reached(now, at) || !reached(at, at) {
		t.Error("reached is off by one")
	}
}

func TestLoginDue(t *testing.T) {
	issued := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	expires := issued.Add(24 * time.Hour)
	for _, row := range []struct {
		at   time.Duration
		ends time.Time
		want bool
	}{
		{0, expires, false},
		{21*time.Hour + 35*time.Minute, expires, false},
		{21*time.Hour + 37*time.Minute, expires, true},
		{25 * time.Hour, expires, true},
		{25 * time.Hour, time.Time{}, false}, // nobody knows its end
	} {
		if got := loginDue(issued.Add(row.at), issued, row.ends); got != row.want {
			t.Errorf("%v after the refresh token came: %v", row.at, got)
		}
	}
}
