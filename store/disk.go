package store

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

const (
	lockTimeout = 2 * time.Second
	lockRetry   = 50 * time.Millisecond
)

var (
	metaBucket        = []byte("meta")
	credentialsBucket = []byte("credentials")
	headerKey         = []byte("header")
	hashKey           = []byte("hash")
)

// errHeld says that somebody else holds the lock, or that the file we locked is no
// longer the one at the path.
var errHeld = errors.New("locked")

// damageError is a file that cannot be trusted, as against a disk that is full or a
// key that does not fit.
type damageError struct{ err error }

func (e *damageError) Error() string { return e.err.Error() }
func (e *damageError) Unwrap() error { return e.err }

func damaged(format string, args ...any) error {
	return &damageError{fmt.Errorf(format, args...)}
}

func isDamage(err error) bool {
	_, ok := errors.AsType[*damageError](err)
	return ok
}

// disk is one file: locked, and mapped by bbolt once open was called. After a
// fault nothing of bbolt is used any more.
type disk struct {
	file    *os.File
	info    fs.FileInfo // names the inode
	size    int64       // the largest seen; bbolt never shrinks a file
	db      *bolt.DB
	faulted bool // bbolt's locks may be held for ever
}

// image is what a file holds: everything needed to write it anew.
type image struct {
	keys    keys
	header  header
	hash    []byte            // sealed
	records map[string][]byte // name → sealed
}

// lock opens and locks the file at path, making it if need be, and waits up to two
// seconds for whoever holds it.
func lock(path string) (*disk, error) {
	deadline := time.Now().Add(lockTimeout)
	for {
		d, err := tryLock(path, os.O_CREATE)
		if !errors.Is(err, errHeld) {
			return d, err
		}
		if !time.Now().Before(deadline) {
			return nil, fmt.Errorf("another tokend holds %s: stop it, or give this one another store", path)
		}
		time.Sleep(lockRetry)
	}
}

// tryLock takes bbolt's own lock before bbolt does, because the file is read before
// bbolt may see it. flock belongs to the open file: bbolt gets the same one and
// finds it locked by itself.
func tryLock(path string, flag int) (*disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NOFOLLOW|flag, 0o600)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link: name the file itself", path)
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = checkOwn(path, info)
	}
	if err == nil {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); errors.Is(err, syscall.EWOULDBLOCK) {
			err = errHeld
		}
	}
	if err == nil {
		// Between opening and locking, whoever held it may have renamed a successor over
		// it: what we locked is then no store any more.
		if now, statErr := os.Lstat(path); statErr != nil || !os.SameFile(info, now) {
			err = errHeld
		}
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &disk{file: f, info: info, size: info.Size()}, nil
}

// guard runs fn and turns panics, faults on mapped memory among them, into damage.
// A fault becomes a panic only in the goroutine that asked for it; bbolt 1.5 starts
// none but for files without a free list (which checkPages refuses), Check and
// Batch.
func (d *disk) guard(doing string, fn func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			d.faulted = true
			err = damaged("%s: %.200v", doing, p)
		}
	}()
	return fn()
}

// open checks the file and hands it to bbolt. An empty one is new.
func (d *disk) open() error {
	return d.guard("opening", func() error {
		if d.size > 0 {
			if err := checkPages(d.file, d.size); err != nil {
				return &damageError{err}
			}
		}
		db, err := bolt.Open(d.file.Name(), 0o600, &bolt.Options{
			Timeout:      lockTimeout,
			NoStatistics: true,
			OpenFile:     func(string, int, os.FileMode) (*os.File, error) { return d.file, nil },
		})
		if err == nil {
			d.db = db
			return nil
		}
		d.file = nil // bbolt has closed it, and the lock is gone
		if _, ok := errors.AsType[syscall.Errno](err); ok {
			return err // no memory, no space: no fault of the file
		}
		return &damageError{err}
	})
}

