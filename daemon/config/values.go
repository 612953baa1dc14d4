package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/providers"
)

const (
	defaultTimeout         = 15 * time.Second
	minTimeout, maxTimeout = 100 * time.Millisecond, 10 * time.Minute
	minTTL, maxTTL         = time.Second, 366 * 24 * time.Hour
	minRenewAt, maxRenewAt = 0.1, 0.95
)

// settings are what every credential may set, and what it has when it does not.
type settings struct {
	rules        access.Rules
	lazy         bool
	renewAt      float64 // 0: the kind's own
	timeout, ttl time.Duration
	base, host   string // of the url; empty: not given
	headers      []providers.Header
	ca           string // path of the CA file
	proxy        string
}

// setting is a key that every credential takes.
type setting struct {
	name      string
	byDefault bool // [defaults] takes it too
	set       func(c *checker, s *settings, at string, n *node)
}

// settingTable has no entry for `provider`, which decides about the others.
var settingTable = []setting{
	{"url", false, (*checker).setURL},
	{"allow", true, func(c *checker, s *settings, at string, n *node) { s.rules.Allow = c.ruleList(at, n) }},
	{"operate", true, func(c *checker, s *settings, at string, n *node) { s.rules.Operate = c.ruleList(at, n) }},
	{"observe", true, func(c *checker, s *settings, at string, n *node) { s.rules.Observe = c.ruleList(at, n) }},
	{"mode", true, (*checker).setMode},
	{"renew_at", true, (*checker).setRenewAt},
	{"ttl", false, func(c *checker, s *settings, at string, n *node) { s.ttl = c.duration(at, n, minTTL, maxTTL) }},
	{"header", false, (*checker).setHeader},
	{"timeout", true, func(c *checker, s *settings, at string, n *node) {
		s.timeout = c.duration(at, n, minTimeout, maxTimeout)
	}},
	{"ca_file", true, (*checker).setCA},
	{"proxy", true, (*checker).setProxy},
}

func findSetting(name string) *setting {
	for i := range settingTable {
		if settingTable[i].name == name {
			return &settingTable[i]
		}
	}
	return nil
}

// text is the value of a string that is not empty; anything else is a problem.
func (c *checker) text(at string, n *node) (text string, ok bool) {
	switch {
	case n.kind != aString:
		c.problem(n.off, at, "must be a string, not %v", n.kind)
	case n.text == "":
		c.problem(n.off, at, "must not be empty")
	default:
		return n.text, true
	}
	return "", false
}

func (c *checker) ruleList(at string, n *node) (rules []access.Rule) {
	if n.kind != anArray {
		c.problem(n.off, at, `must be an array such as ["user:alice"], not %v`, n.kind)
		return nil
	}
	for _, item := range n.items {
		if text, ok := c.text(at, item); ok {
			if strings.HasPrefix(text, "unit:") && c.escaped(item) {
				c.problem(item.off, at, "between double quotes a backslash is TOML's, not systemd's: write the rule between single quotes")
				continue
			}
			rule, err := c.rule(text)
			switch {
			case err != nil:
				c.problem(item.off, at, "%v", err)
			case rule.Unmapped():
				c.warn(item.off, at, "%s fits nobody: tokend's user namespace has no such number, since its unit has PrivateUsers=, or it runs in a container", text)
			}
			rules = append(rules, rule)
		}
	}
	return rules
}

// escaped says whether the string is between double quotes and a backslash in it
// makes another character. The names of units hold \x2d and the like as they are.
func (c *checker) escaped(n *node) bool {
	text, quoted := strings.CutPrefix(string(c.data[n.off:min(len(c.data), n.off+1024)]), `"`)
	text = strings.TrimLeft(text, `"`)
	for i := 0; quoted && i+1 < len(text) && text[i] != '"'; i++ {
		if text[i] != '\\' {
			continue
		}
		if i++; text[i] != '\\' {
			return true
		}
	}
	return false
}

func (c *checker) setMode(s *settings, at string, n *node) {
	text, ok := c.text(at, n)
	switch {
	case !ok:
	case text != "eager" && text != "lazy":
		c.problem(n.off, at, `must be "eager" or "lazy"`)
	default:
		s.lazy = text == "lazy"
	}
}

func (c *checker) setRenewAt(s *settings, at string, n *node) {
	if n.kind != aFloat && n.kind != anInteger {
		c.problem(n.off, at, "must be a number such as 0.75, not %v", n.kind)
		return
	}
	f, err := strconv.ParseFloat(strings.ReplaceAll(n.text, "_", ""), 64)
	if err != nil || !(f >= minRenewAt && f <= maxRenewAt) { // written so that NaN is outside
		c.problem(n.off, at, "must be from %v to %v", minRenewAt, maxRenewAt)
		return
	}
	s.renewAt = f
}

