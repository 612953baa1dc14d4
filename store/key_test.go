package store

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// writeFile makes a file with exactly these bits, whatever the umask.
func writeFile(t testing.TB, path string, b []byte, perm fs.FileMode) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, perm); err != nil {
		t.Fatal(err)
	}
	return path
}

// given adds a given key to a config.
func given(t testing.TB, cfg Config, name, key string) Config {
	t.Helper()
	cfg.KeyFile = writeFile(t, filepath.Join(t.TempDir(), "key"), []byte(key), 0o400)
	cfg.KeyName = name
	return cfg
}

// asides lists what was moved aside as what.
func asides(t testing.TB, cfg Config, reason string) []string {
	t.Helper()
	names, err := filepath.Glob(cfg.Path + "." + reason + "-*")
	if err != nil {
		t.Fatal(err)
	}
	return names
}

const (
	keyA = "0123456789abcdef0123456789abcdef"
	keyB = "another key, of more than 32 bytes, with a newline\n"
)

// What becomes of a store when the keys change between two starts.
type keyChange struct {
	first, second func(*testing.T, Config) Config
	refused       string // the error, if the start is refused
	kept          bool   // the records are there
	aside         bool   // the file was moved aside
	notice        string
}

func keyPath(cfg Config) string { return filepath.Join(filepath.Dir(cfg.Path), "store.key") }

func keyChanges() map[string]keyChange {
	own := func(t *testing.T, cfg Config) Config { return cfg }
	a := func(t *testing.T, cfg Config) Config { return given(t, cfg, "tokend.key", keyA) }
	b := func(t *testing.T, cfg Config) Config { return given(t, cfg, "--key-file", keyB) }
	lost := func(t *testing.T, cfg Config) Config { os.Remove(keyPath(cfg)); return cfg }
	changed := func(t *testing.T, cfg Config) Config {
		writeFile(t, keyPath(cfg), []byte(keyA), 0o600)
		return cfg
	}
	short := func(t *testing.T, cfg Config) Config {
		writeFile(t, keyPath(cfg), []byte("short"), 0o600)
		return cfg
	}
	lostGiven := func(t *testing.T, cfg Config) Config { return a(t, lost(t, cfg)) }
	return map[string]keyChange{
		"own, again":            {first: own, second: own, kept: true},
		"given, again":          {first: a, second: a, kept: true},
		"given, then none":      {first: a, second: own, refused: `sealed with a given key ("tokend.key"), and none is given`},
		"given, then another":   {first: a, second: b, refused: `sealed with another key ("tokend.key") than the given one ("--key-file")`},
		"own, then lost":        {first: own, second: lost, aside: true, notice: "is gone"},
		"own, then another":     {first: own, second: changed, aside: true, notice: "is not the key"},
		"own, then too short":   {first: own, second: short, aside: true, notice: "is no key"},
		"own, then given":       {first: own, second: a, kept: true, notice: "now sealed with the given key (tokend.key)"},
		"own, lost, then given": {first: own, second: lostGiven, aside: true, notice: "is gone"},
	}
}

func TestKeys(t *testing.T) {
	for name, test := range keyChanges() {
		t.Run(name, func(t *testing.T) {
			base := config(t)
			s, stop := start(t, test.first(t, base))
			mustPut(t, s, "a", sample("x"))
			hash := s.Hash([]byte("x"))
			stop()
			cfg := test.second(t, base)
			if test.refused != "" {
				refuses(t, cfg, test.refused)
				return
			}
			s = open(t, cfg)
			if notices := strings.Join(s.Notices(), "\n"); !strings.Contains(notices, test.notice) || test.notice == "" && notices != "" {
				t.Errorf("notices %q, want %q", notices, test.notice)
			}
			now := s.Hash([]byte("x"))
			s.Close()
			again := open(t, cfg)
			if kept := now == hash; kept != test.kept || again.Hash([]byte("x")) != now {
				t.Errorf("hashes kept: %t, want %t; or they changed at the start after", kept, test.kept)
			}
			again.Close()
			want := map[string]Record{}
			if test.kept {
				want["a"] = sample("x")
			}
			wantRecords(t, saved(t, cfg), want)
			if n := len(asides(t, cfg, "sealed")); (n == 1) != test.aside {
				t.Errorf("%d files moved aside", n)
			}
		})
	}
}

// refuses fails unless opening is refused and everything is as before.
func refuses(t *testing.T, cfg Config, want string) {
	t.Helper()
	before := read(t, cfg.Path)
	if _, err := Open(cfg); err == nil || !strings.Contains(err.Error(), want) {
		t.Fatalf("error %v, want %q", err, want)
	}
	if !bytes.Equal(before, read(t, cfg.Path)) {
		t.Error("a refused start changed the file")
	}
	if _, err := os.Stat(keyPath(cfg)); err == nil {
		t.Error("a refused start made a key")
	}
}

// After the move store.key opens nothing any more.
func TestMovedKeyIsNeeded(t *testing.T) {
	base := config(t)
	s, stop := start(t, base)
	mustPut(t, s, "a", sample("x"))
	stop()
	cfg := given(t, base, "tokend.key", keyA)
	open(t, cfg).Close()
	if _, err := Open(base); err == nil {
		t.Error("a store that was moved to a given key opened with store.key")
	}
	if s := open(t, cfg); len(s.Records()) != 1 {
		t.Error("a refused start lost the records")
	} else {
		s.Close()
	}
}

