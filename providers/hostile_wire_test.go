package providers

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers/sandbox"
)

// golden is an answer of each kind that grants a token.
var golden = map[string]string{
	"finam": `{"token":"abc"}`, "simplejwt": `{"access":"abc","refresh":"def"}`,
	"etna": `{"State":"Succeeded","Token":"abc"}`, "noventiq": `{"token":"abc","refresh_token":"def"}`,
}

// wireFault is what is sent in the place of an answer, and then again and again. BODY
// stands for a good answer's body, and LENGTH for its length.
type wireFault struct {
	raw, endless string
	hostile
}

// fault is the fault at the kind's look-alike.
func (w wireFault) fault(kind string) sandbox.Fault {
	length := len(golden[kind])
	fill := strings.NewReplacer("BODY", golden[kind], "0LENGTH", fmt.Sprintf("%x", length), "LENGTH", strconv.Itoa(length))
	return sandbox.Fault{Raw: fill.Replace(w.raw), Endless: w.endless}
}

func wireFaults() []wireFault {
	const over = "server response headers exceeded"
	return []wireFault{
		{"HTTP/1.0 200 OK\r\n\r\nBODY", "", hostile{name: "HTTP/1.0", good: true}},
		{"HTTP/1.1 200\r\nConnection: close\r\n\r\nBODY", "", hostile{name: "no reason", good: true}},
		{"HTTP/1.1 200 OK\nContent-Length: LENGTH\n\nBODY", "", hostile{name: "bare line ends", good: true}},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n \r\n0LENGTH\r\nBODY\r\n0\r\n\r\n", "", hostile{name: "chunks", good: true}},
		{"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: LENGTH\r\n\r\nBODY", "", hostile{name: "a few 1xx", good: true}},
		{"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nBODY", "", hostile{name: "length short", class: Malformed, text: "no JSON object"}},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999\r\n\r\nBODY", "", hostile{name: "length long", class: Transient, text: "closed the connection before its answer was complete"}},
		{"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nBODY", "", hostile{name: "length negative", class: Transient, text: "no usable answer from 127.0.0.1:"}},
		{"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nBODY", "", hostile{name: "two lengths", class: Transient, text: "Content-Length"}},
		{"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nBODY", "", hostile{name: "length beyond numbers", class: Transient, text: "Content-Length"}},
		{"HTTP/1.1 200 OK\r\nContent-Length: 9223372036854775807\r\n\r\n", strings.Repeat(" ", 1<<16), hostile{name: "length of 8 EiB", class: Malformed, text: "more than 1024 KiB"}},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nBODY\r\n", "", hostile{name: "chunks of garbage", class: Transient, text: "no usable answer"}},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", "", hostile{name: "chunks without an end", class: Transient, text: "closed the connection"}},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff1\r\n", "", hostile{name: "a chunk beyond numbers", class: Transient, text: "no usable answer"}},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", strings.Repeat("x", 1<<10), hostile{name: "an endless chunk header", class: Transient, text: "no usable answer"}},
		{"HTTP/1.1 200 OK\r\nTransfer-Encoding: brotli\r\n\r\nBODY", "", hostile{name: "a transfer coding of its own", class: Transient, text: "no usable answer"}},
		{"", "HTTP/1.1 100 Continue\r\n\r\n", hostile{name: "endless 100", class: Transient, text: over}},
		{"", "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", hostile{name: "endless 103", class: Transient, text: over}},
		{"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h3\r\n\r\n", "", hostile{name: "101", class: Malformed, text: "HTTP 101 Switching Protocols"}},
		{"HTTP/1.1 200 OK\r\n", "X-Flood: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n", hostile{name: "endless headers", class: Transient, text: over}},
		{"HTTP/1.1 200 OK\r\n", "a:\r\n", hostile{name: "endless small headers", class: Transient, text: over}},
		{"HTTP/1.1 200 OK\r\nX-Flood: ", strings.Repeat("a", 1<<12), hostile{name: "an endless header", class: Transient, text: over}},
		{strings.Repeat("a", 1<<10), strings.Repeat("a", 1<<12), hostile{name: "an endless line", class: Transient, text: "no usable answer"}},
		{"HTTP/1.1 200 OK\r\nX-Half: ye", "", hostile{name: "half a header", class: Transient, text: "closed the connection"}},
		{"HTTP/1.1 200 OK\r\nno colon\r\n\r\nBODY", "", hostile{name: "no header", class: Transient, text: "malformed MIME header"}},
		{"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\nBODY", "", hostile{name: "NUL in a header", class: Transient, text: "malformed MIME header"}},
		{"HTTP/9.9 200 OK\r\n\r\nBODY", "", hostile{name: "HTTP/9.9", good: true}},
		{"HTTP/1.1 2000 OK\r\n\r\nBODY", "", hostile{name: "status 2000", class: Transient, text: "malformed HTTP status code"}},
		{"HTTP/1.1 -20 OK\r\n\r\nBODY", "", hostile{name: "status -20", class: Transient, text: "malformed HTTP status code"}},
		{"HTTP/1.1 999 Why\r\nContent-Length: 0\r\n\r\n", "", hostile{name: "status 999", class: Malformed, text: "HTTP 999"}},
		{"SSH-2.0-OpenSSH_10.0\r\n", "", hostile{name: "SSH", class: Transient, text: "no usable answer"}},
		{"\x15\x03\x01\x00\x02\x02\x0a", "", hostile{name: "a TLS alert", class: Transient, text: "no usable answer"}},
		{"\x1b]0;title\x07\x1b[2J\r\n\r\n", "", hostile{name: "terminal escapes", class: Transient, text: "no usable answer"}},
		{" ", "", hostile{name: "a blank", class: Transient, text: "no usable answer"}},
	}
}

