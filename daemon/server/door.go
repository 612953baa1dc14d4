package server

import (
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
)

// limits bound what callers can take.
type limits struct {
	perUID   int // connections of one uid
	total    int // connections in all
	reserved int // of them, those that only root and the daemon's uid get

	read  time.Duration // for a whole request
	write time.Duration // for each write
	idle  time.Duration // between two requests
	beat  time.Duration // of silence in a watch
}

// defaultLimits are those of a process that may have so many files open. Up to 256
// of them are for the store, the providers and the rest.
func defaultLimits(files int) limits {
	total := min(16384, files-min(256, files/2))
	return limits{
		perUID: min(4096, max(1, total/4)), total: total, reserved: min(64, total/4),
		read: 10 * time.Second, write: 30 * time.Second, idle: 2 * time.Minute, beat: 30 * time.Second,
	}
}

// openFiles is the process's limit on open files.
func openFiles() int {
	var l syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
		return 1024 // what Linux gives a process that nobody cared for
	}
	return int(min(l.Cur, math.MaxInt32))
}

const (
	// mostFarewells is how many refused connections are seen off properly at a time.
	mostFarewells = 64
	farewell      = time.Second
	// lastWords is how long, at the end, a request may be on its way: a first one on a
	// new connection, and the rest of one that has begun.
	lastWords = time.Second
	// busyEvery is how often at most the log says that connections are refused.
	busyEvery = 10 * time.Second
)

// door is a listener that knows who comes in, and keeps any one uid from taking
// all connections.
type door struct {
	net.Listener
	limits    limits
	peerOf    func(*net.UnixConn) (access.Peer, error)
	log       *slog.Logger
	born      time.Time
	stopping  <-chan struct{} // closed when watches have to end
	farewells chan struct{}   // a slot for each refused connection that is seen off
	busy      rate.Sometimes
	inside    sync.WaitGroup // connections and farewells

	mu       sync.Mutex // guards what follows
	conns    map[uint32]map[*conn]struct{}
	total    int
	ordinary int // of total, those of neither root nor the daemon's uid
}

func newDoor(l net.Listener, s *Server) *door {
	return &door{
		Listener: l, limits: s.limits, peerOf: s.peerOf, log: s.Log, born: time.Now(),
		farewells: make(chan struct{}, mostFarewells),
		busy:      rate.Sometimes{First: 1, Interval: busyEvery},
		conns:     map[uint32]map[*conn]struct{}{},
	}
}

// conn is a connection whose caller is known.
type conn struct {
	*net.UnixConn
	peer     access.Peer
	write    time.Duration
	stopping <-chan struct{}
	// quiet is when the latest request was answered, or the connection made, in
	// nanoseconds of the door's life; inCall during a call, closing once the
	// connection had to make room.
	quiet atomic.Int64
	// asked is closed when the first request is in a call, or the connection's end came.
	asked chan struct{}
	heard sync.Once // closes asked
	// called says that what is written now is a call's answer. The goroutine that
	// serves the connection has it for itself.
	called bool
}

const (
	inCall  = 0
	closing = -1
)

// privileged says whether the reserved connections are for this caller.
func (c *conn) privileged() bool { return (c.peer.UID == 0 || c.peer.Owner) && !c.peer.Overflow }

// closeIfQuiet closes the connection unless it is in a call. A request that just
// arrives is lost with it; clients repeat one whose answer never began.
func (c *conn) closeIfQuiet() bool {
	since := c.quiet.Load()
	if since <= inCall || !c.quiet.CompareAndSwap(since, closing) {
		return false
	}
	c.Close()
	return true
}

// Accept waits for the next connection that may come in.
func (d *door) Accept() (net.Conn, error) {
	for {
		nc, err := d.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c, err := d.identify(nc)
		if err != nil {
			d.log.Warn("connection closed", "err", err)
			nc.Close()
			continue
		}
		if d.enter(c) {
			return c, nil
		}
		d.refuse(c)
	}
}

func (d *door) identify(nc net.Conn) (*conn, error) {
	uc, ok := nc.(*net.UnixConn)
	if !ok {
		return nil, fmt.Errorf("a connection of %T: only a unix socket says who is calling", nc)
	}
	peer, err := d.peerOf(uc)
	if err != nil {
		return nil, err
	}
	c := &conn{UnixConn: uc, peer: peer, write: d.limits.write, stopping: d.stopping, asked: make(chan struct{})}
	c.quiet.Store(d.now())
	return c, nil
}

// now is the door's age; never zero, which would be inCall.
func (d *door) now() int64 { return int64(time.Since(d.born)) + 1 }

