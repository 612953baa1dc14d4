package providers

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httptrace"
	"net/url"
	"strings"
	"sync/atomic"
)

// stage is how far the making of a connection came.
type stage int32

const (
	dialling stage = iota
	tunnelling
	securing
)

// String is what was going on, for a connection that did not come about in time.
func (s stage) String() string {
	return [...]string{"looking it up and dialling", "the proxy's part", "the TLS handshake"}[s]
}

// exchange watches over one request until it is answered.
type exchange struct {
	caller *caller
	outer  context.Context // without our own timeout
	proxy  *url.URL        // nil without one
	mask   mask
	sent   atomic.Bool
	stage  atomic.Int32
}

// trace notes when the request may have left: from the moment that it has a
// connection, since what happens between that and its first byte cannot be told
// apart. Looking for, dialling and securing a connection send nothing of it, nor
// does a connection that turned out dead and was replaced.
func (x *exchange) trace(ctx context.Context) context.Context {
	reached := func(s stage, err error) {
		if err == nil {
			x.stage.Store(int32(s))
		}
	}
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn:           func(string) { x.sent.Store(false); reached(dialling, nil) },
		ConnectDone:       func(_, _ string, err error) { reached(tunnelling, err) },
		TLSHandshakeStart: func() { reached(securing, nil) },
		TLSHandshakeDone:  func(_ tls.ConnectionState, err error) { reached(tunnelling, err) }, // that of a proxy
		GotConn:           func(httptrace.GotConnInfo) { x.sent.Store(true) },
	})
}

// fail makes the Error of an exchange without an answer.
func (x *exchange) fail(class Class, format string, args ...any) *Error {
	return &Error{Class: class, Sent: x.sent.Load(), Err: fmt.Errorf(format, args...)}
}

// lost says why there is no answer.
func (x *exchange) lost(ctx context.Context, err error) *Error {
	host, sent := x.caller.base.Host, x.sent.Load()
	switch {
	case x.outer.Err() != nil:
		return x.fail(Transient, "asking %s was given up: %w", host, x.outer.Err())
	case ctx.Err() != nil && !sent:
		return x.fail(Transient, "no connection to %s within %s (%s took too long): %w", host, x.caller.Timeout, stage(x.stage.Load()), ctx.Err())
	case ctx.Err() != nil:
		return x.fail(Transient, "no complete answer from %s within %s: %w", host, x.caller.Timeout, ctx.Err())
	}
	if e := x.byProxy(err); e != nil {
		return e
	}
	if e := x.insecure(host, err); e != nil {
		return e
	}
	reason := x.mask.clean(err.Error())
	missing, _ := errors.AsType[*net.DNSError](err)
	switch {
	case missing != nil && missing.IsNotFound:
		return x.fail(Transient, "reaching %s: %s: check url, and this host's DNS", host, reason)
	case ended(err) && !sent && x.caller.base.Scheme == "https":
		return x.fail(Transient, "%s closed the connection during the TLS handshake", x.route(host))
	case ended(err):
		return x.fail(Transient, "%s closed the connection before its answer was complete", host)
	case sent:
		return x.fail(Transient, "no usable answer from %s: %s", host, reason)
	}
	return x.fail(Transient, "reaching %s: %s", x.route(host), reason)
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// route is the host, and the proxy where it may be at fault as well.
func (x *exchange) route(host string) string {
	if x.proxy == nil {
		return host
	}
	return host + " through the proxy " + x.mask.clean(x.proxy.Host)
}

// byProxy is the Error of a proxy's failure; nil if it was none. What it refuses is
// about the proxy, not about these secrets.
func (x *exchange) byProxy(err error) *Error {
	host := x.caller.base.Host
	if refusal, ok := errors.AsType[*proxyRefusal](err); ok {
		class := statusClass(refusal.status, login)
		if class == Refused || class == Malformed {
			class = Misconfigured
		}
		return &Error{Class: class, Status: refusal.status, Err: fmt.Errorf("reaching %s: %w: check proxy", host, refusal)}
	}
	if x.proxy == nil || x.sent.Load() {
		return nil
	}
	proxy := x.mask.clean(x.proxy.Host)
	for op, _ := errors.AsType[*net.OpError](err); op != nil; op, _ = errors.AsType[*net.OpError](op.Err) {
		if op.Op != "proxyconnect" && op.Op != "socks connect" {
			continue
		}
		if e := x.insecure("the proxy "+proxy+" to "+host, op.Err); e != nil {
			return e
		}
		return x.fail(Transient, "reaching %s through the proxy %s: %s: check proxy", host, proxy, x.mask.clean(op.Err.Error()))
	}
	if stage(x.stage.Load()) == tunnelling {
		return x.fail(Transient, "the proxy %s opened no way to %s: %s: check proxy", proxy, host, x.mask.clean(err.Error()))
	}
	return nil
}

// insecure is the Error of TLS that could not be had; nil if that was not it. It does
// not pass by itself, so it is no Transient failure. Once the request is sent, only
// what the peer says of certificates belongs here.
func (x *exchange) insecure(peer string, err error) *Error {
	reason := x.mask.clean(err.Error())
	if bad, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return x.fail(Blocked, "verifying %s: %s: %s", peer, reason, certificateAdvice(bad.Err))
	}
	if alert, ok := alertOf(err); ok {
		row, known := alerts[alert]
		if alert == alertInternal || x.sent.Load() && row != wantsCertificate {
			return nil
		}
		if !known {
			row = otherTLS
		}
		return x.fail(Blocked, "TLS with %s: %s: %s", peer, reason, row)
	}
	if x.sent.Load() {
		return nil
	}
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok {
		return x.fail(Blocked, "TLS with %s: %s: what listens there speaks no TLS: check host and port, and proxy", peer, reason)
	}
	if text := err.Error(); strings.HasPrefix(text, "tls: ") || strings.HasPrefix(text, "local error: tls: ") { // these have no type
		return x.fail(Blocked, "TLS with %s: %s: %s", peer, reason, otherTLS)
	}
	return nil
}

