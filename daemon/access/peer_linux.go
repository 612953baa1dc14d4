package access

import (
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// defaultOverflowUID is DEFAULT_OVERFLOWUID of the kernel's highuid.h.
const defaultOverflowUID = 65534

// overflowUID is the uid that stands for those our user namespace does not map. It
// is a setting of the machine, so it is read once.
var overflowUID = sync.OnceValue(func() uint32 {
	data, err := os.ReadFile("/proc/sys/kernel/overflowuid")
	if err != nil {
		return defaultOverflowUID
	}
	id, err := parseID(strings.TrimSpace(string(data)))
	if err != nil {
		return defaultOverflowUID
	}
	return id
})

// PeerOf asks the kernel who connected (SO_PEERCRED and SO_PEERGROUPS, unix(7) and
// socket(7)). It describes the process as it was when it connected, whoever holds
// the descriptor now. Both 65534 and the machine's own overflow uid count as
// Overflow. Its Unit asks when it is called, while the connection is open, and then
// keeps what it learned.
func PeerOf(c *net.UnixConn) (Peer, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return Peer{}, fmt.Errorf("asking for the caller's identity: %w", err)
	}
	var peer Peer
	var failed error
	err = raw.Control(func(fd uintptr) { peer, failed = peerOf(int(fd)) })
	if err == nil {
		err = failed
	}
	if err != nil {
		return Peer{}, fmt.Errorf("asking for the caller's identity: %w", err)
	}
	peer.Unit = sync.OnceValues(caller{conn: raw, pid: peer.PID, uid: peer.UID, met: sinceBoot()}.unit)
	return peer, nil
}

func peerOf(fd int) (Peer, error) {
	cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
	if err != nil {
		return Peer{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	groups, err := peerGroups(fd, 32)
	if err != nil {
		return Peer{}, fmt.Errorf("SO_PEERGROUPS: %w", err)
	}
	// initgroups(3) lists the gid among the others, newgrp(1) need not.
	groups = slices.DeleteFunc(groups, func(gid uint32) bool { return gid == cred.Gid })
	return Peer{
		UID: cred.Uid, GID: cred.Gid, Groups: groups, PID: cred.Pid,
		Owner:    cred.Uid == uint32(os.Geteuid()),
		Overflow: cred.Uid == overflowUID() || cred.Uid == defaultOverflowUID || cred.Uid == 1<<32-1,
	}, nil
}

// peerGroups reads the supplementary groups, with room for n at first. With too
// little the kernel says ERANGE and how much it needs; the caller's groups do not
// change once it has connected, so that is asked at most once more.
func peerGroups(fd, n int) ([]uint32, error) {
	for range 2 {
		groups := make([]uint32, max(1, n))
		size := uint32(len(groups)) * uint32(unsafe.Sizeof(groups[0]))
		// x/sys has no call for it that does not stop at a zero byte.
		_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_PEERGROUPS,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		n = int(size) / int(unsafe.Sizeof(groups[0]))
		switch errno {
		case 0:
			return groups[:n:n], nil
		case unix.ERANGE:
			continue
		}
		return nil, errno
	}
	return nil, unix.ERANGE
}