func (c *checker) duration(at string, n *node, least, most time.Duration) time.Duration {
	if n.kind != aString {
		c.problem(n.off, at, `must be a string such as "15s" or "1h30m", not %v`, n.kind)
		return 0
	}
	d, err := time.ParseDuration(n.text)
	switch {
	case err != nil:
		c.problem(n.off, at, `must be a duration such as "15s" or "1h30m"`)
	case d < least || d > most:
		c.problem(n.off, at, "must be from %v to %v", brief(least), brief(most))
	}
	return d
}

// brief is a duration without units that are zero.
func brief(d time.Duration) string {
	s := d.String()
	for _, zero := range [...]string{"m0s", "h0m"} {
		if strings.HasSuffix(s, zero) {
			s = s[:len(s)-2]
		}
	}
	return s
}

func (c *checker) setURL(s *settings, at string, n *node) {
	text, ok := c.text(at, n)
	if !ok {
		return
	}
	base, host, err := baseURL(text)
	if err != nil {
		c.problem(n.off, at, "%v", err)
		return
	}
	s.base, s.host = base, host
}

// baseURL checks a provider's url and gives it the one form that identities are
// made from, without a slash at its end. host has the port. Errors do not repeat
// the url: it may hold a password where none belongs.
func baseURL(text string) (base, host string, err error) {
	u, err := url.Parse(text)
	if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' }) {
		return "", "", errors.New("is not a URL: write it as https://HOST, or https://HOST:PORT/PATH")
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return "", "", errors.New("must begin with https://")
	case u.User != nil:
		return "", "", errors.New("must not hold a user name or a password")
	case u.RawQuery != "" || u.ForceQuery:
		return "", "", errors.New("must not have a query: leave out ? and what follows")
	case strings.Contains(text, "#"):
		return "", "", errors.New("must not have a fragment: leave out # and what follows")
	case u.Hostname() == "":
		return "", "", errors.New("has no host")
	case u.Scheme == "http" && !isLoopback(u.Hostname()):
		return "", "", errors.New("must begin with https:// (http is for loopback addresses alone)")
	}
	usual := map[string]string{"http": "80", "https": "443"}[u.Scheme]
	name, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = usual
	}
	if p, err := strconv.ParseUint(port, 10, 16); err != nil || p == 0 {
		return "", "", errors.New("has a port that is not from 1 to 65535")
	}
	host = net.JoinHostPort(name, port)
	plain := &url.URL{
		Scheme: u.Scheme, Host: host,
		Path: strings.TrimRight(u.Path, "/"), RawPath: strings.TrimRight(u.RawPath, "/"),
	}
	if port == usual {
		plain.Host = strings.TrimSuffix(host, ":"+port)
	}
	return plain.String(), host, nil
}

func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

func (c *checker) setCA(s *settings, at string, n *node) {
	path, ok := c.absolute(at, n)
	if !ok {
		return
	}
	data, err := c.files.read(path, maxCA, false).get()
	if err == nil {
		// Whatever proxy comes with it: this is about the certificates.
		_, err = c.transports.For(data, "none")
	}
	if err != nil {
		c.problem(n.off, at, "%s: %v", showPath(path), err)
		return
	}
	s.ca = path
}

// absolute is a path that does not depend on where tokend was started. One that
// does is not repeated: it may be a secret that was taken for a path.
func (c *checker) absolute(at string, n *node) (path string, ok bool) {
	path, ok = c.text(at, n)
	if ok && !filepath.IsAbs(path) {
		c.problem(n.off, at, "must be an absolute path")
		return "", false
	}
	return path, ok
}

// showPath is a path in a message: as it is unless that would garble the message.
func showPath(path string) string {
	if len(path) > 1024 || strings.ContainsFunc(path, func(r rune) bool { return !strconv.IsPrint(r) }) {
		return quote(path)
	}
	return path
}

func (c content) get() ([]byte, error) {
	if c.err != nil {
		return nil, c.err
	}
	if c.data == nil {
		return []byte{}, nil // not nil, which means no file to some
	}
	return c.data, nil
}

// list is `"a", "b" and "c"`.
func list(names []string) string {
	var b strings.Builder
	for i, name := range names {
		switch {
		case i == 0:
		case i == len(names)-1:
			b.WriteString(" and ")
		default:
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%q", name)
	}
	return b.String()
}
