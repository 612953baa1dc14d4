package providers

import (
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

// transportFor fails the test if there is none.
func transportFor(t *testing.T, ca []byte, proxy string) *http.Transport {
	t.Helper()
	rt, err := new(Transports).For(ca, proxy)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(rt.(*http.Transport).CloseIdleConnections)
	return rt.(*http.Transport)
}

// tlsServer answers 401 over HTTP/2 or HTTP/1.1, and returns its certificate as PEM.
func tlsServer(t *testing.T, http2 bool) (*httptest.Server, []byte) {
	t.Helper()
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Abort") != "" {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(401)
		fmt.Fprintf(w, `{"detail":"%s %s"}`, r.Proto, r.Header.Get("Accept-Encoding"))
	}))
	server.EnableHTTP2 = http2
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}

func TestTransportsAreShared(t *testing.T) {
	_, ca := tlsServer(t, true)
	var all Transports
	get := func(ca []byte, proxy string) http.RoundTripper {
		rt, err := all.For(ca, proxy)
		if err != nil {
			t.Fatal(err)
		}
		return rt
	}
	plain, other, secure := get(nil, ""), get(nil, "none"), get(ca, "")
	if plain == other || plain == secure || plain != get(nil, "") || secure != get(append([]byte(nil), ca...), "") || get(nil, "h:1") == get(nil, "h:2") || get(append(ca, ' '), "") == get(append(ca, '\n'), "") {
		t.Error("transports are not shared as they should be")
	}
	all.Prune() // everything was asked for
	if plain != get(nil, "") || secure != get(ca, "") {
		t.Error("a transport in use was forgotten")
	}
	all.Prune()
	if plain != get(nil, "") || other == get(nil, "none") {
		t.Error("a transport out of use was kept")
	}
}

func TestTransportSpeaksHTTP2WithoutCompression(t *testing.T) {
	for proto, http2 := range map[string]bool{"HTTP/2.0": true, "HTTP/1.1": false} {
		server, ca := tlsServer(t, http2)
		c := testCaller(t, server.URL, func(s *Settings) { s.Transport = transportFor(t, ca, "none") })
		a, err := c.post(t.Context(), request{})
		if err != nil {
			t.Fatal(err)
		}
		if a.message() != proto {
			t.Errorf("the server saw %q, want %q and no Accept-Encoding", a.message(), proto)
		}
		_, err = c.post(t.Context(), request{header: map[string]string{"Abort": "yes"}})
		if e := wantError(t, err, Transient); !e.Sent {
			t.Errorf("%s: a request that was cut off counts as not sent: %v", proto, e)
		}
	}
}

func TestCAFile(t *testing.T) {
	_, ca := tlsServer(t, false)
	damaged := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")})
	key := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("x")})
	tests := []struct {
		name, content, want string
	}{
		{"good", string(ca), ""},
		{"text around", "# CA\n" + string(ca) + "\nend\n", ""},
		{"empty", "", "no certificate in PEM form"},
		{"no PEM", "hello", "no certificate in PEM form"},
		{"a key", string(key), "no certificate in PEM form"},
		{"second damaged", string(ca) + string(damaged), "certificate 2 of the CA file: "},
	}
	for _, test := range tests {
		_, err := new(Transports).For([]byte(test.content), "")
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v", test.name, err)
		}
	}
}

func TestProxySetting(t *testing.T) {
	for proxy, want := range map[string]string{
		"http://u:hunter2@h:3128":   "",
		"https://h":                 "",
		"socks5://u:hunter2@h:1080": "",
		"socks5h://h:1080/":         "",
		"proxy.example:3128":        "",
		"ftp://u:hunter2@h":         `the proxy's scheme is "ftp"`,
		"http://u:hunter2@":         "the proxy has no host",
		"http://u:hunter2@h/x":      "more than a host and a port",
		"http://u:hunter2@h?x":      "more than a host and a port",
		"http://u:hunter2@h:port":   "the proxy is not a URL",
		"http://u:hun\x7fter2@h":    "the proxy is not a URL",
		"http://u:hunter2@[h":       "the proxy is not a URL",
	} {
		_, err := new(Transports).For(nil, proxy)
		if (err == nil) != (want == "") || err != nil && (!strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")) {
			t.Errorf("%q: error is %v, want %q", proxy, err, want)
		}
	}
	if transportFor(t, nil, "none").Proxy != nil {
		t.Error(`"none" has a proxy`)
	}
}

