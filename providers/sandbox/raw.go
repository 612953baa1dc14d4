package sandbox

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// raw says whether the fault takes the connection over.
func (f Fault) raw() bool { return f.Raw != "" || f.Endless != "" || f.Reset }

// write takes the connection over, and ends it.
func (f Fault) write(ctx context.Context, w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2: the nearest there is
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })() // a client that does not read holds nobody up
	_ = conn.SetDeadline(time.Time{})
	if f.Reset {
		reset(conn)
	}
	// Whatever fails: the client left, and there is nobody to tell.
	if err := f.send(ctx, conn, f.Raw); err == nil && f.Endless != "" {
		for err == nil {
			err = f.send(ctx, conn, f.Endless)
		}
	}
	_ = conn.Close()
}

// send writes the text, byte by byte if there is a pause before each.
func (f Fault) send(ctx context.Context, conn net.Conn, text string) error {
	if f.Pause <= 0 {
		_, err := conn.Write([]byte(text))
		return err
	}
	for _, b := range []byte(text) {
		if !pause(ctx, f.Pause) {
			return ctx.Err()
		}
		if _, err := conn.Write([]byte{b}); err != nil {
			return err
		}
	}
	return nil
}

// reset has the connection end with RST, and what is still on its way be lost.
func reset(conn net.Conn) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	if plain, ok := conn.(*net.TCPConn); ok {
		_ = plain.SetLinger(0)
	}
}