// TestHostileHTTP sends what is no HTTP, or hardly.
func TestHostileHTTP(t *testing.T) {
	log.SetOutput(io.Discard) // net/http shows there what comes behind the end of an answer
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	for _, test := range wireFaults() {
		test.attack(t, test.fault)
	}
	short := 300 * time.Millisecond
	for _, test := range []hostile{
		{name: "a slow header", fault: sandbox.Fault{Raw: "HTTP/1.1 200 OK\r\nX: ", Endless: "a", Pause: 20 * time.Millisecond}, class: Transient, text: "no complete answer from 127.0.0.1:", timeout: short},
		{name: "a slow body", fault: sandbox.Fault{Raw: "H", Endless: "TTP/1.1 200 OK\r\n\r\n ", Pause: 5 * time.Millisecond}, class: Transient, text: "within 300ms", timeout: short},
		{name: "silence", fault: sandbox.Fault{Hold: t.Context().Done()}, class: Transient, text: "no complete answer", timeout: short},
		{name: "reset", fault: sandbox.Fault{Reset: true}, class: Transient},
		{name: "reset in the header", fault: sandbox.Fault{Raw: "HTTP/1.1 200 OK\r\nX: a", Reset: true}, class: Transient},
		{name: "reset in the body", fault: sandbox.Fault{Raw: "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", Reset: true}, class: Transient},
		{name: "closed", fault: sandbox.Fault{Drop: true}, class: Transient, text: "closed the connection before its answer was complete"},
	} {
		test.attack(t, func(string) sandbox.Fault { return test.fault })
	}
}

// TestHostileNames is about hosts that are not found, or cannot be dialled.
func TestHostileNames(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		text string
	}{
		{"no such host", &net.DNSError{Err: "no such host", Name: "api.example", IsNotFound: true}, "reaching api.example: lookup api.example: no such host: check url, and this host's DNS"},
		{"DNS is silent", &net.DNSError{Err: "i/o timeout", Name: "api.example", Server: "192.0.2.53:53", IsTimeout: true}, "reaching api.example: lookup api.example on 192.0.2.53:53: i/o timeout"},
		{"DNS fails", &net.DNSError{Err: "server misbehaving", Name: "api.example", Server: "192.0.2.53:53", IsTemporary: true}, "server misbehaving"},
		{"no route", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.EHOSTUNREACH}, "no route to host"},
		{"refused", &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}, "connection refused"},
	} {
		for kind, s := range systems() {
			k, _ := Lookup(kind)
			transport := transportFor(t, nil, "none")
			transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return nil, test.err }
			s.settings.Transport, s.settings.URL = transport, "https://api.example/base"
			p, err := k.New(s.settings)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Login(t.Context(), p, nil)
			if e := wantError(t, err, Transient, test.text); e.Sent || strings.Contains(e.Error(), "/base") {
				t.Errorf("%s, %s: sent is %v, text %q", test.name, kind, e.Sent, e)
			}
		}
	}
}