// What to do about TLS.
const (
	noCommonTLS      = "it has no version (1.2 or 1.3) or cipher in common with tokend: check url, and who intercepts TLS"
	handshakeFailed  = "it has no cipher in common with tokend, or asks for a client certificate, of which tokend has none: check url, and who intercepts TLS"
	wantsCertificate = "it asks for a client certificate, and tokend has none: use a way in that asks for none"
	otherTLS         = "check url, and who intercepts TLS"
)

// alertInternal is a fault of the peer's own, which may pass.
const alertInternal = 80

// alerts are what a peer may end a handshake with, by their numbers (RFC 8446,
// section 6).
var alerts = map[uint8]string{
	40: handshakeFailed, 47: noCommonTLS, 70: noCommonTLS, 71: noCommonTLS, 86: noCommonTLS,
	42: wantsCertificate, 43: wantsCertificate, 44: wantsCertificate, 45: wantsCertificate,
	46: wantsCertificate, 48: wantsCertificate, 49: wantsCertificate, 116: wantsCertificate,
	112: "it does not know the name: check url",
}

// alertOf finds the alert that a peer sent. crypto/tls has it as a type of its own that
// cannot be named outside, but with the same words as tls.AlertError.
func alertOf(err error) (uint8, bool) {
	op, ok := errors.AsType[*net.OpError](err)
	if !ok || op.Op != "remote error" {
		return 0, false
	}
	for number := range 256 {
		if tls.AlertError(number).Error() == op.Err.Error() {
			return uint8(number), true
		}
	}
	return 0, false
}

// certificateAdvice is what to do about a certificate that does not verify.
func certificateAdvice(err error) string {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "if that CA (or a self-signed certificate) is to be trusted, have ca_file hold it; else find out who intercepts TLS"
	case errors.As(err, &name):
		return "correct url, or have the server's certificate name this host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "check this host's clock; if it is right, the server needs another certificate"
	case errors.As(err, &invalid) && invalid.Reason == x509.IncompatibleUsage:
		return "the certificate is not one for servers: the server needs another"
	}
	return "check ca_file, this host's clock, and who intercepts TLS"
}
