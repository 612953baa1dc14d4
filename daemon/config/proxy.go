package config

import (
	"errors"
	"net/url"
	"os"
	"strings"
)

func (c *checker) setProxy(s *settings, at string, n *node) {
	text, ok := c.text(at, n)
	if !ok {
		return
	}
	if err := checkProxy(text); err != nil {
		c.problem(n.off, at, "%v", err)
		return
	}
	s.proxy = text
}

// checkProxy repeats nothing of the proxy, which may hold a password.
func checkProxy(text string) error {
	if text == "none" {
		return nil
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text
	}
	u, err := url.Parse(text)
	if err != nil || strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' }) {
		return errors.New(`is not a URL: write it as http://HOST:PORT, or "none"`)
	}
	switch u.Scheme {
	case "http", "https", "socks5", "socks5h":
	default:
		return errors.New("must begin with http://, https://, socks5:// or socks5h://")
	}
	if u.Hostname() == "" {
		return errors.New(`has no host: write it as http://HOST:PORT, or "none"`)
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(text, "#") {
		return errors.New("must end after the host and port")
	}
	return nil
}

// environment looks at the proxy of those credentials that name none. Go's own
// reading of the variables takes some malformed values for no proxy, and does not
// say so. Requests over plain http go to loopback addresses alone, where no proxy is
// used: HTTP_PROXY is of no account.
func (c *checker) environment() {
	if c.surveyed {
		return
	}
	c.surveyed = true
	say := c.problem
	if c.files.lenient { // the daemon has an environment of its own
		say = c.warn
	}
	for _, name := range [...]string{"HTTPS_PROXY", "https_proxy"} {
		value := os.Getenv(name)
		if value == "" {
			continue
		}
		if checkProxy(value) != nil {
			say(nowhere, "", "%s in tokend's environment is not the URL of a proxy, and requests might go without one: write it as http://HOST:PORT, or unset it", name)
		}
		return // the second counts only without the first
	}
	for _, name := range [...]string{"ALL_PROXY", "all_proxy"} {
		if os.Getenv(name) != "" {
			c.warn(nowhere, "", "%s in tokend's environment is not used: set HTTPS_PROXY, or proxy in the file", name)
			return
		}
	}
}
