package providers

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

// noventiqKind is the e-commerce API of Noventiq, formerly Softline
// (https://docs.noventiq.com/en-en/payment/authentication-api-request). Its tokens
// are valid for 24 hours from receipt, and a new one does not end the last.
var noventiqKind = Kind{
	Name: "noventiq",
	Help: "Noventiq (Softline) e-commerce: Checkout and Payments",
	Keys: []Key{
		{Name: "username", Help: "the login for the API", Identity: true, Required: true},
		{Name: "password", Help: "the password for the API", Secret: true, Required: true},
	},
	// Not Authorization: https://docs.noventiq.com/en-en/payment/authentication-api-token-usage
	Headers: []Header{{Name: "AuthorizationJWT", Format: "Bearer {token}"}},
	RenewAt: 0.9,
	Logins:  12,
}

var noventiqLife = life{assumed: 24 * time.Hour, longest: 24 * time.Hour}

// noventiqErrors are the error codes of a login.
var noventiqErrors = map[int]Class{
	110:  Misconfigured, // JSON is not valid
	111:  Misconfigured, // content type is not exactly application/json
	1005: Misconfigured, // authorization data missing or invalid
	1006: Refused,       // bad credentials
}

type noventiq struct{ *caller }

func newNoventiq(c *caller) (Provider, error) { return &noventiq{c}, nil }

// Login trades user name and password for a token. The refresh_token that comes
// along is not kept, since no endpoint takes it, nor is date used, whose time zone
// is not documented.
func (n *noventiq) Login(ctx context.Context, _ *Answer) (Token, error) {
	a, err := n.post(ctx, request{path: "/v1/login_check", body: map[string]string{
		"username": n.Values["username"],
		"password": n.Secrets["password"].Reveal(),
	}})
	if err != nil {
		return Token{}, err
	}
	if e := noventiqFailure(a); e != nil {
		return Token{}, e
	}
	token, err := a.token("token")
	if err != nil {
		return Token{}, err
	}
	return a.issue(token, noventiqLife)
}

// noventiqFailure reads the list of errors; nil means a success so far. The stock
// body of the library behind it, {"code":401,"message":…}, is left to its status.
func noventiqFailure(a *answer) *Error {
	o, err := a.object()
	if err == nil && a.status/100 != 5 && a.status != http.StatusTooManyRequests {
		for _, entry := range o.objects("errors") {
			code, _ := entry.number("error")
			if class, ok := noventiqErrors[code]; ok {
				return noventiqError(a, class, code, entry)
			}
		}
	}
	if a.ok() {
		return nil
	}
	return a.judge("the user name and password")
}

func noventiqError(a *answer, class Class, code int, entry object) *Error {
	said, _ := entry.text("message")
	words := quote(fmt.Sprintf("HTTP %d, error %d", a.status, code), a.mask.clean(said))
	if class == Refused {
		return a.fail(class, "refused the user name and password (%s): correct them", words)
	}
	return a.fail(class, "did not accept the request (%s): check username, password and url", words)
}
