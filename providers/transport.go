package providers

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// Transports shares connections among the credentials that have the same ca_file
// and proxy. The zero value is ready; it may be used by several goroutines.
type Transports struct {
	mu   sync.Mutex
	uses map[[sha256.Size]byte]*use
}

// use is a transport, and whether For returned it since the last Prune.
type use struct {
	transport *http.Transport
	fresh     bool
}

// For returns the transport for a CA file's content and a proxy. A nil ca stands
// for the system's roots; otherwise it holds the only ones that are trusted. The
// proxy is "" for HTTPS_PROXY and its kin in the environment, "none" for no proxy
// at all, or a URL (http, https, socks5, socks5h; without a scheme: http). Its
// password is a secret and in no error.
func (t *Transports) For(ca []byte, proxy string) (http.RoundTripper, error) {
	key := sha256.Sum256(fmt.Appendf(nil, "%t %d %s%s", ca == nil, len(ca), ca, proxy))
	t.mu.Lock()
	defer t.mu.Unlock()
	if u, ok := t.uses[key]; ok {
		u.fresh = true
		return u.transport, nil
	}
	transport, err := newTransport(ca, proxy)
	if err != nil {
		return nil, err
	}
	if t.uses == nil {
		t.uses = make(map[[sha256.Size]byte]*use)
	}
	t.uses[key] = &use{transport: transport, fresh: true}
	return transport, nil
}

// Prune forgets the transports that nobody has asked for since the last Prune, and
// closes their idle connections. It belongs after a load that came into force; a
// transport that is still held somewhere goes on working.
func (t *Transports) Prune() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, u := range t.uses {
		if !u.fresh {
			u.transport.CloseIdleConnections()
			delete(t.uses, key)
		}
		u.fresh = false
	}
}

func newTransport(ca []byte, proxy string) (*http.Transport, error) {
	via, err := proxyFunc(proxy)
	if err != nil {
		return nil, err
	}
	settings := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != nil {
		if settings.RootCAs, err = parseRoots(ca); err != nil {
			return nil, err
		}
	}
	return &http.Transport{
		Proxy:                  via,
		OnProxyConnectResponse: checkProxyAnswer,
		DialContext:            (&net.Dialer{Timeout: 10 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSClientConfig:        settings,
		TLSHandshakeTimeout:    10 * time.Second,
		// A config of one's own turns HTTP/2 off unless it is asked for.
		ForceAttemptHTTP2: true,
		HTTP2:             &http.HTTP2Config{SendPingTimeout: 15 * time.Second, PingTimeout: 10 * time.Second},
		// Compression would let a small answer grow without bound in memory.
		DisableCompression: true,
		// Logins are minutes apart: a connection kept longer than this is more likely
		// to be found dead, with the request on it, than to save a handshake.
		IdleConnTimeout:        30 * time.Second,
		MaxIdleConnsPerHost:    4,
		MaxResponseHeaderBytes: 256 << 10,
	}, nil
}

// parseRoots reads PEM strictly: a damaged certificate would otherwise be left out
// in silence, and be missed only when the server changes its chain.
func parseRoots(ca []byte) (*x509.CertPool, error) {
	pool, count := x509.NewCertPool(), 0
	for rest := ca; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		count++
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d of the CA file: %w", count, err)
		}
		pool.AddCert(cert)
	}
	if count == 0 {
		return nil, errors.New("the CA file holds no certificate in PEM form")
	}
	return pool, nil
}

func proxyFunc(proxy string) (func(*http.Request) (*url.URL, error), error) {
	switch proxy {
	case "none":
		return nil, nil
	case "":
		return http.ProxyFromEnvironment, nil
	}
	if !strings.Contains(proxy, "://") {
		proxy = "http://" + proxy
	}
	// What url.Parse says repeats the URL, and with it the password.
	u, err := url.Parse(proxy)
	if err != nil {
		return nil, errors.New(`the proxy is not a URL (want http://host:port, or "none")`)
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return nil, fmt.Errorf("the proxy's scheme is %q (want http, https, socks5 or socks5h)", u.Scheme)
	}
	if u.Hostname() == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the proxy has no host, or more than a host and a port")
	}
	return http.ProxyURL(u), nil
}

// proxyRefusal is a proxy's no to a CONNECT: nothing of the request has left.
type proxyRefusal struct {
	proxy  string // host and port
	status int
}

func (p *proxyRefusal) Error() string {
	return fmt.Sprintf("the proxy %s answered %s", p.proxy, statusText(p.status))
}

func checkProxyAnswer(_ context.Context, proxy *url.URL, _ *http.Request, res *http.Response) error {
	if res.StatusCode == http.StatusOK {
		return nil
	}
	return &proxyRefusal{proxy: proxy.Host, status: res.StatusCode}
}
