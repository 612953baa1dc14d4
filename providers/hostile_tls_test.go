package providers

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// TestHostileTLS asserts that TLS that cannot be had is Blocked, with a word on what to
// do, and that nothing of the request has left.
func TestHostileTLS(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	plain := func(*x509.Certificate) {}
	own := httptest.NewUnstartedServer(nil)
	own.Config.ErrorLog = log.New(io.Discard, "", 0)
	own.StartTLS()
	t.Cleanup(own.Close)
	tests := []struct {
		name, url string
		ca        []byte
		parts     []string
	}{
		{"unknown CA", ours.serve(t, plain, &tls.Config{}), theirs.pem, []string{"unknown authority", "ca_file"}},
		{"system's CAs", ours.serve(t, plain, &tls.Config{}), nil, []string{"unknown authority", "ca_file"}},
		{"self-signed", own.URL, nil, []string{"unknown authority", "a self-signed certificate", "ca_file"}},
		{"expired", ours.serve(t, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, &tls.Config{}), ours.pem, []string{"expired", "check this host's clock"}},
		{"not yet valid", ours.serve(t, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, &tls.Config{}), ours.pem, []string{"not yet valid", "check this host's clock"}},
		{"another name", ours.serve(t, func(c *x509.Certificate) { c.IPAddresses, c.DNSNames = nil, []string{"other.example"} }, &tls.Config{}), ours.pem, []string{"IP SANs", "correct url"}},
		{"another address", ours.serve(t, func(c *x509.Certificate) { c.IPAddresses[0] = net.IPv4(127, 0, 0, 9) }, &tls.Config{}), ours.pem, []string{"valid for 127.0.0.9", "correct url"}},
		{"not for servers", ours.serve(t, func(c *x509.Certificate) { c.ExtKeyUsage[0] = x509.ExtKeyUsageClientAuth }, &tls.Config{}), ours.pem, []string{"key usage", "not one for servers"}},
		{"TLS 1.1", ours.serve(t, plain, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}), ours.pem, []string{"protocol version", "no version (1.2 or 1.3)"}},
		{"no common cipher", ours.serve(t, plain, &tls.Config{MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA}}), ours.pem, []string{"handshake failure", "cipher in common"}},
		{"client certificate, TLS 1.2", ours.serve(t, plain, &tls.Config{MaxVersion: tls.VersionTLS12, ClientAuth: tls.RequireAnyClientCert}), ours.pem, []string{"client certificate"}},
		{"no TLS there", strings.Replace(serve(t, reply(200, "{}")), "http:", "https:", 1), nil, []string{"does not look like a TLS handshake", "speaks no TLS"}},
		{"an alert of its own", "https://" + talker(t, "\x15\x03\x03\x00\x02\x02\x70"), nil, []string{"unrecognized name", "check url"}},
		{"an alert of no name", "https://" + talker(t, "\x15\x03\x03\x00\x02\x02\xee"), nil, []string{"alert(238)", "who intercepts TLS"}},
		{"garbage in TLS", "https://" + talker(t, "\x16\x03\x03\x00\x04\x63\x00\x00\x00"), nil, []string{"tls: ", "who intercepts TLS"}},
	}
	if _, err := secureLogin(t, "finam", systems()["finam"], ours.serve(t, plain, &tls.Config{}), ours.pem); err != nil {
		t.Errorf("with a good certificate: %v", err)
	}
	for _, test := range tests {
		for kind, s := range systems() {
			t.Run(test.name+"/"+kind, func(t *testing.T) {
				_, err := secureLogin(t, kind, s, test.url, test.ca)
				e := wantError(t, err, Blocked, test.parts...)
				if e.Sent || e.Status != 0 || e.RetryAfter != 0 || !strings.Contains(e.Error(), strings.TrimPrefix(test.url, "https://")) {
					t.Errorf("sent is %v, status %d: %v", e.Sent, e.Status, e)
				}
			})
		}
	}
}

// secureLogin logs in at the URL.
func secureLogin(t *testing.T, kind string, s system, url string, ca []byte) (Token, error) {
	t.Helper()
	k, _ := Lookup(kind)
	s.settings.URL, s.settings.Transport = url, transportFor(t, ca, "none")
	p, err := k.New(s.settings)
	if err != nil {
		t.Fatal(err)
	}
	return Login(t.Context(), p, nil)
}

// With TLS 1.3 the client is through its handshake before the server asks for its
// certificate: the request may have left, which is no reason to call it a network
// failure.
func TestHostileClientCertificate(t *testing.T) {
	ours := newAuthority(t)
	for range 10 { // the alert races with the request
		for kind, s := range systems() {
			url := ours.serve(t, func(*x509.Certificate) {}, &tls.Config{MinVersion: tls.VersionTLS13, ClientAuth: tls.RequireAnyClientCert})
			_, err := secureLogin(t, kind, s, url, ours.pem)
			wantError(t, err, Blocked, "certificate required", "it asks for a client certificate, and tokend has none")
		}
	}
}

// What breaks off a handshake may pass by itself.
func TestHostileHandshakes(t *testing.T) {
	internal := &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return nil, io.ErrNoProgress }}
	for name, row := range map[string]struct {
		url, text string
		timeout   time.Duration
	}{
		"closed":          {"https://" + talker(t, ""), "closed the connection during the TLS handshake", 0},
		"reset":           {"https://" + resetter(t), "reset by peer", 0},
		"internal error":  {newAuthority(t).serve(t, func(*x509.Certificate) {}, internal), "internal error", 0},
		"silent":          {"https://" + silent(t), "no connection to 127.0.0.1:", 200 * time.Millisecond},
		"silent for what": {"https://" + silent(t), "(the TLS handshake took too long)", 200 * time.Millisecond},
	} {
		for kind, s := range systems() {
			s.settings.Timeout = row.timeout
			_, err := secureLogin(t, kind, s, row.url, nil)
			if e := wantError(t, err, Transient, row.text); e.Sent {
				t.Errorf("%s, %s: sent is %v", name, kind, e.Sent)
			}
		}
	}
}

// listen answers each connection in a way of its own and returns the address.
func listen(t *testing.T, answer func(*net.TCPConn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { l.Close(); <-done })
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			answer(conn.(*net.TCPConn))
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// talker says its piece when it was spoken to.
func talker(t *testing.T, text string) string {
	return listen(t, func(conn *net.TCPConn) {
		conn.Read(make([]byte, 1<<12))
		io.WriteString(conn, text)
		conn.CloseWrite()
		io.Copy(io.Discard, conn)
	})
}

func resetter(t *testing.T) string {
	return listen(t, func(conn *net.TCPConn) {
		conn.Read(make([]byte, 1<<12))
		conn.SetLinger(0)
	})
}

// silent takes connections and says nothing.
func silent(t *testing.T) string {
	return listen(t, func(conn *net.TCPConn) { io.Copy(io.Discard, conn) })
}

func TestHostileCAFiles(t *testing.T) {
	key := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: []byte("x")})
	for name, row := range map[string][2]string{
		"empty":     {"", "the CA file holds no certificate in PEM form"},
		"garbage":   {"\x00\x01\x02", "the CA file holds no certificate in PEM form"},
		"a key":     {string(key), "the CA file holds no certificate in PEM form"},
		"cut short": {string(newAuthority(t).pem[:200]), "the CA file holds no certificate in PEM form"},
		"damaged":   {"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate 1 of the CA file: "},
	} {
		if _, err := new(Transports).For([]byte(row[0]), ""); err == nil || !strings.HasPrefix(err.Error(), row[1]) {
			t.Errorf("%s: error is %v", name, err)
		}
	}
}
