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
	request providers.Settings // Secrets: as they were when the file was read
	files   map[string]string  // key → file that its secret is in
	uid     uint32
	gids    []uint32
}

func newBlueprint(kind *providers.Kind, r *reader) *blueprint {
	return &blueprint{
		kind: kind,
		request: providers.Settings{
			Values: make(map[string]string), Secrets: make(map[string]providers.Secret),
		},
		files: make(map[string]string), uid: r.uid, gids: r.gids,
	}
}

// provider makes the provider with these secrets.
func (b *blueprint) provider(secrets map[string]providers.Secret) (providers.Provider, error) {
	s := b.request
	s.Values, s.Secrets = maps.Clone(s.Values), secrets
	p, err := b.kind.New(s)
	if err != nil {
		return nil, errors.New(masked(err.Error(), secrets))
	}
	return p, nil
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
	secrets := maps.Clone(b.request.Secrets)
	for _, key := range slices.Sorted(maps.Keys(b.files)) {
		if err := ctx.Err(); err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("reading %s: %w", key, err)
		}
		path := b.files[key]
		secret, err := r.secret(path)
		if err != nil {
			return nil, [sha256.Size]byte{}, fmt.Errorf("reading %s from %s: %w", key, showPath(path), err)
		}
		secrets[key] = secret
	}
	p, err := b.provider(secrets)
	if err != nil {
		return nil, [sha256.Size]byte{}, fmt.Errorf("making the provider again: %w", err)
	}
	return p, b.secrets(secrets), nil
}

// identity is keeper.Credential.Identity. No key is called like the two that every
// credential has.
func (b *blueprint) identity() [sha256.Size]byte {
	values := map[string]string{"provider": b.kind.Name, "url": b.request.URL}
	for _, k := range b.kind.Keys {
		if !k.Identity {
			continue
		}
		if text, ok := b.request.Values[k.Name]; ok {
			values[k.Name] = text
		} else if secret, ok := b.request.Secrets[k.Name]; ok {
			values[k.Name] = secret.Reveal()
		}
	}
	return digest(values)
}

// secrets is keeper.Credential.Secrets.
func (b *blueprint) secrets(secrets map[string]providers.Secret) [sha256.Size]byte {
	values := make(map[string]string, len(secrets))
	for name, s := range secrets {
		values[name] = s.Reveal()
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
