package store

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// relic is a store with a past: 49 records, written several times over, with free
// pages and a branch page.
type relic struct {
	key     []byte // store.key
	file    file
	earlier file                // the same, a few writes before
	past    map[string][]Record // every version that was ever durable
}

func newRelic(t testing.TB) relic {
	t.Helper()
	cfg := config(t)
	s := open(t, cfg)
	r := relic{past: map[string][]Record{}}
	for version := range 4 {
		for i := version % 3; i < 50; i += 1 + version%3 {
			name, rec := fmt.Sprintf("credential-%02d", i), sample(fmt.Sprintf("%d.%d", i, version))
			s.Put(name, rec, nil)
			r.past[name] = append(r.past[name], rec)
			if version > 0 && i%10 == 0 {
				s.round(s.take(false))
				r.earlier = read(t, cfg.Path)
			}
		}
		s.Delete("credential-49", nil)
		s.round(s.take(false))
	}
	s.Close()
	r.key, r.file = read(t, s.ownKeyPath()), read(t, cfg.Path)
	return r
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// variant is a damaged file.
type variant struct {
	name string
	file file
}

// variants are the damages; the same ones in every run.
func variants(r relic) []variant {
	sound := r.file
	rng := rand.New(rand.NewPCG(440, 84))
	_, m := sound.latest()
	pages := int(m.limit)
	var all []variant
	add := func(name string, spoil func(f file)) {
		f := file(bytes.Clone(sound))
		spoil(f)
		if !bytes.Equal(f, sound) {
			all = append(all, variant{name, f})
		}
	}
	flip := func(f file, at int) { f[at] ^= 1 << rng.IntN(8) }
	for i := range 150 {
		add(fmt.Sprintf("flip %d", i), func(f file) { flip(f, rng.IntN(pages*testPage)) })
		// Most of a page is text; what bbolt reads is at the front.
		add(fmt.Sprintf("flip in front %d", i), func(f file) { flip(f, rng.IntN(pages)*testPage+rng.IntN(200)) })
	}
	for i := range 40 {
		add(fmt.Sprintf("header %d", i), func(f file) {
			flip(f, pageHeader+rng.IntN(metaSize))
			flip(f, testPage+pageHeader+rng.IntN(metaSize)) // else the other one serves
		})
		add(fmt.Sprintf("swap %d", i), func(f file) {
			a, b := f.page(uint64(rng.IntN(pages))), f.page(uint64(rng.IntN(pages)))
			hold := bytes.Clone(a)
			copy(a, b)
			copy(b, hold)
		})
		add(fmt.Sprintf("burst %d", i), func(f file) {
			for at := rng.IntN(pages*testPage - 64); rng.IntN(64) > 0; at++ {
				f[at] = byte(rng.Uint32())
			}
		})
		n := rng.IntN(pages * testPage)
		all = append(all, variant{fmt.Sprintf("cut to %d", n), bytes.Clone(sound[:n])})
	}
	for id := range uint64(pages) {
		add(fmt.Sprintf("zero page %d", id), func(f file) { clear(f.page(id)) })
		add(fmt.Sprintf("random page %d", id), func(f file) { noise(rng, f.page(id)) })
		add(fmt.Sprintf("lost write of page %d", id), func(f file) { copy(f.page(id), r.earlier.page(id)) })
		all = append(all, variant{fmt.Sprintf("cut at page %d", id), bytes.Clone(sound[:id*testPage])})
	}
	for name, spoil := range purposeful() {
		add(name, spoil)
	}
	return append(all, strangers(rng)...)
}

func noise(rng *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}

// strangers are files that never were a store.
func strangers(rng *rand.Rand) []variant {
	garbage := make(file, 1<<16)
	noise(rng, garbage)
	return []variant{
		{"garbage", garbage},
		{"one byte", file("x")},
		{"text", file(strings.Repeat("[credentials.finam]\nprovider = \"finam\"\n", 500))},
		{"zeros", make(file, 1<<16)},
		{"sqlite", append(file("SQLite format 3\x00"), make(file, 8192)...)},
	}
}

// Whatever happened to the file: the process lives, the store opens, what it returns
// was written once, and a record put into it survives.
func TestDamagedFiles(t *testing.T) {
	r := newRelic(t)
	all := append(variants(r), variant{"another program's", foreignBolt(t)})
	if len(all) < 440 {
		t.Fatalf("only %d variants", len(all))
	}
	var mu sync.Mutex
	asideN, wholeN, partN := 0, 0, 0
	t.Run("variants", func(t *testing.T) {
		for chunk := range slices.Chunk(all, (len(all)+3)/4) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for _, v := range chunk {
					aside, records := survive(t, v, r)
					mu.Lock()
					switch {
					case aside:
						asideN++
					case records == 49:
						wholeN++
					default:
						partN++
					}
					mu.Unlock()
				}
			})
		}
	})
	t.Logf("%d files: %d moved aside, %d whole, %d without some record", len(all), asideN, wholeN, partN)
	if asideN < 100 || wholeN < 50 || partN < 5 {
		t.Error("the damages do not reach everything they should")
	}
}

