package store

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// BenchmarkPut is one durable write at a time into stores of different sizes. Its
// floor is BenchmarkSync.
func BenchmarkPut(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			s, _ := start(b, config(b))
			r := sample("x")
			r.Token = strings.Repeat("t", 1000)
			for i := range n {
				s.Put(fmt.Sprintf("credential-%05d", i), r, nil)
			}
			mustPut(b, s, "last", r)
			i := 0
			for b.Loop() {
				mustPut(b, s, fmt.Sprintf("credential-%05d", i*7919%n), r)
				i++
			}
		})
	}
}

// BenchmarkPutTogether is the same with 100 writes under way.
func BenchmarkPutTogether(b *testing.B) {
	s, _ := start(b, config(b))
	r := sample("x")
	for b.Loop() {
		done := make(chan error, 100)
		for i := range 100 {
			s.Put(fmt.Sprintf("credential-%05d", i), r, func(err error) { done <- err })
		}
		for range 100 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkSync is what the disk asks for a commit: pages, fdatasync, the header
// page, fdatasync.
func BenchmarkSync(b *testing.B) {
	f, err := os.Create(filepath.Join(b.TempDir(), "file"))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, 1<<20)); err != nil {
		b.Fatal(err)
	}
	page := make([]byte, 4096)
	for b.Loop() {
		for i := range 4 {
			if _, err := f.WriteAt(page, int64(2+i)*4096); err != nil {
				b.Fatal(err)
			}
		}
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			_, err = f.WriteAt(page, 0)
		}
		if err == nil {
			err = unix.Fdatasync(int(f.Fd()))
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkOpen is a start with many records: the check, reading and unsealing.
func BenchmarkOpen(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("records=%d", n), func(b *testing.B) {
			cfg := config(b)
			s, stop := start(b, cfg)
			for i := range n {
				s.Put(fmt.Sprintf("credential-%05d", i), sample("x"), nil)
			}
			mustPut(b, s, "last", sample("x"))
			stop()
			for b.Loop() {
				open(b, cfg).Close()
			}
		})
	}
}
