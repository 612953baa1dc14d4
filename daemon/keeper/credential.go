package keeper

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/providers"
)

// Credential is one entry of the credentials file, checked and ready for use. The
// keeper never changes one: a reload brings new ones.
type Credential struct {
	Name string
	Kind *providers.Kind
	// Provider is nil as long as it needs secrets that are still to come, and that
	// there is nothing older of.
	Provider providers.Provider
	Headers  []providers.Header // {token} is the only placeholder left
	RenewAt  float64            // fraction of the lifetime, 0.1 to 0.95
	Lazy     bool
	Asks     bool // a login may ask a person for a code
	Rules    access.Rules

	// Host is the host and port that logins go to: renewals in flight are limited
	// for each.
	Host string

	// Identity is a SHA-256 of what decides whose token this is: provider, url and
	// the identity keys. Secrets is one of all secrets. Both stay in memory; what
	// goes into the store is keyed. Without a Provider, Secrets is zero; Identity is
	// if it, or a header, waits for a secret too.
	Identity, Secrets [32]byte

	// Request is a SHA-256 of the settings that shape the request beside those two
	// (proxy, ca_file, timeout …): a request that was wrong may be sent again when
	// they change.
	Request [32]byte

	// Table is a SHA-256 of what the file says of the credential: as long as it stays,
	// the secrets have the same sources.
	Table [32]byte

	// Unread says that secrets are still to come: Reread gives them. Until it has,
	// Provider is nil, or has the secrets of before.
	Unread bool

	// Reread reads all secrets anew from their sources, and returns the whole
	// credential with them, which is never Unread. Its errors say what could not be
	// read and why, and hold no secret. It is nil when no source could have changed
	// unnoticed.
	Reread func(context.Context) (*Credential, error)

	// Advice is what an operator has to know about these secrets, beside the provider's
	// words, when they are refused; "" if nothing.
	Advice string

	// Read is when Reread had the secrets, or when the reload began: of two credentials
	// of one Table, the later one has the newer secrets.
	Read time.Time
}

// unread is the credential with its secrets to be read again. It works on with those
// that it has.
func (c *Credential) unread() *Credential {
	again := *c
	again.Unread = true
	return &again
}

// advise adds the advice to a refusal's words.
func (c *Credential) advise(words string) string {
	if c == nil || c.Advice == "" {
		return words
	}
	return words + "; " + c.Advice
}

// after is the credential as it follows old. If a reload was overtaken by a reading,
// old has the newer secrets of the same sources; all is read again then, for the sake
// of whatever else is new. What old has still to read, this one has too.
func (c *Credential) after(old *Credential) *Credential {
	if old == nil || old.Provider == nil || c.Reread == nil || old.Table != c.Table {
		return c
	}
	switch {
	case old.Read.After(c.Read):
		next := c.unread()
		next.Provider, next.Headers = old.Provider, old.Headers
		next.Identity, next.Secrets, next.Read = old.Identity, old.Secrets, old.Read
		return next
	case old.Unread && old.Secrets == c.Secrets:
		return c.unread()
	}
	return c
}

// String is the name: the headers may hold a secret that callers send along.
func (c Credential) String() string { return "credential " + c.Name }

// Format writes String, whatever the verb.
func (c Credential) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, c.String()) }

// LogValue is the name, whatever the handler.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.Name) }
