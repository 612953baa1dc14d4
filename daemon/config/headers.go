package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/tokend-project/tokend/providers"
)

// tokenMark is the placeholder that stays until there is a token.
const tokenMark = "{token}"

// setHeader reads how callers use the token. What the values of other keys put in
// is only known once all keys are read: see resolveHeaders. Nothing of a header is
// repeated in a message, since people put keys of APIs there.
func (c *checker) setHeader(s *settings, at string, n *node) {
	items := []*node{n}
	if n.kind == anArray {
		if items = n.items; len(items) == 0 {
			c.problem(n.off, at, `must not be empty: write it as "Authorization: Bearer {token}"`)
			return
		}
	} else if n.kind != aString {
		c.problem(n.off, at, `must be a string such as "Authorization: Bearer {token}" or an array of them, not %v`, n.kind)
		return
	}
	withToken, before := false, c.count()
	for _, item := range items {
		text, ok := c.text(at, item)
		if !ok {
			continue
		}
		h, fault := parseHeader(text)
		switch {
		case fault != "":
			c.problem(item.off, at, "%s", fault)
		case slices.ContainsFunc(s.headers, func(o providers.Header) bool { return strings.EqualFold(o.Name, h.Name) }):
			c.problem(item.off, at, "a second header of one name")
		default:
			withToken = withToken || strings.Contains(h.Format, tokenMark)
			s.headers = append(s.headers, h)
		}
	}
	if c.count() == before && !withToken {
		c.problem(n.off, at, "must contain {token}")
	}
}

// parseHeader reads "Name: value". RFC 9110 says in section 5 what each may hold;
// beyond ASCII servers do not agree what bytes mean.
func parseHeader(text string) (h providers.Header, fault string) {
	name, value, found := strings.Cut(text, ":")
	value = strings.Trim(value, " \t")
	switch {
	case !found || name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isTokenRune(r) }):
		return h, `must begin with the header's name and a colon, as in "Authorization: Bearer {token}"`
	case value == "":
		return h, "has no value after the colon"
	case !isFieldValue(value):
		return h, "may hold visible ASCII characters and blanks only"
	}
	return providers.Header{Name: name, Format: value}, ""
}

func isTokenRune(r rune) bool {
	return r < 0x80 && (isBare(string(r)) || strings.ContainsRune("!#$%&'*+.^`|~", r))
}

func isFieldValue(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r != '\t' && (r < ' ' || r > '~') })
}

// checkHeaders looks for what stands in the way of putting the values of keys into
// the headers.
func (c *checker) checkHeaders(d *draft) {
	own := d.settings.headers != nil
	off, at := d.off, d.path
	d.formats = d.kind.Headers
	if own {
		d.formats, off, at = d.settings.headers, d.at["header"], join(d.path, "header")
	}
	for _, h := range d.formats {
		_, err := fill(h.Format, func(key string) (string, error) {
			if own && !isPublic(d.kind, key) {
				return "", fmt.Errorf("a placeholder that callers cannot have: there are %s", placeholders(d.kind))
			}
			value, given := d.value(key, d.request.Secrets)
			if !given {
				if _, bad := d.at[key]; bad || isRequired(d.kind, key) {
					return "", nil // which was reported
				}
				return "", fmt.Errorf("{%s} is a key that the credential does not have", key)
			}
			if err := usable(value); err != nil {
				c.problem(d.at[key], join(d.path, key), "%v", err)
			}
			return "", nil
		})
		if err != nil {
			c.problem(off, at, "%v", err)
		}
	}
}

// usable says whether a key's value can be in a header.
func usable(value string) error {
	if !isFieldValue(value) || strings.Contains(value, tokenMark) {
		return errors.New("callers send it in a header, which it cannot be in: visible ASCII characters only, no {token}")
	}
	return nil
}

// headers are those of the credential with these secrets: the values of keys are put
// in, {token} excepted.
func (b *blueprint) headers(secrets map[string]providers.Secret) (all []providers.Header, err error) {
	for _, h := range b.formats {
		h.Format, err = fill(h.Format, func(key string) (string, error) {
			value, _ := b.value(key, secrets)
			if err := usable(value); err != nil {
				return "", &providers.KeyError{Key: key, Err: err}
			}
			return value, nil
		})
		if err != nil {
			return nil, err
		}
		all = append(all, h)
	}
	return all, nil
}

// fill replaces what is in braces, but for {token}.
func fill(format string, value func(key string) (string, error)) (string, error) {
	var b strings.Builder
	for {
		before, rest, found := strings.Cut(format, "{")
		b.WriteString(before)
		if !found {
			return b.String(), nil
		}
		key, after, closed := strings.Cut(rest, "}")
		if !closed || !isBare(key) {
			return "", errors.New("a brace that begins no placeholder such as {token}")
		}
		text := tokenMark
		if key != "token" {
			var err error
			if text, err = value(key); err != nil {
				return "", err
			}
		}
		b.WriteString(text)
		format = after
	}
}

// isPublic says whether callers may see the key's value: it is no secret, or the
// kind itself gives it to them.
func isPublic(kind *providers.Kind, key string) bool {
	for _, k := range kind.Keys {
		if k.Name == key {
			return !k.Secret && !k.Late || slices.ContainsFunc(kind.Headers, func(h providers.Header) bool {
				return strings.Contains(h.Format, "{"+key+"}")
			})
		}
	}
	return false
}

func placeholders(kind *providers.Kind) string {
	names := []string{tokenMark}
	for _, k := range kind.Keys {
		if isPublic(kind, k.Name) {
			names = append(names, "{"+k.Name+"}")
		}
	}
	return strings.Join(names, ", ")
}

func isRequired(kind *providers.Kind, key string) bool {
	k := keyOf(kind, key)
	return k != nil && k.Required
}
