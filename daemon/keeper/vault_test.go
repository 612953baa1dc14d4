package keeper

import (
	"context"
	"crypto/sha256"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokend-project/tokend/store"
)

// vault gives the secrets of a credential at an upstream, as a command does: when it
// is asked, after a while, or not at all.
type vault struct {
	upstream *upstream

	mu               sync.Mutex
	identity, secret string // that it gives
	takes            time.Duration
	err              error
	looks            []time.Time // when it was asked
	killed           int         // of these, cancelled
}

var errVault = errors.New("reading password: /usr/bin/pass: exit status 1")

// gives has it give this from now on.
func (v *vault) gives(identity, secret string, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.identity, v.secret, v.err = identity, secret, err
}

// slows has it take this long from now on.
func (v *vault) slows(takes time.Duration) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.takes = takes
}

func (v *vault) asked() (times, killed int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.looks), v.killed
}

// with is a credential whose table says to ask this vault, and which has its secrets.
func (v *vault) with(table, identity, secret string) *Credential {
	c := v.upstream.credential("a", identity, secret)
	c.Table, c.Read = sha256.Sum256([]byte(table)), time.Now()
	c.Reread = func(ctx context.Context) (*Credential, error) {
		v.mu.Lock()
		v.looks = append(v.looks, time.Now())
		identity, secret, takes, err := v.identity, v.secret, v.takes, v.err
		v.mu.Unlock()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			v.mu.Lock()
			defer v.mu.Unlock()
			v.killed++
			return nil, ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		return v.with(table, identity, secret), nil
	}
	return c
}

// older is one that has still to ask, and works with an older secret until then.
func (v *vault) older(table, identity, secret string) *Credential {
	return v.with(table, identity, secret).unread()
}

// empty is one that has still to ask, and has no secrets; identity "" is unknown.
func (v *vault) empty(table, identity string) *Credential {
	c := v.older(table, identity, "")
	c.Provider, c.Secrets = nil, [32]byte{}
	if identity == "" {
		c.Identity, c.Headers = unknownIdentity, nil
	}
	return c
}

// vaultTest runs a test with a vault that gives "pw" for "id".
func vaultTest(t *testing.T, name string, f func(*testing.T, *rig, *vault)) {
	t.Run(name, func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			f(t, newRig(t), &vault{upstream: &upstream{life: time.Hour}, identity: "id", secret: "pw"})
		})
	})
}

// recorded restarts without a file, and returns what is in the store of the credential.
func (r *rig) recorded() store.Record {
	r.t.Helper()
	synctest.Wait()
	r.stop()
	r.startIdle()
	return r.store.Records()["a"]
}

// wantRead compares how often the vault was asked, and how often for nothing.
func (r *rig) wantRead(v *vault, times, killed int) {
	r.t.Helper()
	synctest.Wait()
	if n, k := v.asked(); n != times || k != killed {
		r.t.Errorf("the secrets were read %d times, %d of these cancelled; want %d and %d", n, k, times, killed)
	}
}
