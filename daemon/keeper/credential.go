package keeper

import (
	"context"
	"log/slog"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/providers"
)

// Credential is one entry of the credentials file, checked and ready for use. The
// keeper never changes one: a reload brings new ones.
type Credential struct {
	Name     string
	Kind     *providers.Kind
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
	// goes into the store is keyed.
	Identity, Secrets [32]byte

	// Request is a SHA-256 of the settings that shape the request beside those two
	// (proxy, ca_file, timeout …): a request that was wrong may be sent again when
	// they change.
	Request [32]byte

	// Reread reads the secrets once more from their sources, for the moment before a
	// refusal becomes final. It is nil when no source could have changed unnoticed.
	Reread func(context.Context) (providers.Provider, [32]byte, error)
}

// String is the name: the headers may hold a secret that callers send along.
func (c Credential) String() string { return "credential " + c.Name }

// GoString is String, for %#v.
func (c Credential) GoString() string { return c.String() }

// LogValue is the name, whatever the handler.
func (c Credential) LogValue() slog.Value { return slog.StringValue(c.Name) }
