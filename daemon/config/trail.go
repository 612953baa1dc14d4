package config

import (
	"os"
	"path/filepath"
	"strings"
)

// maxLinks is how many symbolic links the kernel follows (path_resolution(7)).
const maxLinks = 40

// trail walks an absolute path as the kernel does, and notes each directory entry
// whose replacement would make the path lead elsewhere: every symbolic link, and
// what stands at the end. Where something is missing, the trail ends at the nearest
// directory that is there, with the name that has to appear in it. Directories that
// are passed through are not noted: when one is moved, the watch on the last one
// says so.
func trail(path string, note func(dir, name string)) {
	dir, rest, links := "/", split(path), 0
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		if name == ".." {
			dir = filepath.Dir(dir) // dir holds no links: its parent is the one before
			continue
		}
		full := filepath.Join(dir, name)
		fi, err := os.Lstat(full)
		if err != nil {
			note(dir, name)
			return
		}
		if fi.Mode()&os.ModeSymlink == 0 {
			if len(rest) == 0 {
				note(dir, name)
			}
			dir = full
			continue
		}
		note(dir, name)
		target, err := os.Readlink(full)
		if links++; err != nil || links > maxLinks {
			return
		}
		if filepath.IsAbs(target) {
			dir = "/"
		}
		rest = append(split(target), rest...)
	}
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
