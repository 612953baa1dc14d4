package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"syscall"
)

// maxName is far above what credentials are called; bbolt takes 32,768 bytes, and a
// name it refuses would fail everything in the same transaction.
const maxName = 255

// write is one queued Put or Delete.
type write struct {
	name  string
	plain []byte // nil deletes
	err   error  // it is refused, with this
	done  func(error)
}

func (w write) finish(err error) {
	if w.done != nil {
		w.done(err)
	}
}

// Put queues a record to be saved under a name and returns at once; the record may
// be changed afterwards. done, which may be nil, is called from Run's goroutine once
// the record is durable, or with the error that prevented it: the record then may or
// may not be on disk, and whoever wants it saved puts it again. When the store is
// closed done is called with ErrClosed before Put returns.
func (s *Store) Put(name string, r Record, done func(error)) {
	w := write{name: name, done: done}
	if w.plain, w.err = encodeRecord(r); w.err == nil {
		w.err = checkName(name)
	}
	s.enqueue(w)
}

// Delete queues the removal of a record. Removing what is not there is no error.
// done is as for Put. Writes take effect in the order they were queued.
func (s *Store) Delete(name string, done func(error)) {
	s.enqueue(write{name: name, err: checkName(name), done: done})
}

func checkName(name string) error {
	if name == "" || len(name) > maxName {
		return fmt.Errorf("a record's name has %d bytes, not 1 to %d", len(name), maxName)
	}
	return nil
}

func (s *Store) enqueue(w write) {
	s.mu.Lock()
	refused := s.state == closed
	if !refused {
		s.queue = append(s.queue, w)
	}
	s.mu.Unlock()
	if refused {
		w.finish(ErrClosed)
		return
	}
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// Run writes what is queued until ctx ends; then it writes the rest and returns
// nil. It runs once: a second call returns ErrClosed, or says that Run is running.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	before := s.state
	if before == idle {
		s.state = running
	}
	s.mu.Unlock()
	switch before {
	case running:
		return errors.New("running the token store: it is running already")
	case closed:
		return ErrClosed
	}
	for {
		select {
		case <-s.wake:
			s.round(s.take(false))
		case <-ctx.Done():
			for batch := s.take(true); len(batch) > 0; batch = s.take(true) {
				s.round(batch)
			}
			return nil
		}
	}
}

// take empties the queue. At the end an empty queue closes the store in the same
// moment, so that every write is either done or refused.
func (s *Store) take(ending bool) []write {
	s.mu.Lock()
	defer s.mu.Unlock()
	batch := s.queue
	s.queue = nil
	if ending && len(batch) == 0 {
		s.state = closed
	}
	return batch
}

// round commits a batch in one transaction and reports to everybody in it. Of the
// writes of one name only the last has to reach the disk.
func (s *Store) round(batch []write) {
	last := make(map[string][]byte, len(batch))
	for _, w := range batch {
		if w.err == nil {
			last[w.name] = w.plain
		}
	}
	for name, plain := range last {
		if plain != nil {
			last[name] = s.image.keys.seal(forRecord, name, plain)
		}
	}
	var err error
	if len(last) > 0 {
		err = s.commit(last, nil)
	}
	for _, w := range batch {
		if w.err != nil {
			w.finish(fmt.Errorf("saving %q: %w", w.name, w.err))
		} else {
			w.finish(err)
		}
	}
}

// commit makes changes (name → sealed, nil deletes) and, when it is given, the
// header durable: in the file, or when that is damaged or doubtful, in a new one.
func (s *Store) commit(changes map[string][]byte, head []byte) error {
	if !s.broken {
		err := s.update(changes, head)
		if err == nil {
			apply(s.image.records, changes)
			s.missKey()
			return nil
		}
		if !s.broken || !isDamage(err) {
			return fmt.Errorf("saving in %s: %w", s.path, err)
		}
	}
	img := s.image
	img.records = maps.Clone(s.image.records)
	apply(img.records, changes)
	aside, err := s.replace(img, s.reason)
	if err != nil {
		return fmt.Errorf("building %s anew: %w", s.path, err)
	}
	if aside != "" {
		s.log.Error("the token store was built anew from memory, nothing is lost; the old file is " + aside)
	} else {
		s.log.Warn("the token store " + s.path + " was built anew from memory")
	}
	return nil
}

