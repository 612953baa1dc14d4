package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tokend-project/tokend/providers"
)

// The sources of secrets.
const (
	fromText       = "" // in the credentials file itself
	fromFile       = "file"
	fromCredential = "credential"
	fromCommand    = "command"
	fromEnv        = "env"
	fromTOTP       = "totp" // a code that is made from a key, which has a source in turn
)

var sourceNames = []string{fromFile, fromCredential, fromCommand, fromEnv, fromTOTP}

// source says where a secret is.
type source struct {
	kind string           // one of the constants above
	text providers.Secret // that stands in the credentials file; fromText
	name string           // of the file, the credential or the variable
	argv []string         // fromCommand
}

// located is a source, and the place of the value that names it.
type located struct {
	source
	node *node
	at   string
}

// absentError is about a source that has nothing for this process. It may have
// something for the daemon, so that for a check it is no problem.
type absentError string

func (e absentError) Error() string { return string(e) }

// standIn takes the place of a secret that a check cannot have.
var standIn = providers.NewSecret("0")

// secret reads the value of a secret key: a string, or a table that says where the
// secret is.
func (c *checker) secret(d *draft, key, at string, n *node) {
	s, ok := c.locate(at, n)
	switch {
	case !ok:
	case s.kind == fromTOTP:
		c.problem(s.node.off, s.at, "this key is no one-time code, which is all that a totp makes")
	case s.kind == fromCommand:
		c.lookFor(s)
		d.watched(key, s.source)
	default:
		secret, ok := c.fetch(s)
		if !ok {
			return
		}
		if odd := oddity(secret.Reveal()); odd != "" && s.kind != fromText {
			c.warn(s.node.off, s.at, "%s%s, which is sent as part of the secret", s.prefix(), odd)
		}
		d.request.Secrets[key] = secret
		d.watched(key, s.source)
	}
}

// locate reads where a secret is. The source of a secret in a table that has
// problems is still looked for, so that it is checked too.
func (c *checker) locate(at string, n *node) (s located, ok bool) {
	switch {
	case n.kind == aString:
		return located{source{text: providers.NewSecret(n.text)}, n, at}, true
	case n.kind != aTable:
		c.problem(n.off, at, `must be a string or a table such as { file = "/path" }, not %v`, n.kind)
	case len(n.members) == 0:
		c.problem(n.off, at, `says no source: write { file = "/path" }`)
	default:
		if m := c.single(at, n); m != nil {
			return c.locateIn(join(at, m.name), m)
		}
	}
	return s, false
}

// single is the first source that the table names.
func (c *checker) single(at string, n *node) (one *member) {
	for _, m := range n.members {
		where := join(at, m.name)
		switch {
		case m.shadow:
		case !slices.Contains(sourceNames, m.name):
			c.problem(m.off, where, "unknown source%s", mean(m.name, sourceNames))
		case one != nil:
			c.problem(m.off, where, "a secret has one source, and this is one more")
		default:
			one = m
		}
	}
	return one
}

func (c *checker) locateIn(at string, m *member) (s located, ok bool) {
	s = located{source{kind: m.name}, m.value, at}
	switch m.name {
	case fromFile:
		s.name, ok = c.absolute(at, m.value)
	case fromCredential:
		if s.name, ok = c.text(at, m.value); ok && !isFileName(s.name) {
			c.problem(m.value.off, at, "must be a credential's name, as in LoadCredential=NAME:/path of tokend's unit, without a slash or a colon")
			ok = false
		}
	case fromEnv:
		if s.name, ok = c.text(at, m.value); ok && !isVariable(s.name) {
			c.problem(m.value.off, at, "must be the name of an environment variable: letters, digits and _, no digit first")
			ok = false
		}
	case fromCommand:
		s.argv, ok = c.argv(at, m.value)
	case fromTOTP:
		ok = true // what it holds is a source of its own
	}
	return s, ok
}

// isFileName says whether systemd takes it for a credential's name
// (systemd.exec(5)), which its file in $CREDENTIALS_DIRECTORY has.
func isFileName(s string) bool {
	return len(s) <= 255 && s != "." && s != ".." && !strings.ContainsFunc(s, func(r rune) bool {
		return r <= ' ' || r > '~' || r == '/' || r == ':'
	})
}

func isVariable(s string) bool {
	return isBare(s) && !strings.Contains(s, "-") && (s[0] < '0' || s[0] > '9')
}

// fetch reads a secret while the file is checked.
func (c *checker) fetch(s located) (secret providers.Secret, ok bool) {
	secret, err := s.get(c.files)
	if err != nil {
		return standIn, c.excuse(s, err)
	}
	c.warnForeign(s)
	return secret, true
}

// excuse reports why a source could not be read, and says whether the check may go
// on as if it had been.
func (c *checker) excuse(s located, err error) bool {
	switch _, absent := errors.AsType[absentError](err); {
	case absent && c.files.lenient:
		c.warn(s.node.off, s.at, "%v", err)
		return true
	case absent:
		c.problem(s.node.off, s.at, "%v", err)
	default:
		c.problem(s.node.off, s.at, "%s%v", s.prefix(), err)
	}
	return false
}

// warnForeign says whose file it is if that is not tokend's.
func (c *checker) warnForeign(s located) {
	if path, err := s.path(); err == nil && path != "" {
		if foreign := c.files.read(path, maxSecret, true).foreign; foreign != "" {
			c.warn(s.node.off, s.at, "%s%s", s.prefix(), foreign)
		}
	}
}

// get reads the secret, but that of a command.
func (s *source) get(r *reader) (providers.Secret, error) {
	text, err := s.read(r)
	if err != nil {
		return providers.Secret{}, err
	}
	return secretOf(text)
}

// read is get without a look at what is there. What a source is called is in no
// error: a secret may stand there by mistake.
func (s *source) read(r *reader) (string, error) {
	switch s.kind {
	case fromFile, fromCredential:
		path, err := s.path()
		if err != nil {
			return "", err
		}
		data, err := r.read(path, maxSecret, true).get()
		if s.kind == fromCredential && errors.Is(err, errNoFile) {
			return "", absentError("tokend has no credential of that name: add LoadCredential= to its unit and restart it (a reload brings none)")
		}
		return string(data), err
	case fromEnv:
		text := os.Getenv(s.name)
		if text == "" {
			return "", absentError("the variable is not set in tokend's environment, or empty")
		}
		return text, nil
	}
	return s.text.Reveal(), nil
}

// path is the file that the secret is in, "" if it is in none.
func (s *source) path() (string, error) {
	switch s.kind {
	case fromFile:
		return s.name, nil
	case fromCredential:
		dir := os.Getenv("CREDENTIALS_DIRECTORY")
		if !filepath.IsAbs(dir) {
			return "", absentError("tokend has no credentials (CREDENTIALS_DIRECTORY is not set): add LoadCredential= to its unit and restart it")
		}
		return filepath.Join(dir, s.name), nil
	}
	return "", nil
}

// prefix begins messages about what a file holds, or a program printed.
func (s *source) prefix() string {
	path, err := s.path()
	if s.kind == fromCommand {
		path, err = program(s.argv[0])
	}
	if err != nil || path == "" {
		return ""
	}
	return showPath(path) + ": "
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

// oddity is what in a secret from elsewhere is probably a slip.
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
