package config

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	maxFile   = 64 << 20 // of the credentials file
	maxSecret = 64 << 10 // of a secret's file
	maxCA     = 4 << 20  // of a CA file; the bundle of a distribution is a quarter of a MiB
)

var errNoFile = errors.New("there is no such file")

// reader reads files for one Load, each once, and remembers what it saw.
type reader struct {
	uid  uint32
	gids []uint32 // of the process, its own gid included
	// lenient is for a check by root, who is not the one that tokend will run as:
	// foreign owners and groups are then no error.
	lenient bool

	content map[asked]content
}

// asked is how a file was asked for: being public spares it no check as a secret.
type asked struct {
	path    string
	private bool
}

// content is one file as it was read.
type content struct {
	data    []byte
	sum     [sha256.Size]byte // of data
	err     error
	foreign string // what is wrong if tokend does not run as that owner or group
	seen    signature
}

// signature tells whether a file has changed without reading it. The zero value is
// that of a file that is not there.
type signature struct {
	place
	size         int64
	mtime, ctime syscall.Timespec
	errno        syscall.Errno // why nobody can tell, if that is not for want of a file
	// young is set where a change right after this look could leave the same times. Who
	// looks later never sets it, so that a young signature equals no other.
	young bool
}

const (
	// tick is how far apart two changes have to be for their times to differ, with
	// a margin: the kernel's clock for files stands still for up to 10 ms.
	tick = 50 * time.Millisecond
	// coarseTick is that of file systems that keep whole seconds, or even ones.
	coarseTick = 2*time.Second + tick
)

func sign(fi fs.FileInfo) signature {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return signature{}
	}
	at := place{uint64(st.Dev), st.Ino} //nolint:unconvert // it is a uint32 on MIPS
	return signature{place: at, size: st.Size, mtime: st.Mtim, ctime: st.Ctim}
}

// signatureOf is the signature of what the path leads to at this moment.
func signatureOf(path string) signature {
	fi, err := os.Stat(path)
	if err == nil {
		return sign(fi)
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok && errno != syscall.ENOENT {
		return signature{errno: errno}
	}
	return signature{}
}

// ripeAfter is how old its times have to be for the signature to be relied on.
func (s signature) ripeAfter() time.Duration {
	if s.mtime.Nsec == 0 && s.ctime.Nsec == 0 {
		return coarseTick
	}
	return tick
}

// at is the signature as somebody sees it who reads the file at that time.
func (s signature) at(now time.Time) signature {
	age := now.Sub(time.Unix(s.ctime.Unix()))
	s.young = s.ino != 0 && age.Abs() < s.ripeAfter()
	return s
}

// read returns a file's content. A private file has to keep out everybody but its
// owner, root and a group of tokend's.
func (r *reader) read(path string, limit int64, private bool) content {
	if c, ok := r.content[asked{path, private}]; ok {
		return c
	}
	c := r.open(path, limit, private)
	c.sum = sha256.Sum256(c.data)
	if r.content == nil {
		r.content = make(map[asked]content)
	}
	r.content[asked{path, private}] = c
	return c
}

func (r *reader) open(path string, limit int64, private bool) (c content) {
	// Without O_NONBLOCK a named pipe would hold the daemon until somebody writes.
	// What is checked is what was opened, not what the path leads to a moment later.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOCTTY, 0)
	if err != nil {
		c.seen, c.err = signatureOf(path).at(time.Now()), r.whyNotOpen(path, err)
		return c
	}
	defer f.Close()
	fi, err := f.Stat()
	if err != nil {
		c.err = cause(err)
		return c
	}
	c.seen = sign(fi).at(time.Now())
	if !fi.Mode().IsRegular() {
		c.err = fmt.Errorf("%s, not a regular file", modeName(fi.Mode()))
		return c
	}
	if private {
		if c.foreign, c.err = r.permissions(path, fi); c.err != nil {
			return c
		}
	}
	if fi.Size() > limit {
		c.err = fmt.Errorf("larger than %s", size(limit))
		return c
	}
	c.data, err = io.ReadAll(io.LimitReader(f, limit+1))
	switch {
	case err != nil:
		c.data, c.err = nil, cause(err)
	case int64(len(c.data)) > limit:
		c.data, c.err = nil, fmt.Errorf("larger than %s", size(limit))
	}
	return c
}

func (r *reader) whyNotOpen(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return errNoFile
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("uid %d may not read it: run chown %d %s, or let tokend's group read it, and check the directories above",
			r.uid, r.uid, shell(path))
	case errors.Is(err, syscall.ELOOP):
		return errors.New("its symbolic links go round in a circle")
	case errors.Is(err, syscall.ENXIO):
		return errors.New("a socket or a device without a driver, not a regular file")
	}
	return cause(err)
}