// proxyAt runs a proxy that answers CONNECT with a status, or carries it out.
func proxyAt(t *testing.T, status int) (addr string, seen *atomic.Value) {
	seen = new(atomic.Value)
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r.Method + " " + r.RequestURI + " " + r.Header.Get("Proxy-Authorization"))
		if status != 200 {
			w.WriteHeader(status)
			return
		}
		there, err := net.Dial("tcp", r.RequestURI)
		if err != nil {
			w.WriteHeader(502)
			return
		}
		defer there.Close()
		here, _, _ := w.(http.Hijacker).Hijack()
		defer here.Close()
		io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
		go io.Copy(there, here)
		io.Copy(here, there)
	})
	return strings.TrimPrefix(url, "http://"), seen
}

func TestProxy(t *testing.T) {
	server, ca := tlsServer(t, true)
	for status, want := range map[int]Class{200: Refused, 401: Misconfigured, 403: Misconfigured, 407: Misconfigured, 429: Throttled, 502: Transient, 302: Misconfigured, 201: Misconfigured} {
		addr, seen := proxyAt(t, status)
		transport := transportFor(t, ca, "http://user:hunter2@"+addr)
		c := testCaller(t, server.URL, func(s *Settings) { s.Transport = transport })
		a, err := c.post(t.Context(), request{})
		if status == 200 {
			if err != nil {
				t.Fatal(err)
			}
			err = a.judge("the password")
		}
		e := wantError(t, err, want)
		if e.Sent != (status == 200) || strings.Contains(e.Error(), "hunter2") || strings.Contains(e.Error(), "user") {
			t.Errorf("error is %v, sent %v", e, e.Sent)
		}
		if status != 200 && !strings.Contains(e.Error(), fmt.Sprintf("the proxy %s answered HTTP %d", addr, status)) {
			t.Errorf("error is %v", e)
		}
		if got := seen.Load(); got != "CONNECT "+server.Listener.Addr().String()+" Basic dXNlcjpodW50ZXIy" {
			t.Errorf("the proxy saw %q", got)
		}
		transport.CloseIdleConnections()
	}
	plain := serve(t, reply(500, ""))
	addr, seen := proxyAt(t, 407)
	a, err := testCaller(t, plain, func(s *Settings) { s.Transport = transportFor(t, nil, addr) }).post(t.Context(), request{})
	if err != nil || seen.Load() != "POST "+plain+"/ " {
		t.Fatalf("the proxy saw %q, error %v", seen.Load(), err)
	}
	wantError(t, a.judge("the password"), Misconfigured, "correct proxy")
}

// The environment is read once a process, so this gets a process of its own.
func TestProxyFromEnvironment(t *testing.T) {
	if local := os.Getenv("PROVIDERS_TEST_CHILD"); local != "" {
		for _, url := range []string{"https://api.example", local} {
			_, err := testCaller(t, url, func(s *Settings) { s.Transport = nil }).post(t.Context(), request{})
			fmt.Println("error:", err)
		}
		return
	}
	addr, seen := proxyAt(t, 407)
	proxy := "http://user:hunter2@" + addr
	child := exec.Command(os.Args[0], "-test.run=^TestProxyFromEnvironment$")
	child.Env = []string{"PROVIDERS_TEST_CHILD=" + serve(t, reply(200, "")), "HTTPS_PROXY=" + proxy, "HTTP_PROXY=" + proxy}
	out, err := child.CombinedOutput()
	want := "error: reaching api.example: the proxy " + addr + " answered HTTP 407 Proxy Authentication Required: check proxy\n" +
		"error: <nil>\n" // loopback has no proxy
	if err != nil || !strings.Contains(string(out), want) || strings.Contains(string(out), "hunter2") {
		t.Errorf("%v\n%s", err, out)
	}
	if got := seen.Load(); got != "CONNECT api.example:443 Basic dXNlcjpodW50ZXIy" {
		t.Errorf("the proxy saw %q", got)
	}
}
