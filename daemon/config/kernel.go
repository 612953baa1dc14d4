package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// arm has the kernel watch what the trails lead through now, and nothing else. What
// appears on a trail before the directory above it is watched is no event: so the
// trails are walked again until they lead through nothing new, or somebody plays
// with us; then the patrol has to do.
//
// When a place on them changes, all watches are made anew. inotify knows directories
// by what they are and package fsnotify by what they were called when the watch was
// made: after a few renames the two would speak of different ones. Nothing is missed
// between old watches and new, since what was seen is compared after that.
func (w *watch) arm() {
	var err error
	for range 10 {
		walked := newTrails()
		for path := range w.lastSeen() {
			walked.follow(path)
		}
		same := w.notifier != nil && maps.Equal(walked.places, w.trails.places)
		w.trails = walked
		if same {
			break
		}
		if err = w.renew(); err != nil {
			break
		}
	}
	if err == nil {
		err = w.watchAll()
	}
	w.say(err)
}

// renew replaces the kernel's watches.
func (w *watch) renew() error {
	w.close()
	n, err := w.start()
	if err != nil {
		return err
	}
	w.notifier, w.events, w.errs = n, n.Events, n.Errors
	_ = w.watchAll() // what it lacks in the end is looked at then
	remote := slices.ContainsFunc(slices.Collect(maps.Keys(w.trails.places)), isRemote)
	if remote && !w.remote {
		w.log.Info("some of the credentials are where others can write them unnoticed, as on a network file system: looking at them every 2 s")
	}
	w.remote = remote
	return nil
}

// close ends the kernel's watches.
func (w *watch) close() {
	if w.notifier != nil {
		w.notifier.Close()
		w.notifier, w.events, w.errs = nil, nil, nil
	}
}

// watchAll watches the places that are not: those that could not be so far, and those
// that went and came back as the same inode, which package fsnotify has let go of.
func (w *watch) watchAll() error {
	watched := w.notifier.WatchList()
	slices.Sort(watched)
	var first error
	for path := range w.trails.places {
		if _, found := slices.BinarySearch(watched, path); found {
			continue
		}
		err := w.notifier.Add(path)
		switch {
		case err == nil, errors.Is(err, fs.ErrNotExist): // the watch above it says so
		case w.trails.passed[path] && errors.Is(err, fs.ErrPermission):
		case first == nil:
			first = fmt.Errorf("%s: %w", path, err)
		}
	}
	return first
}

// say logs when watching begins or ceases to be possible.
func (w *watch) say(err error) {
	poor := ""
	if err != nil {
		poor = advice(err)
	}
	if poor == w.poor {
		return
	}
	w.poor = poor
	if poor == "" {
		w.log.Info("watching the credentials for changes again")
		return
	}
	w.log.Warn("cannot watch the credentials for changes: looking at them every 2 s", "err", poor)
}

// advice adds to an error of inotify(7) what raises the limit: the error's own text
// speaks of disks and of files.
func advice(err error) string {
	for _, limit := range limits {
		if errors.Is(err, limit.errno) {
			return fmt.Sprintf("%v (%s)", err, limit.mend)
		}
	}
	return err.Error()
}

var limits = []struct {
	errno syscall.Errno
	mend  string
}{
	{syscall.ENOSPC, "too many inotify watches of this user: raise sysctl fs.inotify.max_user_watches"},
	{syscall.EMFILE, "too many inotify instances or open files: raise sysctl fs.inotify.max_user_instances, or LimitNOFILE"},
	{syscall.ENFILE, "too many open files of the system: raise sysctl fs.file-max"},
	{syscall.EACCES, "tokend needs the right to read the directory, not only to pass through it"},
}

// isRemote says whether the path is on a file system that changes without this
// kernel: another host or a program writes it. The numbers are those of statfs(2).
func isRemote(path string) bool {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return false // gone, which another look will find
	}
	switch int64(st.Type) { //nolint:unconvert // it is an int32 on 32-bit machines
	case unix.NFS_SUPER_MAGIC, unix.SMB_SUPER_MAGIC, unix.SMB2_SUPER_MAGIC, unix.CIFS_SUPER_MAGIC,
		unix.FUSE_SUPER_MAGIC, unix.V9FS_MAGIC, unix.CEPH_SUPER_MAGIC, unix.AFS_SUPER_MAGIC, unix.AFS_FS_MAGIC,
		unix.CODA_SUPER_MAGIC, unix.NCP_SUPER_MAGIC, unix.OCFS2_SUPER_MAGIC,
		0x01161970, 0x0bd00bd0, 0x47504653, 0xaad7aaea, 0x786f4256, // GFS2, Lustre, GPFS, PanFS, VirtualBox
		unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC:
		return true
	}
	return false
}

// mountChanges has an element when file systems were mounted or unmounted, as
// proc_pid_mountinfo(5) tells those who poll it. It is nil where the kernel does not.
func mountChanges() (changes <-chan struct{}, stop func()) {
	f, err := os.OpenFile("/proc/self/mountinfo", os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, func() {}
	}
	conn, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, func() {}
	}
	found, ended := make(chan struct{}, 1), make(chan struct{})
	go func() {
		defer close(ended)
		// The func is called at the start, and whenever the kernel wakes who waits for
		// the file. It ends when the file is closed, or at once if it cannot be waited for.
		_ = conn.Read(func(uintptr) bool {
			select {
			case found <- struct{}{}:
			default: // nobody took note of the last one yet
			}
			return false
		})
	}()
	return found, func() { f.Close(); <-ended }
}
