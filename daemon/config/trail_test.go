package config

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// entries are what the trails note below d, as "dir:name", sorted.
func (t *trails) entries(d string) (all []string) {
	for dir, at := range t.places {
		below, ok := strings.CutPrefix(dir, d)
		if !ok {
			continue
		}
		for name := range t.names[at] {
			all = append(all, below+":"+name)
		}
	}
	slices.Sort(all)
	return all
}

func TestTrails(t *testing.T) {
	d, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err,
		os.MkdirAll(d+"/a/b", 0o700), os.WriteFile(d+"/a/b/f", nil, 0o600),
		os.Symlink("a", d+"/rel"), os.Symlink(d+"/a/b", d+"/abs"), os.Symlink("../b/f", d+"/a/b/up"),
		os.Symlink("loop", d+"/loop"), os.Symlink("gone/f", d+"/dangling"),
		os.WriteFile(d+"/hard", nil, 0o600), os.Link(d+"/hard", d+"/a/hard"))
	for _, tt := range []struct{ path, want string }{
		{"/a/b/f", "/a/b:f /a:b :a"},
		{"/a//b/./f", "/a/b:f /a:b :a"},
		{"/rel/b/f", "/a/b:f /a:b :a :rel"},
		{"/abs/f", "/a/b:f /a:b :a :abs"},
		{"/abs/../b/f", "/a/b:f /a:b :a :abs"},
		{"/rel/b/up", "/a/b:f /a/b:up /a:b :a :rel"},
		{"/dangling", ":dangling :gone"},
		{"/missing/x/y", ":missing"},
		{"/a/missing/y", "/a:missing :a"},
		{"/a/b/f/y", "/a/b/f:y /a/b:f /a:b :a"},
		{"/loop", ":loop"},
		{"/a/hard", "/a/hard: /a:hard :a"},
	} {
		walked := newTrails()
		walked.follow(d + tt.path)
		if got := strings.Join(walked.entries(d), " "); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.path, got, tt.want)
		}
		for dir := d; dir != "/"; dir = filepath.Dir(dir) {
			if up := filepath.Dir(dir); !walked.hold(dir) || !walked.passed[up] {
				t.Errorf("%s: %s is not held, or %s not merely passed through", tt.path, dir, up)
			}
		}
		for path, held := range map[string]bool{d + "/b": false, d + "/a/b/fx": false, d + "x": false, "a": false, "": false, "/": true} {
			if walked.hold(path) != held {
				t.Errorf("%s: %q is held: %v", tt.path, path, !held)
			}
		}
	}
}

// TestTrails_long: the kernel follows 40 symbolic links, and no more.
func TestTrails_long(t *testing.T) {
	d, err := filepath.EvalSymlinks(t.TempDir())
	must(t, err)
	write(t, filepath.Join(d, "0"), "")
	for i := range maxLinks + 1 {
		must(t, os.Symlink(string(rune('0'+i)), filepath.Join(d, string(rune('1'+i)))))
	}
	for links, want := range map[int]int{maxLinks: maxLinks + 1, maxLinks + 1: maxLinks + 1} {
		path := filepath.Join(d, string(rune('0'+links)))
		_, err := os.Stat(path)
		walked := newTrails()
		walked.follow(path)
		if got := len(walked.entries(d)); got != want || (err == nil) != (links <= maxLinks) || walked.hold(filepath.Join(d, "0")) != (err == nil) {
			t.Errorf("%d links: %d entries, want %d; the kernel says %v", links, got, want, err)
		}
	}
}

// TestTrails_sameDirectory: a directory with two paths has one watch, which is called
// by one of them.
func TestTrails_sameDirectory(t *testing.T) {
	walked := newTrails()
	at := place{1, 2}
	maps.Copy(walked.places, map[string]place{"/a": at, "/b": at})
	walked.names[at] = map[string]bool{"x": true, "y": true}
	if !walked.hold("/a/y") || !walked.hold("/b/x") || walked.hold("/a/z") {
		t.Error("the two paths do not share their entries")
	}
}
