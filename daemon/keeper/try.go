package keeper

import (
	"context"
	"errors"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// Try logs in once with the credential, outside of any keeper: nothing of it is
// stored, and no budget holds it back. The status says what came, never the token;
// the error has the code that a keeper's readers would get.
func Try(ctx context.Context, c *Credential) (api.Status, *api.Error) {
	if c.Unread {
		read, err := c.Reread(ctx)
		if err != nil {
			return api.Status{}, api.Errorf(api.CodePending, "%v", err).For(c.Name)
		}
		c = read
	}
	t, err := providers.Login(ctx, c.Provider, nil)
	var challenge *providers.Challenge
	var failure *providers.Error
	switch {
	case err == nil:
		return api.Status{
			Name: c.Name, Provider: c.Kind.Name, State: api.StateFresh, Usable: true,
			Fingerprint: api.Fingerprint(t.Value.Reveal()), IssuedAt: wire(t.Issued), ExpiresAt: wire(t.Expires),
			SkewSeconds: int(t.Skew.Round(time.Second) / time.Second),
		}, nil
	case errors.As(err, &challenge):
		return api.Status{}, api.Errorf(api.CodeChallenge, "%s asks for %s: %s", c.Kind.Name, challenge.Step, challenge.Prompt).For(c.Name)
	case errors.As(err, &failure):
		problem := api.Errorf(codeOf(failure.Class), "%s", err).For(c.Name)
		if failure.RetryAfter > 0 {
			problem = problem.After(failure.RetryAfter)
		}
		return api.Status{}, problem
	}
	return api.Status{}, api.Errorf(api.CodeInternal, "%v", err).For(c.Name)
}

// codeOf is the code of a reader without a token after a failure of the class.
func codeOf(class providers.Class) api.Code {
	switch class {
	case providers.Refused, providers.Misconfigured:
		return api.CodeRefused
	case providers.Throttled:
		return api.CodeThrottled
	case providers.TicketGone:
		return api.CodeChallenge
	case providers.Malformed, providers.RefreshRefused, providers.NoRefresh, providers.Transient, providers.Blocked:
	}
	return api.CodePending
}