// A moved-aside file opens again once its key is back.
func TestSealedAsideIsWhole(t *testing.T) {
	cfg := config(t)
	s, stop := start(t, cfg)
	mustPut(t, s, "a", sample("x"))
	key := read(t, s.ownKeyPath())
	stop()
	os.Remove(s.ownKeyPath())
	open(t, cfg).Close()
	old := asides(t, cfg, "sealed")
	if len(old) != 1 {
		t.Fatalf("%d files moved aside", len(old))
	}
	back := config(t)
	writeFile(t, filepath.Join(filepath.Dir(back.Path), "store.key"), key, 0o600)
	if err := os.Rename(old[0], back.Path); err != nil {
		t.Fatal(err)
	}
	wantRecords(t, saved(t, back), map[string]Record{"a": sample("x")})
}

func TestGivenKeyFile(t *testing.T) {
	tests := map[string]struct {
		make func(t *testing.T, path string)
		want string // "" opens
	}{
		"32 bytes":    {func(t *testing.T, p string) { writeFile(t, p, []byte(keyA), 0o400) }, ""},
		"root group":  {func(t *testing.T, p string) { writeFile(t, p, []byte(keyA), 0o440) }, ""},
		"31 bytes":    {func(t *testing.T, p string) { writeFile(t, p, []byte(keyA[1:]), 0o400) }, "holds 31 bytes, a key needs 32 or more"},
		"empty":       {func(t *testing.T, p string) { writeFile(t, p, nil, 0o400) }, "holds 0 bytes"},
		"huge":        {func(t *testing.T, p string) { writeFile(t, p, make([]byte, maxGiven+1), 0o400) }, "which is no key"},
		"missing":     {func(t *testing.T, p string) {}, "no such file"},
		"directory":   {func(t *testing.T, p string) { os.Mkdir(p, 0o700) }, "not a regular file"},
		"for all":     {func(t *testing.T, p string) { writeFile(t, p, []byte(keyA), 0o604) }, "chmod 0600 "},
		"group write": {func(t *testing.T, p string) { writeFile(t, p, []byte(keyA), 0o660) }, "chmod 0640 "},
		"foreign group": {func(t *testing.T, p string) {
			chown(t, writeFile(t, p, []byte(keyA), 0o440), 0, 54321)
		}, "can be read by group 54321"},
		"foreign owner": {func(t *testing.T, p string) {
			chown(t, writeFile(t, p, []byte(keyA), 0o400), 54321, 0)
		}, "belongs to uid 54321"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			cfg.KeyFile, cfg.KeyName = filepath.Join(t.TempDir(), "key"), "--key-file"
			test.make(t, cfg.KeyFile)
			s, err := Open(cfg)
			if err == nil {
				defer s.Close()
			}
			if test.want == "" && err != nil {
				t.Fatal(err)
			}
			if test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "--key-file")) {
				t.Fatalf("error %v, want %q", err, test.want)
			}
			if _, err := os.Stat(filepath.Join(filepath.Dir(cfg.Path), "store.key")); !errors.Is(err, fs.ErrNotExist) {
				t.Error("a key was made although one is given")
			}
		})
	}
}

func chown(t *testing.T, path string, uid, gid int) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

func TestPermissionsMade(t *testing.T) {
	cfg := config(t)
	open(t, cfg).Close()
	dir := filepath.Dir(cfg.Path)
	for path, want := range map[string]fs.FileMode{
		dir: fs.ModeDir | 0o700, cfg.Path: 0o600, filepath.Join(dir, "store.key"): 0o600,
	} {
		info, err := os.Lstat(path)
		if err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}

// What is already there must be closed to others; the error says how.
func TestPermissionsFound(t *testing.T) {
	tests := map[string]struct {
		spoil func(t *testing.T, cfg Config)
		want  func(cfg Config) string
	}{
		"store readable": {
			func(t *testing.T, cfg Config) { os.Chmod(cfg.Path, 0o640) },
			func(cfg Config) string { return "chmod 600 " + cfg.Path },
		},
		"key readable": {
			func(t *testing.T, cfg Config) { os.Chmod(keyPath(cfg), 0o604) },
			func(cfg Config) string { return "chmod 600 " + keyPath(cfg) },
		},
		"store of another": {
			func(t *testing.T, cfg Config) { chown(t, cfg.Path, 54321, 0) },
			func(cfg Config) string { return fmt.Sprintf("chown %d %s", os.Geteuid(), cfg.Path) },
		},
		"key of another": {
			func(t *testing.T, cfg Config) { chown(t, keyPath(cfg), 54321, 0) },
			func(cfg Config) string { return fmt.Sprintf("chown %d %s", os.Geteuid(), keyPath(cfg)) },
		},
		"directory writable": {
			func(t *testing.T, cfg Config) { os.Chmod(filepath.Dir(cfg.Path), 0o770) },
			func(cfg Config) string { return "chmod go-w " + filepath.Dir(cfg.Path) },
		},
		"directory of another": {
			func(t *testing.T, cfg Config) { chown(t, filepath.Dir(cfg.Path), 54321, 0) },
			func(cfg Config) string { return "belongs to uid 54321" },
		},
		"store is a link": {
			func(t *testing.T, cfg Config) {
				os.Rename(cfg.Path, cfg.Path+".real")
				os.Symlink(cfg.Path+".real", cfg.Path)
			},
			func(cfg Config) string { return "is a symbolic link" },
		},
		"store is a directory": {
			func(t *testing.T, cfg Config) { os.Remove(cfg.Path); os.Mkdir(cfg.Path, 0o700) },
			func(cfg Config) string { return "is a directory" },
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			cfg := config(t)
			open(t, cfg).Close()
			test.spoil(t, cfg)
			s, err := Open(cfg)
			if err == nil {
				s.Close()
				t.Fatal("opened")
			}
			if want := test.want(cfg); !strings.Contains(err.Error(), want) {
				t.Errorf("error %q, want %q", err, want)
			}
			if n := len(asides(t, cfg, "*")); n != 0 {
				t.Errorf("%d files were moved aside", n)
			}
		})
	}
}
