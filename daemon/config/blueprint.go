package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokend-project/tokend/providers"
)

// blueprint is what a provider is made from, once more when its secrets are reread.
type blueprint struct {
	kind    *providers.Kind
	request providers.Settings          // Secrets: as they were when the file was read
	sources map[string]source           // key → where its secret is, if it may change there
	marks   map[string]providers.Secret // late key → what stands for it among the secrets
	uid     uint32
	gids    []uint32
}

func newBlueprint(kind *providers.Kind, r *reader) *blueprint {
	return &blueprint{
		kind: kind,
		request: providers.Settings{
			Values: make(map[string]string), Secrets: make(map[string]providers.Secret),
			Late: make(map[string]providers.Source),
		},
		sources: make(map[string]source), marks: make(map[string]providers.Secret),
		uid: r.uid, gids: r.gids,
	}
}

// watched notes where a secret is that Reread has to look at again. What stands in
// the file or in the environment does not change by itself.
func (b *blueprint) watched(key string, s source) {
	if s.kind == fromFile || s.kind == fromCredential {
		b.sources[key] = s
	}
}

// provider makes the provider with these secrets. Its error is a
// *providers.KeyError if it is about a key.
func (b *blueprint) provider(secrets map[string]providers.Secret) (providers.Provider, error) {
	s := b.request
	s.Values, s.Secrets = maps.Clone(s.Values), secrets
	p, err := b.kind.New(s)
	if err == nil {
		return p, nil
	}
	var key, text string
	if e, ok := errors.AsType[*providers.KeyError](err); ok {
		key, text = e.Key, e.Err.Error()
	} else {
		key, text, _ = strings.Cut(err.Error(), ": ")
	}
	if key != "url" && keyOf(b.kind, key) == nil {
		return nil, errors.New(masked(err.Error(), secrets))
	}
	return nil, &providers.KeyError{Key: key, Err: errors.New(masked(text, secrets))}
}

// masked takes secrets out of a text that should hold none. It goes to an operator,
// so this does not rely on every kind's care.
func masked(text string, secrets map[string]providers.Secret) string {
	for _, s := range secrets {
		if secret := s.Reveal(); secret != "" {
			text = strings.ReplaceAll(text, secret, s.String())
		}
	}
	return text
}

// reread is keeper.Credential.Reread. Inline secrets stay what they were: only a
// new table changes them.
func (b *blueprint) reread(ctx context.Context) (providers.Provider, [sha256.Size]byte, error) {
	r := &reader{uid: b.uid, gids: b.gids}
	secrets, marks := maps.Clone(b.request.Secrets), maps.Clone(b.marks)
	for _, key := range slices.Sorted(maps.Keys(b.sources)) {
		if err := ctx.Err(); err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("reading %s: %w", key, err)
		}
		s := b.sources[key]
		secret, err := s.get(r)
		if _, late := marks[key]; late && err == nil {
			var k totpKey
			k, err = parseTOTP(secret.Reveal())
			marks[key] = k.mark()
		} else if !late {
			secrets[key] = secret
		}
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("reading %s from %s%w", key, s.prefix(), err)
		}
	}
	p, err := b.provider(secrets)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("making the provider again: %w", err)
	}
	return p, b.secrets(secrets, marks), nil
}

// identity is keeper.Credential.Identity. No key is called like the two that every
// credential has.
func (b *blueprint) identity() [sha256.Size]byte {
	values := map[string]string{"provider": b.kind.Name, "url": b.request.URL}
	for _, k := range b.kind.Keys {
		if !k.Identity {
			continue
		}
		if text, ok := b.value(k.Name); ok {
			values[k.Name] = text
		}
	}
	return digest(values)
}

// value is that of a key, be it secret or not.
func (b *blueprint) value(key string) (text string, given bool) {
	if text, given = b.request.Values[key]; given {
		return text, true
	}
	secret, given := b.request.Secrets[key]
	return secret.Reveal(), given
}

// secrets is keeper.Credential.Secrets. Late keys take part with their marks.
func (b *blueprint) secrets(secrets, marks map[string]providers.Secret) [sha256.Size]byte {
	values := make(map[string]string, len(secrets)+len(marks))
	for name, s := range secrets {
		values[name] = s.Reveal()
	}
	for name, s := range marks {
		values["late "+name] = s.Reveal() // a blank is in no key's name
	}
	return digest(values)
}

// shape is keeper.Credential.Request: what else goes into a request or decides how
// it travels.
func (c *checker) shape(d *draft) [sha256.Size]byte {
	values := map[string]string{
		"timeout": d.timeout.String(), "ttl": d.ttl.String(), "proxy": d.proxy,
	}
	if d.ca != "" {
		roots := c.files.read(d.ca, maxCA, false).sum
		values["ca_file"] = string(roots[:])
	}
	for _, k := range d.kind.Keys {
		if text, ok := d.request.Values[k.Name]; ok && !k.Identity {
			values["key "+k.Name] = text // a blank is in no setting's name
		}
	}
	return digest(values)
}
