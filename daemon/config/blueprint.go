package config

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
)

// blueprint is what a credential is made from, once more when its secrets are read
// again.
type blueprint struct {
	kind    *providers.Kind
	plan    keeper.Credential           // all of it that no secret is part of
	formats []providers.Header          // of its headers
	request providers.Settings          // Secrets: as they were when the file was read
	sources map[string]source           // key → where its secret is, if it may change there
	toCome  []string                    // keys whose commands have not run for this table
	marks   map[string]providers.Secret // late key → what stands for it among the secrets
	table   [sha256.Size]byte           // sum of what the table says
	*bench
	uid  uint32
	gids []uint32
}

func (c *checker) newBlueprint(kind *providers.Kind) *blueprint {
	return &blueprint{
		kind: kind,
		request: providers.Settings{
			Values: make(map[string]string), Secrets: make(map[string]providers.Secret),
			Late: make(map[string]providers.Source),
		},
		sources: make(map[string]source), marks: make(map[string]providers.Secret),
		bench: c.bench, uid: c.files.uid, gids: c.files.gids,
	}
}

// watched notes where a secret is that Reread has to look at again. What stands in
// the file or in the environment does not change by itself.
func (b *blueprint) watched(key string, s source) {
	if s.kind == fromFile || s.kind == fromCredential || s.kind == fromCommand {
		b.sources[key] = s
	}
}

// adviceOn is keeper.Credential.Advice. Before version 260 systemd copies a credential
// for a unit when that starts, and never again (systemd.exec(5), LoadCredential=).
func adviceOn(sources map[string]source) string {
	for _, s := range sources {
		if s.kind == fromCredential {
			return "a systemd credential that was changed arrives with a restart of tokend, and before systemd 260 not with a reload"
		}
	}
	return ""
}

// credential is the whole one with these secrets. Its error is a *providers.KeyError
// if it is about a key.
func (b *blueprint) credential(secrets, marks map[string]providers.Secret) (*keeper.Credential, error) {
	provider, err := b.provider(secrets)
	if err != nil {
		return nil, err
	}
	headers, err := b.headers(secrets)
	if err != nil {
		return nil, err
	}
	cred := b.plan
	cred.Provider, cred.Headers = provider, headers
	cred.Identity, cred.Secrets = sumOf(b.identity(secrets)), b.secrets(secrets, marks)
	return &cred, nil
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
// new table changes them. What it finds is what the next reload goes by.
func (b *blueprint) reread(ctx context.Context) (*keeper.Credential, error) {
	r := &reader{uid: b.uid, gids: b.gids}
	secrets, marks := maps.Clone(b.request.Secrets), maps.Clone(b.marks)
	for _, key := range slices.Sorted(maps.Keys(b.sources)) {
		if err := ctx.Err(); err != nil {
			return nil, fmt.Errorf("reading %s: %w", key, err)
		}
		s := b.sources[key]
		secret, err := b.take(ctx, r, s)
		if _, late := marks[key]; late && err == nil {
			var k totpKey
			k, err = parseTOTP(secret.Reveal())
			marks[key] = k.mark()
		} else if !late {
			secrets[key] = secret
		}
		switch {
		case err != nil && s.kind == fromCommand: // it names the program
			return nil, fmt.Errorf("reading %s: %w", key, err)
		case err != nil:
			return nil, fmt.Errorf("reading %s from %s%w", key, s.prefix(), err)
		}
	}
	cred, err := b.credential(secrets, marks)
	if err != nil {
		return nil, fmt.Errorf("secrets that cannot be used: %w", err)
	}
	cred.Read = b.memory.learn(b.plan.Name, b.memo(secrets, true))
	return cred, nil
}

// take reads a secret that may have changed.
func (b *blueprint) take(ctx context.Context, r *reader, s source) (providers.Secret, error) {
	if s.kind == fromCommand {
		return b.commands.run(ctx, s.argv)
	}
	return s.get(r)
}

// identity is what keeper.Credential.Identity is made of. No key is called like the
// two that every credential has.
func (b *blueprint) identity(secrets map[string]providers.Secret) map[string]providers.Secret {
	values := map[string]providers.Secret{
		"provider": providers.NewSecret(b.kind.Name), "url": providers.NewSecret(b.request.URL),
	}
	for _, k := range b.kind.Keys {
		if !k.Identity {
			continue
		}
		if text, ok := b.value(k.Name, secrets); ok {
			values[k.Name] = providers.NewSecret(text)
		}
	}
	return values
}

// value is that of a key, be it secret or not.
func (b *blueprint) value(key string, secrets map[string]providers.Secret) (text string, given bool) {
	if text, given = b.request.Values[key]; given {
		return text, true
	}
	secret, given := secrets[key]
	return secret.Reveal(), given
}

// secrets is keeper.Credential.Secrets. Late keys take part with their marks.
func (b *blueprint) secrets(secrets, marks map[string]providers.Secret) [sha256.Size]byte {
	values := maps.Clone(secrets)
	for name, s := range marks {
		values["late "+name] = s // a blank is in no key's name
	}
	return sumOf(values)
}

// sumOf is the digest of values that are not to be shown.
func sumOf(values map[string]providers.Secret) [sha256.Size]byte {
	texts := make(map[string]string, len(values))
	for name, s := range values {
		texts[name] = s.Reveal()
	}
	return digest(texts)
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
