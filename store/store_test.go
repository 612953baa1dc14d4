package store

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// config is a store with its own key in a fresh directory.
func config(t testing.TB) Config {
	t.Helper()
	return Config{Path: filepath.Join(t.TempDir(), "state", "tokens.db"), Version: "v1.2.3"}
}

func open(t testing.TB, cfg Config) *Store {
	t.Helper()
	s, err := Open(cfg)
	if err != nil {
		t.Fatalf("opening: %v", err)
	}
	return s
}

// start opens a store and runs it until stop is called, which closes it. Stopping
// twice does nothing more.
func start(t testing.TB, cfg Config) (s *Store, stop func()) {
	t.Helper()
	s = open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Errorf("running: %v", err)
		}
	})
	stop = sync.OnceFunc(func() {
		cancel()
		wg.Wait()
		if err := s.Close(); err != nil {
			t.Errorf("closing: %v", err)
		}
	})
	t.Cleanup(stop)
	return s, stop
}

// put saves a record and waits until it is durable.
func put(s *Store, name string, r Record) error {
	done := make(chan error, 1)
	s.Put(name, r, func(err error) { done <- err })
	return <-done
}

func remove(s *Store, name string) error {
	done := make(chan error, 1)
	s.Delete(name, func(err error) { done <- err })
	return <-done
}

func mustPut(t testing.TB, s *Store, name string, r Record) {
	t.Helper()
	if err := put(s, name, r); err != nil {
		t.Fatalf("putting %s: %v", name, err)
	}
}

// sample is a record with every field set, whatever fields there are; the text
// makes it one of its kind and is in every string.
func sample(text string) Record {
	var r Record
	fill(reflect.ValueOf(&r).Elem(), text)
	return r
}

func fill(v reflect.Value, text string) {
	if t, ok := v.Addr().Interface().(*time.Time); ok {
		*t = time.Date(2026, 2, 3, 4, 5, len(text)%60, 789, time.UTC)
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString("plain-" + text)
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(len(text)) + 1)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), text)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), text)
		fill(v.Index(1), text+"+")
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), text)
		}
	default:
		panic("a record has a field of kind " + v.Kind().String())
	}
}

// saved reopens a store that was closed and returns its records.
func saved(t testing.TB, cfg Config) map[string]Record {
	t.Helper()
	s := open(t, cfg)
	defer s.Close()
	return s.Records()
}

func wantRecords(t testing.TB, got, want map[string]Record) {
	t.Helper()
	if len(got) != len(want) {
		t.Errorf("%d records, want %d", len(got), len(want))
	}
	for name, r := range want {
		if !reflect.DeepEqual(got[name], r) {
			t.Errorf("record of %q differs from what was put", name)
		}
	}
}

func TestRecordsSurviveRestart(t *testing.T) {
	cfg := config(t)
	s, stop := start(t, cfg)
	if n := len(s.Records()); n != 0 {
		t.Fatalf("a new store has %d records", n)
	}
	mustPut(t, s, "finam", sample("one"))
	mustPut(t, s, "broker", sample("two"))
	mustPut(t, s, "empty", Record{})
	stop()
	s, stop = start(t, cfg)
	if n := s.Notices(); len(n) != 0 {
		t.Errorf("notices of a sound store: %q", n)
	}
	wantRecords(t, s.Records(), map[string]Record{"finam": sample("one"), "broker": sample("two"), "empty": {}})
	if err := remove(s, "broker"); err != nil {
		t.Fatal(err)
	}
	stop()
	wantRecords(t, saved(t, cfg), map[string]Record{"finam": sample("one"), "empty": {}})
}

func TestWritesKeepTheirOrder(t *testing.T) {
	type step struct {
		name   string
		remove bool
	}
	tests := map[string]struct {
		steps []step
		want  []int // step → whose record must be there at the end
	}{
		"put, put":         {[]step{{"a", false}, {"a", false}}, []int{1}},
		"put, delete":      {[]step{{"a", false}, {"a", true}}, nil},
		"delete, put":      {[]step{{"a", true}, {"a", false}}, []int{1}},
		"put, delete, put": {[]step{{"a", false}, {"a", true}, {"a", false}}, []int{2}},
		"delete a missing": {[]step{{"a", true}, {"b", false}}, []int{1}},
		"interleaved": {[]step{
			{"a", false}, {"b", false}, {"a", true}, {"c", false}, {"b", false}, {"c", true},
		}, []int{4}},
	}
	for name, test := range tests {
		for _, inOneRound := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s/one round %t", name, inOneRound), func(t *testing.T) {
				cfg := config(t)
				s := open(t, cfg)
				var calls []int
				want := map[string]Record{}
				for i, st := range test.steps {
					done := func(err error) {
						if err != nil {
							t.Errorf("step %d: %v", i, err)
						}
						calls = append(calls, i)
					}
					if st.remove {
						s.Delete(st.name, done)
					} else {
						s.Put(st.name, sample(fmt.Sprint(i)), done)
					}
					if slices.Contains(test.want, i) {
						want[st.name] = sample(fmt.Sprint(i))
					}
					if !inOneRound {
						s.round(s.take(false))
					}
				}
				// A context that has ended still flushes what is queued.
				ctx, cancel := context.WithCancel(t.Context())
				cancel()
				if err := s.Run(ctx); err != nil {
					t.Fatal(err)
				}
				if len(calls) != len(test.steps) || !slices.IsSorted(calls) {
					t.Errorf("done was called for %v", calls)
				}
				s.Close()
				wantRecords(t, saved(t, cfg), want)
			})
		}
	}
}

