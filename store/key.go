package store

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

const (
	ownKeyName = "store.key"
	minGiven   = 32      // bytes of a given key
	maxGiven   = 1 << 20 // more than that is the wrong file
)

// givenKey reads the key that was named, nil when none was. It is anything of 32
// bytes or more and is taken as it is, newline included.
func (s *Store) givenKey() ([]byte, error) {
	if s.cfg.KeyFile == "" {
		return nil, nil
	}
	key, err := readGiven(s.cfg.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("reading the key (%s): %w", s.keyName(), err)
	}
	return key, nil
}

// keyName is what messages call the given key.
func (s *Store) keyName() string {
	if s.cfg.KeyName == "" {
		return "key file"
	}
	return s.cfg.KeyName
}

func readGiven(path string) ([]byte, error) {
	// Without O_NONBLOCK a FIFO would hold up the start for ever.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if err := checkGiven(path, info); err != nil {
		return nil, err
	}
	key, err := io.ReadAll(io.LimitReader(f, maxGiven+1))
	switch {
	case err != nil:
		return nil, err
	case len(key) < minGiven:
		return nil, fmt.Errorf("%s holds %d bytes, a key needs %d or more", path, len(key), minGiven)
	case len(key) > maxGiven:
		return nil, fmt.Errorf("%s holds over %d bytes, which is no key", path, maxGiven)
	}
	return key, nil
}

// checkGiven wants a regular file that root or we own and that nobody else can
// write or read. A group may read it if it is root's or one of ours: systemd shows
// the access list of a credential as such a bit.
func checkGiven(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	uid, gid := owner(info)
	if uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, who could change it: chown %d %s", path, uid, os.Geteuid(), path)
	}
	perm := info.Mode().Perm()
	if perm&0o037 != 0 {
		return fmt.Errorf("%s is open to others (mode %04o): chmod %04o %s", path, perm, perm&^0o037, path)
	}
	if perm&0o040 != 0 && gid != 0 && !ourGroup(gid) {
		return fmt.Errorf("%s can be read by group %d, which is not ours: chmod %04o %s", path, gid, perm&^0o077, path)
	}
	return nil
}

func ourGroup(gid int) bool {
	groups, err := os.Getgroups()
	return gid == os.Getegid() || err == nil && slices.Contains(groups, gid)
}

func owner(info fs.FileInfo) (uid, gid int) {
	st := info.Sys().(*syscall.Stat_t) // always, on Linux
	return int(st.Uid), int(st.Gid)
}

// checkOwn wants a regular file of ours that is closed to everybody else.
func checkOwn(path string, info fs.FileInfo) error {
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", path)
	}
	if uid, _ := owner(info); uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, tokend runs as %d: chown %d %s", path, uid, os.Geteuid(), os.Geteuid(), path)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 {
		return fmt.Errorf("%s is open to others (mode %04o): chmod 600 %s", path, perm, path)
	}
	return nil
}

// makeDir makes the store's directory, or checks that nobody else can replace
// files in it.
func makeDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	info, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if uid, _ := owner(info); uid != 0 && uid != os.Geteuid() {
		return fmt.Errorf("%s belongs to uid %d, tokend runs as %d: chown %d %s", dir, uid, os.Geteuid(), os.Geteuid(), dir)
	}
	if perm := info.Mode().Perm(); perm&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
		return fmt.Errorf("others can replace files in %s (mode %04o): chmod go-w %s", dir, perm, dir)
	}
	return nil
}

func (s *Store) ownKeyPath() string { return filepath.Join(filepath.Dir(s.path), ownKeyName) }

// ownKey reads store.key. A missing one is nil; so is one of the wrong size, which
// is moved aside: it opens nothing, and a new key needs its name.
func (s *Store) ownKey() ([]byte, error) {
	path := s.ownKeyPath()
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the store's key: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	info, err := f.Stat()
	if err == nil {
		err = checkOwn(path, info)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the store's key: %w", err)
	}
	key, err := io.ReadAll(io.LimitReader(f, keySize+1))
	if err != nil {
		return nil, fmt.Errorf("reading the store's key: %w", err)
	}
	if len(key) == keySize {
		return key, nil
	}
	aside, err := setAside(path, "damaged")
	if err == nil {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("moving a damaged key aside: %w", err)
	}
	s.warn("%s is no key (it has not %d bytes) and was moved to %s", path, keySize, aside)
	return nil, nil
}

// makeOwnKey makes store.key. It is written and synced under another name and then
// linked, so that the name never stands for half a key, and a key that somebody
// made meanwhile (two stores may share a directory) is taken rather than replaced.
func (s *Store) makeOwnKey() ([]byte, error) {
	path := s.ownKeyPath()
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ownKeyName+".*") // O_EXCL, 0600
	if err != nil {
		return nil, fmt.Errorf("making the store's key: %w", err)
	}
	defer func() { _ = os.Remove(f.Name()) }() // the link stays
	key := random(keySize)
	_, err = f.Write(key)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, fmt.Errorf("making the store's key: %w", err)
	}
	err = os.Link(f.Name(), path)
	if errors.Is(err, fs.ErrExist) {
		return s.ownKey()
	}
	if err != nil { // a file system without hard links
		err = os.Rename(f.Name(), path)
	}
	if err == nil {
		err = syncDir(dir)
	}
	if err != nil {
		return nil, fmt.Errorf("making the store's key: %w", err)
	}
	return key, nil
}
