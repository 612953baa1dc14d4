package access

import (
	"errors"
	"net"
	"os"
	"testing"
)

// BenchmarkDecide is the decision of a call that is granted, by a rule about the user
// and by one about a unit that is known.
func BenchmarkDecide(b *testing.B) {
	for name, r := range map[string]Rules{"user": {Allow: rules(shop, alice)}, "unit": {Allow: rules(ops, shop)}} {
		b.Run(name, func(b *testing.B) {
			peer := running("shop.service", nil)
			b.ReportAllocs()
			for b.Loop() {
				if allowed, why := r.Decide(peer, Read); !allowed {
					b.Fatal(why)
				}
			}
		})
	}
}

// BenchmarkUnit is a look-up, each way, and what every connection costs.
func BenchmarkUnit(b *testing.B) {
	ln, path := listen(b)
	d, err := net.Dial("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	c, err := ln.Accept()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	raw, err := c.(*net.UnixConn).SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	who := caller{conn: raw, pid: int32(os.Getpid()), uid: uint32(os.Geteuid()), met: sinceBoot()}
	for way, option := range ways {
		b.Run(way, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := who.unitBy(option); err != nil && !errors.Is(err, errNoCgroup) {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("none", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := PeerOf(c.(*net.UnixConn)); err != nil {
				b.Fatal(err)
			}
		}
	})
}
