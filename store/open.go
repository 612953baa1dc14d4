package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
)

// open is Open without the wrapping; the caller releases s.disk after an error.
func (s *Store) open() error {
	if err := makeDir(filepath.Dir(s.path)); err != nil {
		return err
	}
	var err error
	if s.disk, err = lock(s.path); err != nil {
		return err
	}
	if s.disk.size == 0 { // just made, or a first start that got no further
		return s.startEmpty("")
	}
	err = s.disk.open()
	if err == nil {
		s.image, err = s.disk.read()
	}
	if isDamage(err) {
		s.alarm("%s is damaged (%v)", s.path, err)
		return s.startEmpty("corrupt")
	}
	if err != nil {
		return err
	}
	if h := s.image.header; h.Schema > schema {
		return fmt.Errorf("%s was written by tokend %q with schema %d, this is tokend %q and knows schema %d: "+
			"run that version, or move the file away to start empty", s.path, h.Version, h.Schema, s.cfg.Version, schema)
	}
	if s.image.header.KeySource == sourceGiven {
		return s.openGiven()
	}
	return s.openOwn()
}

// openGiven opens a store that was sealed with a given key, or refuses.
func (s *Store) openGiven() error {
	given, err := s.givenKey()
	if err != nil {
		return err
	}
	h := s.image.header
	if given == nil {
		return fmt.Errorf("%s is sealed with a given key (%q), and none is given: "+
			"give it back, or move the file away to start empty", s.path, h.KeyName)
	}
	s.image.keys = keys{master: given, salt: h.Salt}
	if s.image.keys.id() != h.KeyID {
		return fmt.Errorf("%s is sealed with another key (%q) than the given one (%q): "+
			"give that one back, or move the file away to start empty", s.path, h.KeyName, s.keyName())
	}
	return s.unseal(nil)
}

// openOwn opens a store that was sealed with store.key. Without it the records are
// lost, which is no reason not to start.
func (s *Store) openOwn() error {
	given, err := s.givenKey()
	if err != nil {
		return err
	}
	own, err := s.ownKey()
	if err != nil {
		return err
	}
	s.image.keys = keys{master: own, salt: s.image.header.Salt}
	switch {
	case own == nil:
		s.alarm("%s is gone, and without it nothing in %s can be read", s.ownKeyPath(), s.path)
		return s.startEmpty("sealed")
	case s.image.keys.id() != s.image.header.KeyID:
		s.alarm("%s is not the key that %s was sealed with", s.ownKeyPath(), s.path)
		return s.startEmpty("sealed")
	}
	return s.unseal(given)
}

// unseal opens what was read, moves it to another key if one is given, and tries a
// write.
func (s *Store) unseal(moveTo []byte) error {
	root, err := s.image.keys.open(forHash, "", s.image.hash)
	if err != nil {
		s.alarm("%s is damaged (hash root: %v)", s.path, err)
		return s.startEmpty("corrupt")
	}
	s.setHashes(root)
	s.records = make(map[string]Record, len(s.image.records))
	plain := make(map[string][]byte, len(s.image.records))
	misses := map[string][]byte{} // name → nil: to be deleted
	for _, name := range sortedNames(s.image.records) {
		text, err := s.image.keys.open(forRecord, name, s.image.records[name])
		var r Record
		if err == nil {
			r, err = decodeRecord(text)
		}
		if err != nil {
			s.warn("the record of %q in %s cannot be read and is dropped: %v", name, s.path, err)
			misses[name] = nil
			continue
		}
		s.records[name], plain[name] = r, text
	}
	if moveTo != nil && s.reseal(moveTo, root, plain) {
		return nil
	}
	s.tryWrite(misses)
	return nil
}

// reseal moves the store to the given key: a new file, renamed over the old one. If
// that cannot be written, the old one serves on.
func (s *Store) reseal(given, root []byte, plain map[string][]byte) bool {
	img := s.newImage(given, sourceGiven, root)
	for name, text := range plain {
		img.records[name] = img.keys.seal(forRecord, name, text)
	}
	if _, err := s.replace(img, ""); err != nil {
		s.alarm("%s stays sealed with %s, the next start tries the given key (%s) again: %v",
			s.path, s.ownKeyPath(), s.keyName(), err)
		return false
	}
	s.warn("%s is now sealed with the given key (%s); %s is not used any more, delete it when no backup needs it",
		s.path, s.keyName(), s.ownKeyPath())
	return true
}

// tryWrite notes who opened the file and drops what could not be read. That the
// disk is full is no reason not to start: tokens can be served without being saved.
func (s *Store) tryWrite(misses map[string][]byte) {
	s.image.header.Version = s.cfg.Version
	if err := s.commit(misses, s.image.header.encode()); err != nil {
		s.alarm("%s cannot be written now, tokens will not be saved: %v", s.path, err)
	}
}

// startEmpty replaces the file by an empty one under the present key; a reason says
// that the old file is moved aside.
func (s *Store) startEmpty(reason string) error {
	if s.disk.file == nil { // lost with the lock when bbolt would not open it
		d, err := lock(s.path)
		if err != nil {
			return err
		}
		s.disk = d
	}
	key, err := s.givenKey()
	source := sourceGiven
	if err == nil && key == nil {
		source = sourceOwn
		if key, err = s.ownKey(); err == nil && key == nil {
			key, err = s.makeOwnKey()
		}
	}
	if err != nil {
		return err
	}
	if key == nil {
		return errors.New("making the store's key: another one appeared and is no key")
	}
	root := random(keySize)
	s.setHashes(root)
	s.records = map[string]Record{}
	aside, err := s.replace(s.newImage(key, source, root), reason)
	if err != nil {
		return err
	}
	if aside != "" {
		s.alarm("the old token store was moved to %s; starting with an empty one, every credential logs in anew", aside)
	} else {
		s.inform("new token store %s, sealed with %s", s.path, s.image.header.KeyName)
	}
	return nil
}

// newImage is an empty store under a key.
func (s *Store) newImage(key []byte, source string, root []byte) image {
	k, name := newKeys(key), ownKeyName
	if source == sourceGiven {
		name = s.keyName()
	}
	return image{
		keys: k,
		header: header{
			Schema: schema, Version: s.cfg.Version,
			KeySource: source, KeyName: name, KeyID: k.id(), Salt: k.salt,
		},
		hash:    k.seal(forHash, "", root),
		records: map[string][]byte{},
	}
}

func (s *Store) setHashes(root []byte) {
	s.hashes = keys{master: root}.derive(forHashes, "", keySize)
}

func (s *Store) notice(level slog.Level, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	s.notices = append(s.notices, text)
	s.log.Log(context.Background(), level, text)
}

func sortedNames(m map[string][]byte) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