// permissions says what lets others at the file, and the commands that mend it.
func (r *reader) permissions(path string, fi fs.FileInfo) (foreign string, err error) {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return "", errors.New("the system does not say who owns it")
	}
	var faults, mend, strange []string
	if st.Uid != 0 && st.Uid != r.uid {
		fault := fmt.Sprintf("it belongs to uid %d, not to root or to uid %d that runs tokend", st.Uid, r.uid)
		if r.lenient && r.uid == 0 {
			strange = append(strange, fmt.Sprintf("it belongs to uid %d: tokend takes it only if it runs as that", st.Uid))
		} else {
			faults, mend = append(faults, fault), append(mend, fmt.Sprintf("chown %d %s", r.uid, shell(path)))
		}
	}
	mode, want := fi.Mode().Perm(), fi.Mode().Perm()
	if mode&0o007 != 0 {
		faults, want = append(faults, "it is open to everybody"), want&^0o007
	}
	if mode&0o020 != 0 {
		faults, want = append(faults, fmt.Sprintf("gid %d may write it", st.Gid)), want&^0o020
	}
	if mode&0o040 != 0 && st.Gid != 0 && !slices.Contains(r.gids, st.Gid) {
		if r.lenient && r.uid == 0 {
			strange = append(strange, fmt.Sprintf("gid %d may read it: tokend takes it only if that is a group of its own", st.Gid))
		} else {
			faults, want = append(faults, fmt.Sprintf("gid %d, which is no group of tokend's, may read it", st.Gid)), want&^0o070
		}
	}
	if want != mode {
		mend = append(mend, fmt.Sprintf("chmod %04o %s", want, shell(path)))
	}
	if len(faults) > 0 {
		err = fmt.Errorf("%s (mode %04o): run %s", strings.Join(faults, ", "), mode, strings.Join(mend, " && "))
	}
	return strings.Join(strange, ", "), err
}

// moved says whether a file is no longer what was read of it.
func (r *reader) moved() bool {
	for path, seen := range r.signatures() {
		seen.young = false
		if signatureOf(path) != seen {
			return true
		}
	}
	return false
}

// signatures are those of every file that was asked for.
func (r *reader) signatures() map[string]signature {
	seen := make(map[string]signature, len(r.content))
	for a, c := range r.content {
		seen[a.path] = c.seen
	}
	return seen
}

// sum is one of every file's name and content.
func (r *reader) sum() [sha256.Size]byte {
	files := make(map[string]string, len(r.content))
	for a, c := range r.content {
		files[a.path] = string(c.sum[:])
	}
	return digest(files)
}

// digest is a SHA-256 of names and values. Lengths go in too: no two maps look the
// same to it.
func digest(values map[string]string) [sha256.Size]byte {
	var text []byte
	for _, name := range slices.Sorted(maps.Keys(values)) {
		for _, s := range [...]string{name, values[name]} {
			text = binary.BigEndian.AppendUint64(text, uint64(len(s)))
			text = append(text, s...)
		}
	}
	return sha256.Sum256(text)
}

// cause is the error without the path, which the message names itself.
func cause(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

func modeName(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a directory"
	case m&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case m&fs.ModeDevice != 0:
		return "a device"
	case m&fs.ModeSocket != 0:
		return "a socket"
	}
	return "something else"
}

func size(n int64) string {
	if n >= 1<<20 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%d KiB", n>>10)
}

// shell quotes a path for pasting into a shell.
func shell(path string) string {
	if strings.Trim(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@%,=") == "" && path != "" {
		return path
	}
	if strings.ContainsFunc(path, func(c rune) bool { return c < ' ' || c == 0x7f }) {
		return quote(path) // no shell would take it as it stands
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
