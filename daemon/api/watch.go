package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"time"
)

const (
	// longestSilence of a watch: tokend says something every 30 s.
	longestSilence = 90 * time.Second
	maxStatus      = 1 << 20 // one line of a watch
)

// Watch calls each with the present status of the named credentials, and then
// whenever one changes: in state, usable, fingerprint, expires_at, error code or
// challenge. Without names it watches all credentials on which the caller has a right,
// those to come included. The state removed says that a credential is gone, or that
// the caller may no longer see it; the status has nothing but a name then. One that
// comes back is told again. Calls of each that take their time miss steps, never the
// newest.
//
// Watch ends with an error: that of each; or an *Error, unreachable if tokend stopped,
// ctx ended or nothing came for 90 s, although tokend says something every 30 s. To
// go on is the caller's affair; a new watch begins with the present statuses.
func (c *Client) Watch(ctx context.Context, names []string, each func(Status) error) error {
	target, sep := "/v1/watch", "?"
	for _, name := range names {
		if bad := checkName(name); bad != nil {
			return bad
		}
		target += sep + "name=" + name
		sep = "&"
	}
	var refused error // by each
	var a answer
	socket, err := c.exchange(ctx, "GET", target, nil, func(conn *os.File) (err error) {
		a, err = watch(patient{ctx, conn}, func(line []byte) error {
			refused = c.told(conn.Name(), line, each)
			return refused
		})
		return err
	})
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return err
	case a.status != 0:
		return problem(socket, a)
	}
	return Errorf(CodeUnreachable, "%s: tokend ended the watch", socket).
		WithHint("tokend may be restarting; see its log")
}

// told takes one line of a watch.
func (c *Client) told(socket string, line []byte, each func(Status) error) error {
	var s Status
	if err := json.Unmarshal(line, &s); err != nil || s.Name == "" || s.State == "" {
		return Errorf(CodeInternal, "%s: a line of the watch is no status: %q", socket, excerpt(line)).
			WithHint("is that tokend's socket?")
	}
	if c.Raw != nil {
		c.Raw(bytes.Clone(line))
	}
	return each(s)
}

// watch reads a stream of lines and hands out those that say something, each with its
// end, valid until the next. An answer that is no such stream is read and returned.
func watch(r io.Reader, line func([]byte) error) (answer, error) {
	rd := newReader(r, maxOne)
	status, kind, length, err := rd.final()
	switch {
	case err != nil:
		return answer{}, err
	case status != 200 || kind != "application/x-ndjson" || length != chunked:
		body, err := rd.body(length)
		return answer{status, kind, body}, err
	}
	lines := bufio.NewScanner(&stream{rd: rd})
	lines.Buffer(nil, maxStatus)
	lines.Split(wholeLines)
	for lines.Scan() {
		if string(bytes.TrimSpace(lines.Bytes())) == "{}" {
			continue // a sign of life
		}
		if err := line(lines.Bytes()); err != nil {
			return answer{}, err
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return answer{}, malformed("a line of the watch is longer than " + strconv.Itoa(maxStatus>>20) + " MiB")
	}
	return answer{}, lines.Err()
}

// wholeLines splits into lines, and leaves a last one without its end alone: it is
// half of something.
func wholeLines(data []byte, _ bool) (int, []byte, error) {
	n := bytes.IndexByte(data, '\n') + 1
	if n == 0 {
		return 0, nil, nil
	}
	return n, data[:n], nil
}

// stream reads a chunked body as it comes.
type stream struct {
	rd     *reader
	left   int64 // of the chunk
	inside bool  // the chunk's end was not read yet
}

// Read is the io.Reader's. After io.EOF it must not be called again.
func (s *stream) Read(b []byte) (int, error) {
	if s.left == 0 {
		if err := s.next(); err != nil {
			return 0, err
		}
	}
	n, err := s.rd.r.Read(b[:min(int64(len(b)), s.left)])
	s.left -= int64(n)
	return n, cutOff(err)
}

// next goes on to the next chunk, io.EOF if there is none.
func (s *stream) next() (err error) {
	if s.inside {
		if err := s.rd.endChunk(); err != nil {
			return err
		}
	}
	s.left, err = s.rd.chunk()
	s.inside = true
	if err == nil && s.left == 0 {
		err = io.EOF
	}
	return err
}

// patient is a connection that fails once nothing came for longestSilence.
type patient struct {
	ctx  context.Context
	conn interface {
		io.Reader
		SetReadDeadline(time.Time) error
		Name() string
	}
}

// Read is the io.Reader's.
func (p patient) Read(b []byte) (int, error) {
	if err := p.conn.SetReadDeadline(time.Now().Add(longestSilence)); err != nil {
		return 0, err
	}
	if err := p.ctx.Err(); err != nil { // whose end may have set another one just before
		return 0, err
	}
	n, err := p.conn.Read(b)
	if errors.Is(err, os.ErrDeadlineExceeded) && p.ctx.Err() == nil {
		err = Errorf(CodeUnreachable, "%s: nothing came for %v", p.conn.Name(), longestSilence).
			WithHint("the daemon may be busy or stopped")
	}
	return n, err
}
