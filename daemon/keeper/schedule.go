package keeper

import (
	"time"

	"github.com/tokend-project/tokend/providers"
)

const (
	// minLeft is what a token should have left when its renewal begins.
	minLeft = 10 * time.Second
	// renewJitter is the part of the lifetime by which a renewal may come earlier,
	// so that tokens issued together are not renewed together.
	renewJitter = 0.1
	// refreshSpent is the part of a refresh token's own life after which a login
	// comes ahead of its end, so that token and refresh token never lapse together.
	refreshSpent = 0.9

	throttleWait  = time.Minute // a 429 without Retry-After
	malformedWait = time.Minute
	malformedLong = 5 * time.Minute // after malformedTries in a row
	blockedWait   = 5 * time.Minute
	longestWait   = time.Hour // of any wait, the provider's own included
	backoffBase   = time.Second
	backoffCap    = time.Minute
	backoffDead   = 5 * time.Minute // cap once no token is left to serve

	malformedTries = 3
)

// until is how long it is to t by whichever clock gets there first. The monotonic
// clock does not see a suspended machine, the wall clock does not see itself
// stepped back: with one of them alone a dead token could be served.
func until(now, t time.Time) time.Duration {
	return min(t.Sub(now), t.Round(0).Sub(now.Round(0)))
}

// reached says whether either clock has reached t.
func reached(now, t time.Time) bool { return until(now, t) <= 0 }

// renewAt is when to renew a token of the lifetime that began at issued: at the
// fraction of it, up to a tenth of the lifetime earlier (random is in [0,1)), and
// with minLeft left where the lifetime is twice that or more.
func renewAt(issued time.Time, lifetime time.Duration, fraction, random float64) time.Time {
	life := float64(lifetime)
	point := fraction * life
	point -= random * min(renewJitter*life, point/2)
	point = min(point, life-min(float64(minLeft), life/2))
	return issued.Add(time.Duration(point))
}

// retryAfter is how long to wait after a failure of the class, the streak'th of
// its class in a row. asked is the provider's own Retry-After, 0 if it gave none.
// dead says that no usable token is left. random is in [0,1).
func retryAfter(class providers.Class, streak int, asked time.Duration, dead bool, random float64) time.Duration {
	if asked > 0 && class != providers.Blocked {
		return min(max(asked, time.Second), longestWait)
	}
	later := func(d time.Duration) time.Duration { return d + time.Duration(random*0.1*float64(d)) }
	switch class {
	case providers.Throttled:
		return later(throttleWait)
	case providers.Malformed:
		if streak > malformedTries {
			return later(malformedLong)
		}
		return later(malformedWait)
	case providers.Blocked:
		return later(doubled(blockedWait, streak, longestWait))
	default:
		top := backoffCap
		if dead {
			top = backoffDead
		}
		// Full jitter spreads best; the base keeps two tries from falling together.
		return backoffBase/4 + time.Duration(random*float64(doubled(backoffBase, streak, top)))
	}
}

// doubled is base after streak-1 doublings, top at most.
func doubled(base time.Duration, streak int, top time.Duration) time.Duration {
	for ; streak > 1 && base < top; streak-- {
		base *= 2
	}
	return min(base, top)
}

// loginDue says that a refresh token is so near its own end that a login has to come
// ahead of it.
func loginDue(now, issued, expires time.Time) bool {
	if expires.IsZero() {
		return false
	}
	return until(now, expires) < time.Duration((1-refreshSpent)*float64(expires.Sub(issued)))
}
