package store

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzRecord feeds the reader of records with bytes that came from a disk: as
// something sealed, which must never open, and as what was sealed, which must come
// back as it was read.
func FuzzRecord(f *testing.F) {
	k := keys{master: []byte(keyA), salt: make([]byte, saltSize)}
	plain, err := encodeRecord(sample("seed"))
	if err != nil {
		f.Fatal(err)
	}
	sealed := k.seal(forRecord, "a", plain)
	for _, seed := range [][]byte{plain, sealed, sealed[:27], {}, []byte(`{}`), []byte(`null`), []byte(`{"token":"a"}{}`), []byte(`{"issued":"12345-01-01T00:00:00Z"}`)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// The seeds hold something sealed, but for another name.
		if got, err := k.open(forRecord, "b", b); err == nil {
			t.Fatalf("bytes that were not sealed opened as %q", got)
		}
		back, err := k.open(forRecord, "name", k.seal(forRecord, "name", b))
		if err != nil || !bytes.Equal(back, b) {
			t.Fatalf("sealed bytes came back as %q, %v", back, err)
		}
		r, err := decodeRecord(b)
		if err != nil {
			return
		}
		again, err := encodeRecord(r)
		if err != nil {
			return
		}
		if r2, err := decodeRecord(again); err != nil || !equal(r, r2) {
			t.Fatalf("a record changed on its way to the disk and back (%v)", err)
		}
	})
}

// equal compares as JSON does: an empty list is none.
func equal(a, b Record) bool {
	x, errX := encodeRecord(a)
	y, errY := encodeRecord(b)
	return errX == nil && errY == nil && bytes.Equal(x, y) && (a.Attempt == nil) == (b.Attempt == nil)
}

// FuzzHeader feeds the only part that is read before the key is known.
func FuzzHeader(f *testing.F) {
	h := header{Schema: 1, Version: "v1", KeySource: sourceOwn, KeyName: "store.key", KeyID: "00", Salt: []byte("salt")}
	f.Add(h.encode())
	f.Add([]byte{})
	f.Add(header{}.encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := decodeHeader(b)
		if err != nil {
			return
		}
		if again, err := decodeHeader(h.encode()); err != nil || !reflect.DeepEqual(h, again) {
			t.Fatalf("header %+v came back as %+v, %v", h, again, err)
		}
	})
}

// FuzzFile feeds the check with whole files. It must end, and what it accepts bbolt
// must be able to read and write without a fault.
func FuzzFile(f *testing.F) {
	sound := newRelic(f).file
	for _, spoil := range purposeful() {
		b := file(bytes.Clone(sound))
		spoil(b)
		f.Add([]byte(b))
	}
	f.Add([]byte(sound))
	f.Fuzz(func(t *testing.T, b []byte) {
		if checkPages(bytes.NewReader(b), int64(len(b))) != nil {
			return
		}
		path := filepath.Join(t.TempDir(), "db")
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		d, err := lock(path)
		if err != nil {
			t.Fatal(err)
		}
		defer d.release()
		if err := d.open(); err != nil {
			t.Fatalf("bbolt refuses what was accepted: %v", err)
		}
		if _, err := d.read(); err != nil {
			return // sound pages, but no store
		}
		if err := d.update(map[string][]byte{"a": []byte("x"), "credential-03": nil}, nil); err != nil {
			t.Fatalf("writing what was accepted: %v", err)
		}
	})
}
