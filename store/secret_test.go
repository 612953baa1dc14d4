package store

import (
	"bytes"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHash(t *testing.T) {
	cfg := config(t)
	s := open(t, cfg)
	hash := func(s *Store, parts ...string) string {
		var b [][]byte
		for _, p := range parts {
			b = append(b, []byte(p))
		}
		return s.Hash(b...)
	}
	seen := map[string]string{}
	for _, parts := range [][]string{{}, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"ab", ""}, {"", "ab"}, {"ab", "c"}, {"a", "bc"}} {
		h := hash(s, parts...)
		if len(h) != 64 || seen[h] != "" {
			t.Errorf("hash of %q is %q, as that of %s", parts, h, seen[h])
		}
		seen[h] = fmt.Sprintf("%q", parts)
	}
	before := hash(s, "x")
	s.Close()
	s = open(t, cfg)
	defer s.Close()
	if hash(s, "x") != before {
		t.Error("the hash changed over a restart")
	}
	other := open(t, config(t))
	defer other.Close()
	if hash(other, "x") == before {
		t.Error("two stores have the same hash")
	}
}

// Nothing of a record may be readable in any file, in a log line or in an error.
func TestNothingLeaks(t *testing.T) {
	cfg := config(t)
	var log bytes.Buffer
	cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s, stop := start(t, cfg)
	for i := range 30 {
		mustPut(t, s, fmt.Sprintf("name-%d", i), sample("PLANTED-MARKER"))
	}
	mustPut(t, s, "name-1", sample("PLANTED-MARKER-again"))
	if err := remove(s, "name-2"); err != nil {
		t.Fatal(err)
	}
	stop()
	files := 0
	err := filepath.WalkDir(filepath.Dir(cfg.Path), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		for _, marker := range []string{"PLANTED", "plain-", "token", "expires"} {
			if bytes.Contains(b, []byte(marker)) {
				t.Errorf("%s holds %q in the clear", path, marker)
			}
		}
		return err
	})
	if err != nil || files != 2 {
		t.Errorf("%d files, %v", files, err)
	}
	if strings.Contains(log.String(), "PLANTED") {
		t.Error("the log holds a token")
	}
	key, db := read(t, s.ownKeyPath()), read(t, cfg.Path)
	if bytes.Contains(db, key[:8]) || bytes.Contains(db, s.hashes[:8]) {
		t.Error("the file holds a key")
	}
}