// read returns all that the file holds. The slices are copies: nothing points into
// mapped memory.
func (d *disk) read() (img image, err error) {
	err = d.guard("reading", func() error {
		return d.db.View(func(tx *bolt.Tx) error {
			meta, credentials := tx.Bucket(metaBucket), tx.Bucket(credentialsBucket)
			if meta == nil || credentials == nil {
				return damaged("no store of tokend: a bucket is missing")
			}
			h, err := decodeHeader(slices.Clone(meta.Get(headerKey)))
			if err != nil {
				return &damageError{err}
			}
			img = image{header: h, hash: slices.Clone(meta.Get(hashKey)), records: map[string][]byte{}}
			return credentials.ForEach(func(name, sealed []byte) error {
				if sealed == nil {
					return damaged("a bucket where a record should be")
				}
				img.records[string(name)] = slices.Clone(sealed)
				return nil
			})
		})
	})
	return img, err
}

// update commits changes (nil deletes) and, when it is given, the header.
func (d *disk) update(changes map[string][]byte, head []byte) error {
	return d.guard("writing", func() error {
		return d.db.Update(func(tx *bolt.Tx) error {
			if head != nil {
				if err := tx.Bucket(metaBucket).Put(headerKey, head); err != nil {
					return err
				}
			}
			return putAll(tx.Bucket(credentialsBucket), changes)
		})
	})
}

// putAll goes by name: bbolt splits pages best when keys ascend.
func putAll(b *bolt.Bucket, changes map[string][]byte) error {
	for _, name := range sortedNames(changes) {
		var err error
		if sealed := changes[name]; sealed != nil {
			err = b.Put([]byte(name), sealed)
		} else {
			err = b.Delete([]byte(name))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// build writes a new file beside path and returns it locked.
func build(path string, img image) (*disk, error) {
	tmp := path + ".new"
	if err := os.Remove(tmp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err // what is left of a crash; whoever holds path owns it
	}
	d, err := tryLock(tmp, os.O_CREATE|os.O_EXCL)
	if err != nil {
		return nil, err
	}
	if err = d.open(); err == nil {
		err = d.guard("writing", func() error { return d.db.Update(img.write) })
	}
	if err == nil {
		err = d.measure()
	}
	if err != nil {
		return nil, fmt.Errorf("writing %s: %w", tmp, errors.Join(err, d.release(), os.Remove(tmp)))
	}
	return d, nil
}

// write fills a new file.
func (img image) write(tx *bolt.Tx) error {
	meta, err := tx.CreateBucket(metaBucket)
	if err != nil {
		return err
	}
	credentials, err := tx.CreateBucket(credentialsBucket)
	if err != nil {
		return err
	}
	if err := meta.Put(headerKey, img.header.encode()); err != nil {
		return err
	}
	if err := meta.Put(hashKey, img.hash); err != nil {
		return err
	}
	return putAll(credentials, img.records)
}

// release unmaps, unlocks and closes the file. After a fault bbolt's Close could
// wait for ever on a lock that the panic left held, so only the file is closed. The
// mapping then stays until the process ends: address space, and the disk space of a
// file that somebody deletes. It also keeps the open file alive and with it the
// flock, which therefore has to be given up in so many words.
func (d *disk) release() error {
	switch {
	case d.db != nil && !d.faulted:
		return d.db.Close()
	case d.file != nil:
		return errors.Join(syscall.Flock(int(d.file.Fd()), syscall.LOCK_UN), d.file.Close())
	}
	return nil
}

// measure notes the size, so that a file that shrinks later is found out.
func (d *disk) measure() error {
	info, err := d.file.Stat()
	if err != nil {
		return err
	}
	d.size = info.Size()
	return nil
}

// setAside gives the file at path a second name that says why and when, and returns
// it; "" when there is no file. A link, because path then never stands for nothing:
// the successor is renamed over it. Without hard links the file is renamed.
func setAside(path, reason string) (string, error) {
	base := path + "." + reason + "-" + time.Now().UTC().Format("20060102T150405Z")
	for i := 1; ; i++ {
		name := base
		if i > 1 {
			name = fmt.Sprintf("%s.%d", base, i)
		}
		err := os.Link(path, name)
		switch {
		case err == nil:
			return name, nil
		case errors.Is(err, fs.ErrNotExist):
			return "", nil
		case errors.Is(err, fs.ErrExist):
			continue
		}
		if _, err := os.Lstat(name); err == nil {
			continue
		}
		return name, os.Rename(path, name)
	}
}

// syncDir makes new names in a directory durable.
func syncDir(path string) error {
	dir, err := os.Open(filepath.Clean(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
