package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links the kernel follows (path_resolution(7)).
const maxLinks = 40

// place is a directory or a file, whatever it is called.
type place struct{ dev, ino uint64 }

// trails are the ways that paths take through the file system at one moment: each
// directory entry whose replacement would make one of them lead elsewhere, with the
// directory that it is in. They hold the directories above too: when one of these is
// moved, those below it do not notice.
type trails struct {
	// places are what to watch, by path: the directories that hold an entry, and the
	// files that can be changed where no directory here sees it.
	places map[string]place
	names  map[place]map[string]bool // the entries; a directory may have several paths
	// passed are the directories that are passed through and hold nothing else of
	// ours. Watching them matters less.
	passed map[string]bool

	steps map[string]step // what stands at the paths, each looked at once
}

// step is what stands at a path.
type step struct {
	fs.FileInfo // nil: nothing, or out of reach
	target      string
}

func newTrails() *trails {
	return &trails{
		places: map[string]place{}, names: map[place]map[string]bool{},
		passed: map[string]bool{}, steps: map[string]step{},
	}
}

// follow walks an absolute path as the kernel does. Where something is missing, the
// trail ends at the nearest directory that is there, with the name that has to
// appear in it.
func (t *trails) follow(path string) {
	dir, rest, links := "/", split(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir) // dir holds no links: its parent is the one before
			continue
		}
		full := filepath.Join(dir, name)
		s := t.step(full)
		through := s.FileInfo != nil && s.IsDir() && len(rest) > 0
		t.note(dir, name, through)
		switch {
		case s.FileInfo == nil:
			return
		case s.Mode()&os.ModeSymlink == 0:
			dir = full
			continue
		}
		if links++; s.target == "" || links > maxLinks {
			return
		}
		if filepath.IsAbs(s.target) {
			dir = "/"
		}
		rest = append(split(s.target), rest...)
	}
	if s := t.step(dir); s.FileInfo != nil && seenElsewhere(dir, s.FileInfo) {
		t.note(dir, "", false)
	}
}

// step looks at a path, once.
func (t *trails) step(path string) step {
	s, ok := t.steps[path]
	if ok {
		return s
	}
	if fi, err := os.Lstat(path); err == nil {
		s.FileInfo = fi
		if fi.Mode()&os.ModeSymlink != 0 {
			s.target, _ = os.Readlink(path) // "" leads nowhere, as what is gone does
		}
	}
	t.steps[path] = s
	return s
}

// note adds an entry of a directory; with an empty name, the place itself.
func (t *trails) note(dir, name string, through bool) {
	s := t.step(dir)
	if s.FileInfo == nil {
		return // gone since it was passed: what is above it holds its name
	}
	at := sign(s.FileInfo).place
	if _, known := t.places[dir]; !known {
		t.passed[dir] = true
	}
	t.places[dir] = at
	if !through {
		delete(t.passed, dir)
	}
	if t.names[at] == nil {
		t.names[at] = map[string]bool{}
	}
	t.names[at][name] = true
}

// hold says whether the path is that of an entry, or of a place.
func (t *trails) hold(path string) bool {
	if _, ok := t.places[path]; ok {
		return true
	}
	dir, name := filepath.Split(path)
	return t.names[t.places[filepath.Clean(dir)]][name]
}

// seenElsewhere says whether a file can be written so that the directory it is in
// does not notice: by another hard link, or where it is mounted from, as single files
// are in containers.
func seenElsewhere(path string, fi fs.FileInfo) bool {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok || !fi.Mode().IsRegular() {
		return false
	}
	var x unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, path, unix.AT_SYMLINK_NOFOLLOW, 0, &x); err != nil {
		x.Attributes = 0 // an old kernel: then no mount is seen
	}
	return st.Nlink > 1 || x.Attributes&unix.STATX_ATTR_MOUNT_ROOT != 0
}

// split is the parts of a path, without those that lead nowhere. It keeps "..",
// which after a symbolic link does not undo the part before.
func split(path string) (parts []string) {
	for part := range strings.SplitSeq(path, "/") {
		if part != "" && part != "." {
			parts = append(parts, part)
		}
	}
	return parts
}