func apply(records, changes map[string][]byte) {
	for name, sealed := range changes {
		if sealed != nil {
			records[name] = sealed
		} else {
			delete(records, name)
		}
	}
}

// update tries the file as it is, and marks it as broken when it cannot be used
// again.
func (s *Store) update(changes map[string][]byte, head []byte) error {
	err := s.present()
	if err == nil {
		err = s.disk.update(changes, head)
		if err == nil {
			err = s.disk.measure()
		}
		if err == nil {
			return nil
		}
		if cause, ok := writeError(err); ok {
			return cause // bbolt has rolled back, and what is on disk is as it was
		}
		// Anything else leaves the file in doubt. After a failed fdatasync the kernel
		// takes unwritten pages for written; after a failed remap bbolt has no
		// mapping left. An errno is the disk's fault, the rest may be the file's.
		s.broken = true
		_, disk := errors.AsType[syscall.Errno](err)
		if !disk && !isDamage(err) && checkPages(s.disk.file, s.disk.size) != nil {
			err = &damageError{err}
		}
	}
	if isDamage(err) {
		s.broken, s.reason = true, "corrupt"
		s.log.Error("the token store "+s.path+" is damaged", "err", err)
	}
	return err
}

// missKey says so, once, when the store's own key has gone while tokend runs: all
// goes on, but the next start could not open what is stored.
func (s *Store) missKey() {
	if s.cfg.KeyFile != "" {
		return
	}
	_, err := os.Lstat(s.ownKeyPath())
	missing := errors.Is(err, fs.ErrNotExist)
	if missing && !s.keyMissing {
		s.log.Error("somebody deleted " + s.ownKeyPath() + " while tokend runs: put it back, or the next start begins with an empty store and every credential logs in anew")
	}
	s.keyMissing = missing
}

// present checks that the path still names our file in its full length: a write to
// a deleted file would succeed and be lost, and one to a shortened file may miss
// the part that is gone.
func (s *Store) present() error {
	now, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return damaged("somebody deleted it while tokend runs")
	case err != nil:
		return err
	case !os.SameFile(now, s.disk.info):
		return errForeign
	case now.Size() < s.disk.size:
		return damaged("it shrank from %d to %d bytes", s.disk.size, now.Size())
	}
	return nil
}

// errForeign leaves the decision to a person: the file may be a backup that
// somebody put back, or the store of another tokend.
var errForeign = errors.New("another file was put in its place while tokend runs: " +
	"restart tokend to use that one, or move it away")

// writeError finds out whether a page could not be written, for want of space as a
// rule, and why. bbolt's page writes are the only calls in a commit whose error has
// a path; that path may be the one the file was built under, so it is dropped.
func writeError(err error) (cause error, ok bool) {
	e, ok := errors.AsType[*fs.PathError](err)
	if !ok || e.Op != "write" {
		return nil, false
	}
	return e.Err, true
}

// replace builds a file that holds img and puts it at the path. A reason moves the
// old file aside, under a name that is returned. After an error all is as before,
// or the new file is in use but doubtful.
func (s *Store) replace(img image, reason string) (aside string, err error) {
	if now, err := os.Lstat(s.path); err == nil && !os.SameFile(now, s.disk.info) {
		return "", errForeign
	}
	next, err := build(s.path, img)
	if err != nil {
		return "", err
	}
	if reason != "" {
		aside, err = setAside(s.path, reason)
	}
	if err == nil {
		err = os.Rename(next.file.Name(), s.path)
	}
	if err != nil {
		return "", errors.Join(err, os.Remove(next.file.Name()), next.release())
	}
	old := s.disk
	s.disk, s.image, s.broken, s.reason = next, img, false, ""
	// Its lock goes with it: who gets that finds another file at the path.
	if err := old.release(); err != nil {
		s.log.Warn("closing the replaced token store", "err", err)
	}
	if err := syncDir(filepath.Dir(s.path)); err != nil {
		s.broken = true // a crash could bring the old file back: build it again
		return aside, err
	}
	return aside, nil
}
