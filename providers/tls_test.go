package providers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http/httptest"
	"testing"
	"time"
)

// authority is a CA of the test's own.
type authority struct {
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.key, a.cert = a.sign(t, template)
	a.pem = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	return a
}

// sign makes a key and the certificate for it; the authority's own if it has none.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (*ecdsa.PrivateKey, *x509.Certificate) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return key, cert
}

// serve runs a server with a certificate of the authority's that was changed.
func (a *authority) serve(t *testing.T, change func(*x509.Certificate), config *tls.Config) string {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	change(template)
	key, cert := a.sign(t, template)
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{cert.Raw}, PrivateKey: key}}
	server := httptest.NewUnstartedServer(reply(200, `{"token":"abc"}`))
	server.TLS = config
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server.URL
}

func TestTLSVerification(t *testing.T) {
	ours, theirs := newAuthority(t), newAuthority(t)
	tests := []struct {
		name   string
		ca     []byte
		change func(*x509.Certificate)
		config *tls.Config
		class  Class
		text   string // "" for success
	}{
		{"good", ours.pem, func(*x509.Certificate) {}, &tls.Config{}, 0, ""},
		{"unknown CA", theirs.pem, func(*x509.Certificate) {}, &tls.Config{}, Blocked, "certificate signed by unknown authority"},
		{"system's CAs", nil, func(*x509.Certificate) {}, &tls.Config{}, Blocked, "certificate signed by unknown authority"},
		{"wrong name", ours.pem, func(c *x509.Certificate) {
			c.IPAddresses, c.DNSNames = nil, []string{"other.example"}
		}, &tls.Config{}, Blocked, "doesn't contain any IP SANs"},
		{"wrong address", ours.pem, func(c *x509.Certificate) { c.IPAddresses[0] = net.IPv4(127, 0, 0, 9) }, &tls.Config{}, Blocked, "certificate is valid for 127.0.0.9, not 127.0.0.1"},
		{"expired", ours.pem, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) }, &tls.Config{}, Blocked, "expired"},
		{"not yet valid", ours.pem, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(time.Minute) }, &tls.Config{}, Blocked, "not yet valid"},
		{"not for servers", ours.pem, func(c *x509.Certificate) { c.ExtKeyUsage[0] = x509.ExtKeyUsageClientAuth }, &tls.Config{}, Blocked, "incompatible key usage"},
		{"TLS 1.1", ours.pem, func(*x509.Certificate) {}, &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}, Transient, "protocol version"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			url := ours.serve(t, test.change, test.config)
			c := testCaller(t, url, func(s *Settings) { s.Transport = transportFor(t, test.ca, "none") })
			a, err := c.post(t.Context(), request{})
			if test.text == "" {
				if err != nil || a.status != 200 {
					t.Fatalf("error %v", err)
				}
				return
			}
			if e := wantError(t, err, test.class, c.base.Host+": ", test.text); e.Sent || e.Status != 0 {
				t.Errorf("sent is %v, status %d", e.Sent, e.Status)
			}
		})
	}
}
