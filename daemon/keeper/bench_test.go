package keeper

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/store"
)

// benched is a keeper that runs for the benchmark, with n credentials that have a
// token each.
func benched(b *testing.B, n int) (*Keeper, []*Credential) {
	b.Helper()
	s, err := store.Open(store.Config{Path: filepath.Join(b.TempDir(), "tokens.db")})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2)
	go func() { ended <- s.Run(ctx) }()
	k := New(Config{Store: s})
	go func() { ended <- k.Run(ctx) }()
	b.Cleanup(func() {
		cancel()
		<-ended
		<-ended
		s.Close()
	})
	u := &upstream{life: time.Hour}
	var creds []*Credential
	for i := range n {
		c := u.credential(fmt.Sprintf("c%d", i), fmt.Sprintf("id%d", i), "pw")
		c.Lazy = i > 0 // one token is enough to read
		creds = append(creds, c)
	}
	if _, err := k.Apply(ctx, creds); err != nil {
		b.Fatal(err)
	}
	if _, err := k.Cell("c0").Token(ctx, Demand{MinTTL: -1, Wait: time.Minute}); err != nil {
		b.Fatal(err)
	}
	return k, creds
}

// BenchmarkToken is a read inside the daemon: no lock, no allocation.
func BenchmarkToken(b *testing.B) {
	k, _ := benched(b, 1000)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := k.Cell("c0").Token(b.Context(), Demand{MinTTL: -1, Wait: time.Second}); err != nil {
				b.Error(err)
			}
		}
	})
}

// BenchmarkReload puts a file of 10,000 credentials in force of which one changed.
func BenchmarkReload(b *testing.B) {
	k, creds := benched(b, 10_000)
	for i := 0; b.Loop(); i++ {
		changed := *creds[1]
		changed.RenewAt = 0.5 + float64(i%2)/10
		creds[1] = &changed
		if c, err := k.Apply(b.Context(), creds); err != nil || c.Changed != 1 {
			b.Fatal(c, err)
		}
	}
}

// BenchmarkWatched is what a change of one of 10,000 credentials costs the owner with
// 100 watches of all that do look, and as many of others that it does not concern.
func BenchmarkWatched(b *testing.B) {
	k := &Keeper{}
	var all []*Watch
	for i := range 100 {
		all = append(all, k.Watch())
		k.Watch(fmt.Sprintf("other%d", i))
	}
	from, to := &facts{}, &facts{code: api.CodePending}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		k.watches.saw(fmt.Sprintf("c%d", i%10_000), from, to)
		if i%100 == 0 {
			for _, w := range all {
				w.Take()
			}
		}
	}
}
