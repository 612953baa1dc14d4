package store

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// The keeper's tests run the store under a fake clock: waiting for work must count
// as waiting, and time must not pass while a write is under way.
func TestBubble(t *testing.T) {
	cfg := config(t)
	synctest.Test(t, func(t *testing.T) {
		s := open(t, cfg)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- s.Run(ctx) }()
		synctest.Wait() // returns only when Run waits as a bubble wants it

		begin := time.Now()
		var doneAt time.Time
		s.Put("a", sample("a"), func(err error) {
			if err != nil {
				t.Error(err)
			}
			doneAt = time.Now()
		})
		synctest.Wait()
		if !doneAt.Equal(begin) {
			t.Errorf("the write was done at %v, want %v", doneAt, begin)
		}
		time.Sleep(24 * time.Hour) // nothing of the store's keeps the clock from running
		s.Delete("a", nil)
		synctest.Wait()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		wantRecords(t, saved(t, cfg), map[string]Record{})
	})
}

// The second tokend waits two seconds for the first and then says who is in the way.
func TestLock(t *testing.T) {
	cfg := config(t)
	synctest.Test(t, func(t *testing.T) {
		first := open(t, cfg)
		begin := time.Now()
		_, err := Open(cfg)
		if err == nil || !strings.Contains(err.Error(), "another tokend holds "+cfg.Path) {
			t.Errorf("error %v", err)
		}
		if waited := time.Since(begin); waited != lockTimeout {
			t.Errorf("waited %v", waited)
		}
		// One that stops in time is no error, nor is one that replaced the file.
		time.AfterFunc(time.Second, func() {
			if _, err := first.replace(first.image, "corrupt"); err != nil {
				t.Error(err)
			}
			if err := first.Close(); err != nil {
				t.Error(err)
			}
		})
		second := open(t, cfg)
		defer second.Close()
		if len(second.Notices()) > 0 {
			t.Errorf("notices %q", second.Notices())
		}
	})
}
