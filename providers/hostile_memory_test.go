package providers

import (
	"fmt"
	"io"
	"log"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers/sandbox"
)

// TestHostileMemory asserts that what 64 logins at once hold in memory has a bound,
// however much their servers send. 64 renewals are in flight at most.
func TestHostileMemory(t *testing.T) {
	const logins, bound = 64, 8 << 20 // bytes for each
	log.SetOutput(io.Discard)
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	var fields strings.Builder
	for i := range 100_000 {
		fmt.Fprintf(&fields, `"f%d":{},`, i)
	}
	packed := bomb()
	for name, fault := range map[string]sandbox.Fault{
		"endless body":          {Raw: "HTTP/1.1 200 OK\r\n\r\n{\"token\":\"", Endless: strings.Repeat("a", 1<<16)},
		"endless page":          {Raw: "HTTP/1.1 403 No\r\nContent-Type: text/html\r\n\r\n<html><title>", Endless: strings.Repeat("%41", 1<<14)},
		"endless fields":        {Raw: "HTTP/1.1 401 No\r\n\r\n{", Endless: fields.String()},
		"many fields":           {Status: 401, Body: "{" + fields.String() + `"z":1}`},
		"endless headers":       {Raw: "HTTP/1.1 200 OK\r\n", Endless: strings.Repeat("a:\r\n", 1<<12)},
		"endless header":        {Raw: "HTTP/1.1 200 OK\r\nX: ", Endless: strings.Repeat("a", 1<<16)},
		"endless informational": {Endless: "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"},
		"gzip":                  {Header: map[string]string{"Content-Encoding": "gzip"}, Edit: func([]byte) []byte { return packed }},
	} {
		t.Run(name, func(t *testing.T) {
			var all []Provider
			for kind, s := range systems() {
				s.settings.Transport = transportFor(t, nil, "none")
				p := s.connect(t, kind)
				s.server.Fail(logins/4, fault)
				all = append(all, slices.Repeat([]Provider{p}, logins/4)...)
			}
			var before runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			peak, stop := watchHeap()
			var trying sync.WaitGroup
			for _, p := range all {
				trying.Go(func() {
					if _, err := Login(t.Context(), p, nil); err == nil {
						t.Error("a token came")
					}
				})
			}
			trying.Wait()
			stop()
			if held := int64(peak.Load()) - int64(before.HeapAlloc); held > logins*bound {
				t.Errorf("%d logins held %d MiB", logins, held>>20)
			}
		})
	}
}

// watchHeap follows the heap until it is stopped, and has its highest mark.
func watchHeap() (peak *atomic.Uint64, stop func()) {
	peak = new(atomic.Uint64)
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		var now runtime.MemStats
		ticks := time.NewTicker(time.Millisecond)
		defer ticks.Stop()
		for {
			runtime.ReadMemStats(&now)
			peak.Store(max(peak.Load(), now.HeapAlloc))
			select {
			case <-done:
				return
			case <-ticks.C:
			}
		}
	})
	return peak, func() {
		close(done)
		watching.Wait()
	}
}
