package config

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
)

// memory is what a Loader knows of secrets from one Load to the next. Commands run
// once for a table, and never while a file is loaded: what they gave then is kept
// here. Until they have given something for a new table, the secrets of the old one
// stay in use. Readings write here what they found, so that no reload goes back to
// older secrets.
type memory struct {
	mu    sync.Mutex
	names map[string]memo
}

// memo is what is remembered of one credential.
type memo struct {
	table    [sha256.Size]byte
	identity map[string]providers.Secret // whose secrets they are
	secrets  map[string]providers.Secret // by key
	whole    bool                        // all commands of the table have given theirs
	at       time.Time
}

// of is what is known of a name.
func (m *memory) of(name string) memo {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.names[name]
}

// keep takes over what a Load found, and forgets all other names. Of a table that is
// still the same, what a reading found meanwhile is newer.
func (m *memory) keep(names map[string]memo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, k := range names {
		if old := m.names[name]; old.table == k.table && old.at.After(k.at) {
			names[name] = old
		}
	}
	m.names = names
}

// learn takes over what a reading found, unless the credential went or got another
// table meanwhile. It returns the time that it is of.
func (m *memory) learn(name string, k memo) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	k.at = time.Now()
	if old, ok := m.names[name]; ok && old.table == k.table {
		m.names[name] = k
	}
	return k.at
}

// memo is what there is to remember of these secrets.
func (b *blueprint) memo(secrets map[string]providers.Secret, whole bool) memo {
	return memo{table: b.table, identity: b.identity(secrets), secrets: secrets, whole: whole, at: b.plan.Read}
}

// recall takes over the secrets that the commands of this very table gave. Those of
// another table are to come.
func (b *blueprint) recall(name string, table [sha256.Size]byte) {
	b.table = table
	old := b.memory.of(name)
	for _, key := range b.commandKeys() {
		if secret, ok := old.secrets[key]; ok && old.whole && old.table == table {
			b.request.Secrets[key] = secret
		} else {
			b.toCome = append(b.toCome, key)
		}
	}
}

// commandKeys are those whose secrets commands give ahead of a login.
func (b *blueprint) commandKeys() (keys []string) {
	for _, key := range slices.Sorted(maps.Keys(b.sources)) {
		if b.sources[key].kind == fromCommand {
			keys = append(keys, key)
		}
	}
	return keys
}

// first is the credential as a Load returns it, and what to remember of it. If
// secrets are still to come, it is complete in all else, which is checked with
// stand-ins.
func (b *blueprint) first() (*keeper.Credential, memo, error) {
	secrets := maps.Clone(b.request.Secrets)
	for _, key := range b.toCome {
		secrets[key] = standIn
	}
	cred, err := b.credential(secrets, b.marks)
	if err != nil || len(b.toCome) == 0 {
		return cred, b.memo(secrets, true), err
	}
	if older, ok := b.older(); ok {
		if kept, err := b.credential(older, b.marks); err == nil {
			kept.Unread, kept.Reread = true, b.complete
			return kept, b.memo(older, false), nil
		}
	}
	cred.Provider, cred.Secrets = nil, [sha256.Size]byte{}
	cred.Unread, cred.Reread = true, b.complete
	if slices.ContainsFunc(b.toCome, func(key string) bool { return keyOf(b.kind, key).Identity || b.inHeaders(key) }) {
		cred.Identity, cred.Headers = [sha256.Size]byte{}, nil
	}
	return cred, b.memo(b.request.Secrets, false), nil
}

// inHeaders says whether callers send the key's value along.
func (b *blueprint) inHeaders(key string) bool {
	return slices.ContainsFunc(b.formats, func(h providers.Header) bool { return strings.Contains(h.Format, "{"+key+"}") })
}

// older are the secrets with those of before in place of what is to come; ok is
// false unless each of these is there, and belongs to what this credential is but for
// them: an old secret goes to no other url, and in nobody else's name.
func (b *blueprint) older() (secrets map[string]providers.Secret, ok bool) {
	old := b.memory.of(b.plan.Name)
	mine := b.identity(b.request.Secrets)
	for _, key := range b.toCome {
		if secret, given := old.identity[key]; given {
			mine[key] = secret
		}
	}
	if !maps.EqualFunc(mine, old.identity, providers.Secret.Equal) {
		return nil, false
	}
	secrets = maps.Clone(b.request.Secrets)
	for _, key := range b.toCome {
		if secrets[key], ok = old.secrets[key]; !ok {
			return nil, false
		}
	}
	return secrets, true
}

// complete is keeper.Credential.Reread of a credential whose secrets are to come. A
// reading that an earlier Load of the same table began may have brought them by now.
func (b *blueprint) complete(ctx context.Context) (*keeper.Credential, error) {
	old := b.memory.of(b.plan.Name)
	if !old.whole || old.table != b.table {
		return b.reread(ctx)
	}
	secrets := maps.Clone(b.request.Secrets)
	for _, key := range b.toCome {
		secrets[key] = old.secrets[key]
	}
	cred, err := b.credential(secrets, b.marks)
	if err != nil {
		return b.reread(ctx)
	}
	cred.Read = old.at
	return cred, nil
}

// sum is a SHA-256 of what a value of the file says, however it is written.
func (n *node) sum() [sha256.Size]byte { return sha256.Sum256(n.plain(nil)) }

// plain appends the value in a form that no two have in common.
func (n *node) plain(to []byte) []byte {
	add := func(text string) {
		to = binary.AppendUvarint(to, uint64(len(text)))
		to = append(to, text...)
	}
	to = append(to, byte(n.kind))
	add(n.text)
	to = binary.AppendUvarint(to, uint64(len(n.items)))
	for _, item := range n.items {
		to = item.plain(to)
	}
	members := slices.SortedFunc(slices.Values(n.members), func(a, b *member) int { return strings.Compare(a.name, b.name) })
	to = binary.AppendUvarint(to, uint64(len(members)))
	for _, m := range members {
		add(m.name)
		to = m.value.plain(to)
	}
	return to
}
