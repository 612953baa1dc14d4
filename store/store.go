package store

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
)

// ErrClosed is what a write gets that came after Run had ended.
var ErrClosed = errors.New("the token store is closed")

// Config says where the store is and what seals it.
type Config struct {
	// Path is the file; its directory is made (0700) when it is missing.
	Path string
	// KeyFile is a given key: at least 32 bytes of anything, in a file that nobody
	// else can read or write. When empty, the store uses store.key beside Path and
	// makes it on the first start.
	KeyFile string
	// KeyName is what messages call the given key: "--key-file", "tokend.key".
	KeyName string
	// Version is the running tokend's, for a later one that cannot read the file.
	Version string
	// Log gets what an operator should know; nil discards it. Neither keys nor
	// records are in it.
	Log *slog.Logger
}

// Store is an open store. Records, Notices and Hash may be called at any time, Put
// and Delete from any goroutine.
type Store struct {
	cfg  Config
	path string // absolute
	log  *slog.Logger

	records map[string]Record // as read by Open
	notices []string          // as of Open
	hashes  []byte            // key of Hash

	// What follows belongs to Open, then to Run, then to Close.
	disk       *disk
	image      image  // what is durable
	broken     bool   // the file is not to be trusted: the next write builds it anew from image
	keyMissing bool   // its own key has gone since the start, and somebody was told
	reason     string // with broken: what the old file is moved aside as, "" to drop it

	mu    sync.Mutex // guards the fields that follow; held for moments only
	queue []write
	state state
	wake  chan struct{} // holds a token when the queue is not empty
}

type state int

const (
	idle    state = iota
	running       // Run is at it
	closed        // nothing is queued any more
)

// Open locks the store, finds its key, reads every record and tries a write. It
// starts no goroutine. A damaged file, or one whose own key was lost, is moved
// aside and the store is empty: Notices says so, and so does the log.
//
// Errors: another tokend holds the file (after two seconds), a file is open to
// others (the error names the chmod), the given key is missing, too short or not
// the one that sealed the store, a later version wrote the file, or the file system
// fails. The files are untouched then.
func Open(cfg Config) (*Store, error) {
	path, err := filepath.Abs(cfg.Path)
	if err != nil {
		return nil, fmt.Errorf("opening the token store: %w", err)
	}
	s := &Store{cfg: cfg, path: path, log: cfg.Log, wake: make(chan struct{}, 1)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if err := s.open(); err != nil {
		if s.disk != nil {
			err = errors.Join(err, s.disk.release())
		}
		return nil, fmt.Errorf("opening the token store: %w", err)
	}
	return s, nil
}

// Records returns what Open read, name → record. The map is the caller's.
func (s *Store) Records() map[string]Record { return maps.Clone(s.records) }

// Notices returns what happened while opening, one sentence each: a file that was
// moved aside, a record that could not be read, a new key in use. The log has the
// same.
func (s *Store) Notices() []string { return slices.Clone(s.notices) }

// Hash returns a keyed hash of the parts, 64 hex digits. It is the same for the
// same parts in the same order as long as the store lives, also when another key
// is given to it. Without the store nobody can test a guess against it.
func (s *Store) Hash(parts ...[]byte) string {
	mac := hmac.New(sha256.New, s.hashes)
	for _, part := range parts {
		// With lengths ("ab", "c") and ("a", "bc") differ.
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write(part)
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// Close unlocks the file. Call it after Run has returned; before that it is an
// error and does nothing. What is queued and was never run gets ErrClosed.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.state == running {
		s.mu.Unlock()
		return errors.New("closing the token store: it is still running")
	}
	s.state = closed
	left := s.queue
	s.queue = nil
	s.mu.Unlock()

	for _, w := range left {
		w.finish(ErrClosed)
	}
	if s.disk == nil {
		return nil
	}
	err := s.disk.release()
	s.disk = nil
	if err != nil {
		return fmt.Errorf("closing the token store: %w", err)
	}
	return nil
}

// inform, warn and alarm tell the operator what happened while opening: nothing to
// do, something to look at, something to do now.
func (s *Store) inform(format string, args ...any) { s.notice(slog.LevelInfo, format, args...) }
func (s *Store) warn(format string, args ...any)   { s.notice(slog.LevelWarn, format, args...) }
func (s *Store) alarm(format string, args ...any)  { s.notice(slog.LevelError, format, args...) }
