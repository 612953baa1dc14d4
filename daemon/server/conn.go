package server

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

// Read says that the caller has gone once it has, and not when it only has nothing
// more to send: so do socat and nc at the end of their input, and wait for the
// answer. net/http looks for the caller's end with reads of one byte; other reads
// want what is not coming any more.
func (c *conn) Read(b []byte) (int, error) {
	n, err := c.UnixConn.Read(b)
	if len(b) == 1 && errors.Is(err, io.EOF) {
		return 0, c.untilGone()
	}
	return n, err
}

// cutAtTheEnd has reading end a moment after the server began to stop: half a body is
// to hold up nobody's restart. The func that it returns ends that, is told whether all
// was read, and says whether the server stops.
func (c *conn) cutAtTheEnd() (done func(whole bool) (stopping bool)) {
	read, ended := make(chan struct{}), make(chan bool, 1)
	go func() {
		select {
		case <-read:
			ended <- false
		case <-c.stopping:
			_ = c.SetReadDeadline(time.Now().Add(lastWords)) // closed: then reading has ended
			<-read
			ended <- true
		}
	}()
	return func(whole bool) bool {
		close(read)
		stopping := <-ended
		if stopping && whole {
			_ = c.SetReadDeadline(time.Time{}) // net/http has begun to look for the caller's end
		}
		return stopping
	}
}

// untilGone returns io.EOF when the caller has closed both directions, or the error
// of the deadline by which net/http ends a read.
func (c *conn) untilGone() error {
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Read(unheard)
	}
	if err != nil {
		return err
	}
	return io.EOF
}

// unheard says whether nobody can read what we write: sending nothing fails then
// (unix(7), EPIPE), and does nothing otherwise.
func unheard(fd uintptr) bool {
	_, err := syscall.SendmsgN(int(fd), nil, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
	return err != nil
}

// Write gives each write its time. What net/http says by itself, of a request that
// it could not read, becomes a problem like every other error.
func (c *conn) Write(b []byte) (int, error) {
	if err := c.UnixConn.SetWriteDeadline(time.Now().Add(c.write)); err != nil {
		return 0, err
	}
	if c.called {
		return c.UnixConn.Write(b)
	}
	if n, err := c.UnixConn.Write(unreadable(b)); err != nil {
		return min(n, len(b)), err
	}
	return len(b), nil
}

// SetWriteDeadline does nothing: net/http resets it after each answer, and every
// Write sets its own.
func (c *conn) SetWriteDeadline(time.Time) error { return nil }

// unreadable makes a problem of net/http's own answer, which is a status line, a few
// headers, and the status line's text once more. What does not look so stays.
func unreadable(answer []byte) []byte {
	line, _, _ := strings.Cut(string(answer), "\r\n")
	status, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(status) < 4 {
		return answer
	}
	_, why, _ := strings.Cut(status, ": ")
	switch status[:3] {
	case "400":
		if why == "" {
			why = "its request line, a header or the length of its body is malformed or cut off"
		}
	case "417":
		why = "it expects something other than 100-continue"
	case "431":
		why = fmt.Sprintf("its request line and headers are far longer than the %d bytes that are read", maxHeader)
	case "501":
		why = "its body is in a transfer coding other than chunked"
	case "505":
		why = "its version is not 1.1 or 1.0"
	default:
		return answer
	}
	return whole(api.Errorf(api.CodeUsage, "this is no HTTP/1.1 request: %s", why).
		WithHint("tokend speaks HTTP/1.1 in the clear, as in `curl --unix-socket PATH http://tokend/v1/health`"))
}

// whole is the problem as an answer that ends the connection, for where there is no
// call to answer.
func whole(e *api.Error) []byte {
	body := encode(e)
	var b strings.Builder
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nCache-Control: no-store\r\n",
		e.Status, http.StatusText(e.Status), typeProblem[0], len(body))
	if e.RetryAfter > 0 {
		fmt.Fprintf(&b, "Retry-After: %d\r\n", e.RetryAfter)
	}
	b.WriteString("Connection: close\r\n\r\n")
	b.Write(body)
	return []byte(b.String())
}
