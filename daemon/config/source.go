package config

import (
	"errors"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tokend-project/tokend/providers"
)

// sourceNames are the sources of secrets. All but the first have no more than their
// name so far.
var sourceNames = []string{"file", "credential", "command", "env", "totp"}

// source reads a secret: a string, or a table that says where to find it.
func (c *checker) source(d *draft, key, at string, n *node) {
	switch {
	case n.kind == aString:
		secret, err := secretOf(n.text)
		if err != nil {
			c.problem(n.off, at, "%v", err)
			return
		}
		d.request.Secrets[key] = secret
	case n.kind != aTable:
		c.problem(n.off, at, `must be a string or a table such as { file = "/path" }, not %v`, n.kind)
	case len(n.members) == 0:
		c.problem(n.off, at, `says no source: write { file = "/path" }`)
	default:
		c.sourceTable(d, key, at, n)
	}
}

func (c *checker) sourceTable(d *draft, key, at string, n *node) {
	sources := 0
	for _, m := range n.members {
		where := join(at, m.name)
		known, later := slices.Contains(sourceNames, m.name), m.name != "file"
		if known && !m.shadow {
			sources++
		}
		switch {
		case m.shadow:
		case !known:
			c.problem(m.off, where, "unknown source%s", mean(m.name, sourceNames))
		case sources > 1:
			c.problem(m.off, where, "a secret has one source, and this is one more")
		case later:
			c.problem(m.off, where, `this version cannot take secrets from there: use { file = "/path" } or a string`)
		default:
			c.secretFile(d, key, where, m.value)
		}
	}
}

func (c *checker) secretFile(d *draft, key, at string, n *node) {
	path, ok := c.absolute(at, n)
	if !ok {
		return
	}
	secret, err := c.files.secret(path)
	if err != nil {
		c.problem(n.off, at, "%s: %v", showPath(path), err)
		return
	}
	if foreign := c.files.read(path, maxSecret, true).foreign; foreign != "" {
		c.warn(n.off, at, "%s: %s", showPath(path), foreign)
	}
	if odd := oddity(secret.Reveal()); odd != "" {
		c.warn(n.off, at, "%s: %s, which is sent as part of the secret", showPath(path), odd)
	}
	d.request.Secrets[key], d.files[key] = secret, path
}

// secret reads a secret from a file.
func (r *reader) secret(path string) (providers.Secret, error) {
	data, err := r.read(path, maxSecret, true).get()
	if err != nil {
		return providers.Secret{}, err
	}
	return secretOf(string(data))
}

// secretOf drops the newline that editors and echo put at the end.
func secretOf(text string) (providers.Secret, error) {
	if line, ok := strings.CutSuffix(text, "\n"); ok {
		text = strings.TrimSuffix(line, "\r")
	}
	switch {
	case text == "":
		return providers.Secret{}, errors.New("the secret is empty")
	case !utf8.ValidString(text):
		// JSON has no way to carry it: another secret would be sent.
		return providers.Secret{}, errors.New("the secret is not UTF-8 text")
	}
	return providers.NewSecret(text), nil
}

// oddity is what in a file's secret is probably a slip.
func oddity(text string) string {
	first, _ := utf8.DecodeRuneInString(text)
	last, _ := utf8.DecodeLastRuneInString(text)
	switch {
	case first == '\ufeff':
		return "it begins with a byte order mark"
	case unicode.IsSpace(first):
		return "it begins with white space"
	case unicode.IsSpace(last):
		return "it ends with white space"
	}
	return ""
}