func TestOneTransactionPerRound(t *testing.T) {
	s := open(t, config(t))
	defer s.Close()
	before := txid(t, s)
	for i := range 100 {
		s.Put(fmt.Sprint(i%7), sample(fmt.Sprint(i)), nil)
	}
	s.round(s.take(false))
	if n := txid(t, s) - before; n != 1 {
		t.Errorf("%d transactions for one round", n)
	}
}

func txid(t *testing.T, s *Store) uint64 {
	t.Helper()
	info, err := s.disk.file.Stat()
	if err != nil {
		t.Fatal(err)
	}
	m, err := readMeta(s.disk.file, info.Size())
	if err != nil {
		t.Fatal(err)
	}
	return m.txid
}

func TestRecordIsTakenAtPut(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	r := sample("x")
	s.Put("a", r, nil)
	r.Attempt.Kind, r.Refusals[0].Detail = "changed", "changed"
	s.round(s.take(false))
	s.Close()
	wantRecords(t, saved(t, cfg), map[string]Record{"a": sample("x")})
}

// A write that cannot be encoded must not take its neighbours down.
func TestBadWriteFailsAlone(t *testing.T) {
	cfg := config(t)
	s, stop := start(t, cfg)
	bad := map[string]struct {
		name string
		r    Record
		want string
	}{
		"no name":   {"", Record{}, "name has 0 bytes"},
		"long name": {strings.Repeat("n", 256), Record{}, "name has 256 bytes"},
		"year":      {"a", Record{Token: "planted-secret", Expires: time.Date(12345, 1, 1, 0, 0, 0, 0, time.UTC)}, "encoding the record"},
		"not UTF-8": {"a", Record{Token: "planted-secret\xff"}, "not UTF-8"},
		"refresh":   {"a", Record{Refresh: "planted-secret\xff"}, "not UTF-8"},
		"huge":      {"a", Record{Token: strings.Repeat("t", maxRecord)}, "more than"},
	}
	mustPut(t, s, "a", sample("good"))
	for name, test := range bad {
		good := make(chan error, 1)
		got := make(chan error, 1)
		s.Put(test.name, test.r, func(err error) { got <- err })
		s.Put("neighbour-"+name, sample(name), func(err error) { good <- err })
		if err := <-got; err == nil || !strings.Contains(err.Error(), test.want) || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if err := <-good; err != nil {
			t.Errorf("%s: neighbour: %v", name, err)
		}
	}
	if err := remove(s, ""); err == nil {
		t.Error("deleting no name went through")
	}
	stop()
	got := saved(t, cfg)
	if len(got) != len(bad)+1 || !reflect.DeepEqual(got["a"], sample("good")) {
		t.Errorf("%d records, want %d, or a bad write changed a good record", len(got), len(bad)+1)
	}
}

func TestClosedStoreRefuses(t *testing.T) {
	s, stop := start(t, config(t))
	mustPut(t, s, "a", sample("1"))
	if err := s.Close(); err == nil {
		t.Error("a running store was closed")
	}
	stop()
	if err := put(s, "a", sample("2")); !errors.Is(err, ErrClosed) {
		t.Errorf("put after the end: %v", err)
	}
	if err := remove(s, "a"); !errors.Is(err, ErrClosed) {
		t.Errorf("delete after the end: %v", err)
	}
	s.Put("a", Record{}, nil) // done may be nil
	if err := s.Run(t.Context()); !errors.Is(err, ErrClosed) {
		t.Errorf("second run: %v", err)
	}

	never := open(t, config(t))
	var got error
	never.Put("a", Record{}, func(err error) { got = err })
	if err := never.Close(); err != nil || !errors.Is(got, ErrClosed) {
		t.Errorf("closing without a run: %v, queued write got %v", err, got)
	}
}

// Writers that race with the end of Run get an answer each, and who was told that
// the write is durable finds it.
func TestEveryWriteIsAnswered(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	want, answers := map[string]Record{}, 0
	var wg sync.WaitGroup
	wg.Go(func() { s.Run(ctx) })
	for w := range 4 {
		wg.Go(func() {
			for i := range 50 {
				name := fmt.Sprintf("w%d-%d", w, i)
				s.Put(name, sample(name), func(err error) {
					mu.Lock()
					defer mu.Unlock()
					answers++
					if err == nil {
						want[name] = sample(name)
					}
				})
				if w == 0 && i == 25 {
					cancel()
				}
			}
		})
	}
	wg.Wait()
	if answers != 200 {
		t.Errorf("%d answers to 200 writes", answers)
	}
	s.Close()
	wantRecords(t, saved(t, cfg), want)
}
