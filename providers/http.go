package providers

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

const (
	// maxBody is the largest answer that is read.
	maxBody = 1 << 20
	// defaultTimeout stands for Settings without one.
	defaultTimeout = 15 * time.Second
)

// step says what an exchange is for: the same status means different things.
type step int

const (
	login step = iota
	refresh
)

// caller makes the HTTP exchanges of one credential. It sends nothing that it was
// not asked to send, follows no redirect and keeps nothing between exchanges.
type caller struct {
	Settings
	kind *Kind
	base *url.URL
}

// newCaller checks what no request could carry.
func newCaller(kind *Kind, settings Settings) (*caller, error) {
	// What url.Parse says repeats the URL, which may hold a password.
	text := cmp.Or(settings.URL, kind.URL)
	base, err := url.Parse(strings.TrimRight(text, "/"))
	if err != nil || base.Scheme != "https" && base.Scheme != "http" || base.Hostname() == "" {
		return nil, &KeyError{"url", errors.New("not an http(s) URL with a host")}
	}
	if base.User != nil || strings.ContainsAny(text, "?#") {
		return nil, &KeyError{"url", errors.New("user info, query or fragment in a base URL")}
	}
	for _, key := range kind.Keys {
		value := settings.value(key)
		if key.Required && value == "" {
			return nil, &KeyError{key.Name, errors.New("missing")}
		}
		// JSON would carry something else in its place, and the provider refuse that.
		if !utf8.ValidString(value) {
			return nil, &KeyError{key.Name, errors.New("not valid UTF-8")}
		}
	}
	if err := settings.checkGroups(kind); err != nil {
		return nil, err
	}
	if settings.Transport == nil {
		if settings.Transport, err = newTransport(nil, ""); err != nil {
			return nil, err
		}
	}
	settings.Timeout = cmp.Or(max(settings.Timeout, 0), defaultTimeout)
	return &caller{Settings: settings, kind: kind, base: base}, nil
}

// value is what the credential gives for the key; "" for a late one.
func (s *Settings) value(key Key) string {
	if key.Secret {
		return s.Secrets[key.Name].Reveal()
	}
	return s.Values[key.Name]
}

// checkGroups asserts that each group of keys has one that is given.
func (s *Settings) checkGroups(kind *Kind) error {
	given := map[string]string{}
	for _, key := range kind.Keys {
		if key.Group == "" || s.value(key) == "" {
			continue
		}
		if other := given[key.Group]; other != "" {
			return &KeyError{key.Name, fmt.Errorf("given beside %s, which stands for the same", other)}
		}
		given[key.Group] = key.Name
	}
	for _, key := range kind.Keys {
		if key.Group != "" && given[key.Group] == "" {
			return &KeyError{key.Name, errors.New("missing, as are the keys that may stand for it")}
		}
	}
	return nil
}

// checkHeader tells what no header can carry, or not unchanged: what is not ASCII has
// no defined encoding, and blanks at the ends are dropped on the way.
func checkHeader(text string) error {
	if strings.TrimSpace(text) != text {
		return errors.New("begins or ends with white space, which gets lost in an HTTP header")
	}
	for _, b := range []byte(text) {
		if b < ' ' || b > '~' {
			return errors.New("has a character that an HTTP header cannot carry: printable ASCII alone is safe")
		}
	}
	return nil
}

// request is one POST. Its zero fields are a login to the base URL without
// headers or a body.
type request struct {
	step   step
	path   string
	header map[string]string
	body   any      // sent as JSON; nil for an empty body
	hide   []Secret // beside the credential's own: what else the answer might echo
}

// answer is what came back, whatever its status.
type answer struct {
	caller *caller
	step   step
	mask   mask
	status int
	header http.Header
	body   []byte
	cut    bool // there was more than maxBody

	fields   object // of the body, once somebody asked
	noFields error  // why there are none

	start    time.Time     // before the request
	received time.Time     // when the header was there
	gap      time.Duration // the provider's clock minus this host's, as the Date has it
	skew     time.Duration // the same, as far as it is believed
	dated    bool          // it is
}

// post makes one exchange within the credential's timeout, body included. Every
// error is an *Error: there was no answer, or not all of it.
func (c *caller) post(ctx context.Context, r request) (*answer, error) {
	x := exchange{caller: c, outer: ctx, mask: newMask(slices.Concat(hiding(ctx), r.hide)...)}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	req, err := c.build(x.trace(ctx), r)
	if err != nil {
		return nil, &Error{Class: Misconfigured, Err: err}
	}
	x.proxy = c.proxy(req)
	x.mask.hide(c.secrets(x.proxy)...)
	a := &answer{caller: c, step: r.step, mask: x.mask, start: time.Now()}
	// Not through http.Client, which would follow redirects.
	res, err := c.Transport.RoundTrip(req)
	if err != nil {
		return nil, x.lost(ctx, err)
	}
	defer func() { _ = res.Body.Close() }() // nothing can be done about it
	a.received = time.Now()
	a.status, a.header = res.StatusCode, res.Header
	if a.gap, a.dated = measureSkew(res.Header.Get("Date"), a.start, a.received); a.dated {
		a.skew = a.gap
	}
	a.body, err = io.ReadAll(io.LimitReader(res.Body, maxBody+1))
	if err != nil {
		return nil, a.broken(x.lost(ctx, err))
	}
	if len(a.body) > maxBody {
		a.body, a.cut = a.body[:maxBody], true
	}
	return a, nil
}

func (c *caller) build(ctx context.Context, r request) (*http.Request, error) {
	var body io.Reader
	if r.body != nil {
		text, err := json.Marshal(r.body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %T cannot be JSON", r.body)
		}
		body = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base.String()+r.path, body)
	if err != nil {
		return nil, errors.New("making the request: the url and the provider's path make no URL")
	}
	req.Header.Set("User-Agent", "tokend")
	if r.body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	return req, nil
}

// secrets are all that an answer might repeat: the credential's, and what the proxy
// is given.
func (c *caller) secrets(proxy *url.URL) (all []Secret) {
	for _, secret := range c.Secrets {
		all = append(all, secret)
	}
	if proxy != nil && proxy.User != nil {
		password, _ := proxy.User.Password()
		all = append(all, NewSecret(password))
	}
	return all
}

// proxy is what the request goes through; nil without one.
func (c *caller) proxy(req *http.Request) *url.URL {
	transport, ok := c.Transport.(*http.Transport)
	if !ok || transport.Proxy == nil {
		return nil
	}
	proxy, err := transport.Proxy(req)
	if err != nil {
		return nil // RoundTrip will say so
	}
	return proxy
}
