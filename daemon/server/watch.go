package server

import (
	"hash/maphash"
	"net/http"
	"slices"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

// alive is the line of a watch that has nothing to tell.
var alive = []byte("{}\n")

// watchedToo adds a name to those that the call watches.
func (c *call) watchedToo(name string) *api.Error {
	if !api.ValidName(name) {
		return api.Errorf(api.CodeUsage, "name=%.70q cannot be a credential's name", name)
	}
	c.watched = append(c.watched, name)
	return nil
}

// watch tells how things stand, and then every change, until the caller leaves or
// tokend stops.
func (c *call) watch() *api.Error {
	if problem := c.anyVisible(); problem != nil {
		return problem
	}
	s := stream{call: c, changes: c.server.Keeper.Watch(c.watched...), seed: maphash.MakeSeed(), told: map[string]uint64{}}
	defer s.changes.Close()
	for _, name := range c.watched {
		s.told[name] = 0 // that one is not there is worth a line too
	}
	h := c.w.Header()
	h["Content-Type"], h["Cache-Control"] = typeLines, noStore
	c.answered = true
	c.w.WriteHeader(http.StatusOK)
	c.count("ok")
	s.run()
	return nil
}

// anyVisible refuses a watch of names none of which the caller may see: that is a
// mistake, and its problem is the first one's.
func (c *call) anyVisible() (first *api.Error) {
	for _, name := range c.watched {
		c.name = name // for the log
		_, problem := c.visible()
		c.name, c.credential = "", ""
		if problem == nil {
			return nil
		}
		if first == nil {
			first = problem.For(name)
		}
	}
	return first
}

// stream is a watch under way.
type stream struct {
	*call
	changes *keeper.Watch
	// told has, for each credential that the caller knows to be there, a hash of what
	// it was told of it last.
	told map[string]uint64
	seed maphash.Seed
	said bool // something that is not flushed yet
}

// run writes until somebody has enough. What it said is flushed before it waits, and
// nothing is queued: what changes while a slow caller holds up a write is looked at
// when the write is done.
func (s *stream) run() {
	beat := time.NewTimer(s.server.limits.beat)
	defer beat.Stop()
	flush := http.NewResponseController(s.w).Flush
	for s.said = true; ; { // the header, for a start
		for _, name := range s.due() {
			if s.stopped() || !s.tell(name) {
				return
			}
		}
		if s.said {
			if flush() != nil {
				return
			}
			s.said = false
			beat.Reset(s.server.limits.beat)
		}
		select {
		case <-s.changes.Ready:
		case <-beat.C:
			if !s.write(alive) {
				return
			}
		case <-s.r.Context().Done():
			return
		case <-s.conn.stopping:
			return
		}
	}
}

// stopped says whether tokend stops.
func (s *stream) stopped() bool {
	select {
	case <-s.conn.stopping:
		return true
	default:
		return false
	}
}

// due names the credentials to look at.
func (s *stream) due() []string {
	names, all := s.changes.Take()
	switch {
	case !all:
		return names
	case len(s.watched) > 0:
		return s.watched
	}
	for _, cell := range s.server.Keeper.Cells() {
		names = append(names, cell.Name())
	}
	for name := range s.told {
		if s.server.Keeper.Cell(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// gone is the last line about a credential.
type gone struct {
	Name  string    `json:"name"`
	State api.State `json:"state"`
}

// tell writes a line about the credential if the caller may have it and does not know
// it yet. False says that the caller takes no more.
func (s *stream) tell(name string) bool {
	status, ok := s.look(name)
	last, known := s.told[name]
	if !ok {
		delete(s.told, name)
		return !known || s.write(encode(gone{name, api.StateRemoved}))
	}
	sum := s.sum(status)
	if known && last == sum {
		return true
	}
	s.told[name] = sum
	return s.write(encode(status))
}

func (s *stream) write(line []byte) bool {
	s.said = true
	_, err := s.w.Write(line)
	return err == nil
}

// look returns the status that the caller may see now. The rules are read last: they
// are no older than what they decide on.
func (s *stream) look(name string) (status api.Status, ok bool) {
	cell := s.server.Keeper.Cell(name)
	if cell == nil {
		return status, false
	}
	status = cell.Status()
	ok, _ = cell.Rules().Status(s.conn.peer)
	return status, ok
}

// sum is a hash of what a watch tells of a status. Eight bytes are kept of each
// credential instead of all that; two statuses in 2^64 look the same.
func (s *stream) sum(status api.Status) uint64 {
	news := struct {
		state       api.State
		usable      bool
		fingerprint string
		expires     time.Time
		code        api.Code
		challenge   api.Challenge
	}{state: status.State, usable: status.Usable, fingerprint: status.Fingerprint, expires: status.ExpiresAt}
	if status.Error != nil {
		news.code = status.Error.Code
	}
	if status.Challenge != nil {
		news.challenge = *status.Challenge
	}
	return maphash.Comparable(s.seed, news)
}