// survive opens a damaged file and returns whether it was moved aside and how many
// records were read.
func survive(t *testing.T, v variant, from relic) (aside bool, records int) {
	t.Helper()
	cfg := config(t)
	writeFile(t, cfg.Path, v.file, 0o600)
	writeFile(t, filepath.Join(filepath.Dir(cfg.Path), "store.key"), from.key, 0o600)
	s, err := Open(cfg)
	if err != nil {
		t.Errorf("%s: %v", v.name, err)
		return false, 0
	}
	got := s.Records()
	for name, r := range got {
		if !slices.ContainsFunc(from.past[name], func(p Record) bool { return reflect.DeepEqual(p, r) }) {
			t.Errorf("%s: the record of %s was never written", v.name, name)
		}
	}
	old := asides(t, cfg, "corrupt")
	if aside = len(old) > 0; aside {
		if !bytes.Equal(read(t, old[0]), v.file) {
			t.Errorf("%s: the file moved aside is not the damaged one", v.name)
		}
		if len(got) > 0 || !strings.Contains(strings.Join(s.Notices(), "\n"), old[0]) {
			t.Errorf("%s: moved aside with %d records, notices %q", v.name, len(got), s.Notices())
		}
	}
	// A page whose latest write was lost is as sound as it was before it; nothing in
	// bbolt's format tells.
	if len(got) < 49 && len(s.Notices()) == 0 && !strings.HasPrefix(v.name, "lost write") {
		t.Errorf("%s: %d records are missing and nothing was said", v.name, 49-len(got))
	}
	var putErr error
	s.Put("credential-49", sample("new"), func(err error) { putErr = err })
	s.round(s.take(false))
	if err := s.Close(); err != nil || putErr != nil {
		t.Errorf("%s: put: %v, close: %v", v.name, putErr, err)
	}
	again := saved(t, cfg)
	got["credential-49"] = sample("new")
	if !reflect.DeepEqual(again, got) {
		t.Errorf("%s: %d records after a restart, want %d as they were", v.name, len(again), len(got))
	}
	return aside, len(got) - 1
}

// foreignBolt is a sound bbolt file of somebody else.
func foreignBolt(t *testing.T) file {
	path := filepath.Join(t.TempDir(), "other")
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	err = db.Update(func(tx *bolt.Tx) error {
		_, err := tx.CreateBucket([]byte("things"))
		return err
	})
	if err != nil || db.Close() != nil {
		t.Fatal(err)
	}
	return read(t, path)
}

// A record that was moved to another name, or taken from an earlier store, does not
// open: it is a miss, and the others are read.
func TestRecordIsBoundToNameAndStore(t *testing.T) {
	cfg := given(t, config(t), "tokend.key", keyA)
	s, stop := start(t, cfg)
	for _, name := range []string{"a", "b", "c"} {
		mustPut(t, s, name, sample(name))
	}
	stop()
	other := cfg
	other.Path = filepath.Join(t.TempDir(), "tokens.db")
	o, stop := start(t, other)
	mustPut(t, o, "c", sample("other"))
	foreign := o.image.records["c"]
	stop()

	s = open(t, cfg)
	moved := map[string][]byte{"a": s.image.records["b"], "c": foreign}
	if err := s.disk.update(moved, nil); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = open(t, cfg)
	wantRecords(t, s.Records(), map[string]Record{"b": sample("b")})
	if n := s.Notices(); len(n) != 2 || !strings.Contains(n[0], `"a"`) || !strings.Contains(n[1], `"c"`) {
		t.Errorf("notices %q", n)
	}
	s.Close()
	s = open(t, cfg)
	defer s.Close()
	if n := s.Notices(); len(n) != 0 {
		t.Errorf("a record that was dropped is reported again: %q", n)
	}
}

// A later schema is refused with the version that wrote it, and left alone.
func TestNewerSchema(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	h := s.image.header
	h.Schema, h.Version = schema+1, "v9.8.7"
	if err := s.disk.update(nil, h.encode()); err != nil {
		t.Fatal(err)
	}
	s.Close()
	before := read(t, cfg.Path)
	_, err := Open(cfg)
	if err == nil || !strings.Contains(err.Error(), `tokend "v9.8.7" with schema 2`) || !strings.Contains(err.Error(), "v1.2.3") {
		t.Errorf("error %v", err)
	}
	if !bytes.Equal(before, read(t, cfg.Path)) {
		t.Error("a refused start changed the file")
	}
}

// A damaged header is damage: it must not read as another key or another schema,
// which would refuse the start for good.
func TestDamagedHeader(t *testing.T) {
	cfg := given(t, config(t), "tokend.key", keyA)
	open(t, cfg).Close()
	sound := read(t, cfg.Path)
	head := bytes.Index(sound, []byte(`{"schema":1`))
	if head < 0 {
		t.Fatal("no header in the file")
	}
	for _, field := range []string{"schema\":", "version\":\"", "key_source\":\"", "key_id\":\"", "salt\":\""} {
		b := bytes.Clone(sound)
		at := head + bytes.Index(b[head:], []byte(field)) + len(field)
		b[at] ^= 2 // the schema becomes 3
		writeFile(t, cfg.Path, b, 0o600)
		s, err := Open(cfg)
		if err != nil {
			t.Errorf("%s: %v", field, err)
			continue
		}
		s.Close()
		if n := len(asides(t, cfg, "corrupt")); n != 1 {
			t.Errorf("%s: %d files moved aside", field, n)
		}
		for _, old := range asides(t, cfg, "corrupt") {
			os.Remove(old)
		}
	}
}

// The header names the tokend that opened the store last.
func TestVersionIsKept(t *testing.T) {
	cfg := config(t)
	open(t, cfg).Close()
	cfg.Version = "v2.0.0"
	open(t, cfg).Close()
	d, err := lock(cfg.Path)
	if err == nil {
		err = d.open()
	}
	if err != nil {
		t.Fatal(err)
	}
	defer d.release()
	img, err := d.read()
	if err != nil || img.header.Version != "v2.0.0" || img.header.Schema != schema {
		t.Errorf("header %+v, %v", img.header, err)
	}
}