// enter lets the connection in, if need be in place of its uid's longest idle one.
func (d *door) enter(c *conn) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	mine := d.conns[c.peer.UID]
	full := len(mine) >= d.limits.perUID || d.total >= d.limits.total ||
		!c.privileged() && d.ordinary >= d.limits.total-d.limits.reserved
	if full && !d.makeRoomLocked(mine) {
		return false
	}
	if d.conns[c.peer.UID] == nil { // makeRoomLocked may have removed the last
		d.conns[c.peer.UID] = map[*conn]struct{}{}
	}
	d.conns[c.peer.UID][c] = struct{}{}
	d.total++
	if !c.privileged() {
		d.ordinary++
	}
	d.inside.Add(1)
	return true
}

// makeRoomLocked closes the longest idle of the connections. It looks at each: that
// is some ten microseconds for a uid at its limit, and costs nobody else anything.
func (d *door) makeRoomLocked(conns map[*conn]struct{}) bool {
	for {
		var longest *conn
		since := int64(math.MaxInt64)
		for c := range conns {
			if q := c.quiet.Load(); q > inCall && q < since {
				longest, since = c, q
			}
		}
		if longest == nil {
			return false
		}
		if longest.closeIfQuiet() { // else a request came in between
			d.removeLocked(longest)
			return true
		}
	}
}

// removeLocked takes the connection out of the counts, once.
func (d *door) removeLocked(c *conn) {
	mine := d.conns[c.peer.UID]
	if _, ok := mine[c]; !ok {
		return
	}
	delete(mine, c)
	if len(mine) == 0 {
		delete(d.conns, c.peer.UID)
	}
	d.total--
	if !c.privileged() {
		d.ordinary--
	}
}

// state hears from net/http what becomes of a connection; each is closed once.
func (d *door) state(nc net.Conn, s http.ConnState) {
	c := nc.(*conn)
	switch s {
	case http.StateActive:
		if q := c.quiet.Load(); q != closing {
			c.quiet.CompareAndSwap(q, inCall)
		}
	case http.StateIdle:
		c.called = false
		c.quiet.CompareAndSwap(inCall, d.now())
	case http.StateClosed:
		c.heard.Do(func() { close(c.asked) })
		d.mu.Lock()
		d.removeLocked(c)
		d.mu.Unlock()
		d.inside.Done()
	}
}

// refuse tells the caller to come back, and waits a moment for it to hang up: the
// kernel cuts off callers whose request is not read.
func (d *door) refuse(c *conn) {
	d.busy.Do(func() {
		d.log.Warn("connection refused: the uid, or all together, have too many open and none is idle", "uid", c.peer.UID, "pid", c.peer.PID)
	})
	deadline := time.Now().Add(farewell)
	c.SetDeadline(deadline)
	_, err := c.UnixConn.Write(busyAnswer())
	select {
	case d.farewells <- struct{}{}:
	default:
		c.Close()
		return
	}
	d.inside.Go(func() {
		defer func() { <-d.farewells }()
		defer c.Close()
		if err == nil && c.CloseWrite() == nil {
			_, _ = io.Copy(io.Discard, io.LimitReader(c.UnixConn, 2*maxHeader+maxBody))
		}
	})
}

// busyAnswer is a whole answer: 503 pending, come back in a second.
func busyAnswer() []byte {
	return whole(api.Errorf(api.CodePending, "too many connections are open, and none is idle").
		WithHint("keep fewer connections open, or reuse them").After(time.Second))
}

// closeSilent closes every connection that is in no call; newcomers only if all is true.
func (d *door) closeSilent(all bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, conns := range d.conns {
		for c := range conns {
			if all || !c.newcomer() {
				c.closeIfQuiet()
			}
		}
	}
}

// newcomer says that nothing was asked on the connection yet.
func (c *conn) newcomer() bool {
	select {
	case <-c.asked:
		return false
	default:
		return true
	}
}

// awaitNewcomers returns when something was asked on every connection, or when that
// takes longer than a request may be on its way.
func (d *door) awaitNewcomers() {
	over := time.NewTimer(lastWords)
	defer over.Stop()
	d.mu.Lock()
	var waiting []*conn
	for _, conns := range d.conns {
		for c := range conns {
			if c.newcomer() {
				waiting = append(waiting, c)
			}
		}
	}
	d.mu.Unlock()
	for _, c := range waiting {
		select {
		case <-c.asked:
		case <-over.C:
			return
		}
	}
}

// wait returns when every connection was closed and its call, if any, ended.
func (d *door) wait() { d.inside.Wait() }
