package providers

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

const (
	proxyUser  = "http://operator:hunter2-hunter2@"
	proxyBasic = "b3BlcmF0b3I6aHVudGVyMi1odW50ZXIy"
)

// TestHostileProxies asserts that what a proxy does is not laid to the provider, and
// that its password is not shown, whatever it repeats.
func TestHostileProxies(t *testing.T) {
	if got := base64.StdEncoding.EncodeToString([]byte("operator:hunter2-hunter2")); got != proxyBasic {
		t.Fatal(got)
	}
	short := 300 * time.Millisecond
	repeating := "you sent operator:hunter2-hunter2 as " + proxyBasic
	flood := listen(t, func(conn *net.TCPConn) {
		for {
			if _, err := io.WriteString(conn, "HTTP/1.1 200 OK\r\nX: "+strings.Repeat("a", 1<<12)); err != nil {
				return
			}
		}
	})
	secure := newAuthority(t).serve(t, func(*x509.Certificate) {}, &tls.Config{})
	tests := []struct {
		name, proxy string
		timeout     time.Duration
		class       Class
		text        string
	}{
		{"refused", proxyUser + closed(t), 0, Transient, "connection refused: check proxy"},
		{"no such host", "http://proxy.invalid:3128", 0, Transient, "through the proxy proxy.invalid:3128: "},
		{"closed", proxyUser + talker(t, ""), 0, Transient, "opened no way to api.example: unexpected EOF: check proxy"},
		{"silent", proxyUser + silent(t), short, Transient, "(the proxy's part took too long)"},
		{"no HTTP", proxyUser + talker(t, "HTTP/1.1 200 OK\r\nno colon, hunter2-hunter2\r\n\r\n"), 0, Transient, "opened no way to api.example: " + withheld},
		{"endless", proxyUser + flood, 0, Transient, "opened no way to api.example: "},
		{"wants a password", proxyUser + talker(t, "HTTP/1.1 407 No\r\n\r\n"+repeating), 0, Misconfigured, "answered HTTP 407 Proxy Authentication Required: check proxy"},
		{"forbids", proxyUser + talker(t, "HTTP/1.1 403 No\r\nContent-Type: text/html\r\n\r\n<html>"+repeating), 0, Misconfigured, "answered HTTP 403 Forbidden: check proxy"},
		{"too many", proxyUser + talker(t, "HTTP/1.1 429 No\r\n\r\n"), 0, Throttled, "answered HTTP 429"},
		{"down", proxyUser + talker(t, "HTTP/1.1 503 No\r\n\r\n"), 0, Transient, "answered HTTP 503"},
		{"redirects", proxyUser + talker(t, "HTTP/1.1 302 No\r\nLocation: http://x/\r\n\r\n"), 0, Misconfigured, "answered HTTP 302"},
		{"a portal", proxyUser + talker(t, "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>"+strings.Repeat("log in ", 2000)), 0, Blocked, "speaks no TLS: check host and port, and proxy"},
		{"a short portal", proxyUser + talker(t, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), 0, Transient, "closed the connection during the TLS handshake"},
		{"of unknown CA", strings.Replace(secure, "https://", "https://operator:hunter2-hunter2@", 1), 0, Blocked, "verifying the proxy 127.0.0.1:"},
		{"of no TLS", "https://operator:hunter2-hunter2@" + talker(t, "HTTP/1.1 400 Bad\r\n\r\n"), 0, Blocked, "TLS with the proxy 127.0.0.1:"},
		{"no SOCKS", "socks5://operator:hunter2-hunter2@" + talker(t, "HTTP/1.1 400 Bad\r\n\r\n"), 0, Transient, "unexpected protocol version 72: check proxy"},
		{"SOCKS refuses", "socks5://operator:hunter2-hunter2@" + talker(t, "\x05\xff"), 0, Transient, "check proxy"},
	}
	for _, test := range tests {
		for kind, s := range systems() {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				k, _ := Lookup(kind)
				s.settings.URL, s.settings.Timeout, s.settings.Transport = "https://api.example", test.timeout, transportFor(t, nil, test.proxy)
				p, err := k.New(s.settings)
				if err != nil {
					t.Fatal(err)
				}
				_, err = Login(t.Context(), p, nil)
				if e := wantError(t, err, test.class, "api.example", test.text); e.Sent || strings.Contains(e.Error(), "hunter2") || strings.Contains(e.Error(), proxyBasic[:8]) {
					t.Errorf("sent is %v, text %q", e.Sent, e)
				}
			})
		}
	}
}

// closed is an address at which nobody listens.
func closed(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Of plain HTTP the proxy sees the request, and may answer in the provider's place.
func TestHostilePlainProxies(t *testing.T) {
	for name, row := range map[string]struct {
		answer string
		class  Class
		text   string
	}{
		"wants a password": {"407 No", Misconfigured, "the proxy wants a user and a password"},
		"is down":          {"502 No", Transient, "HTTP 502"},
		"has a page":       {"403 No\r\nContent-Type: text/html", Blocked, "something in front of it"},
	} {
		for kind, s := range systems() {
			body := "\r\nConnection: close\r\n\r\n<html><title>operator:hunter2-hunter2 is " + proxyBasic + " of hunter2-hunter2</title>"
			k, _ := Lookup(kind)
			s.settings.URL, s.settings.Transport = "http://192.0.2.1", transportFor(t, nil, proxyUser+talker(t, "HTTP/1.1 "+row.answer+body))
			p, err := k.New(s.settings)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Login(t.Context(), p, nil)
			if e := wantError(t, err, row.class, row.text, withheld); strings.Contains(e.Error(), "hunter2") {
				t.Errorf("%s, %s: text %q", name, kind, e)
			}
		}
	}
}
