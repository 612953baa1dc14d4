package providers

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// simplejwtKind is a Django server with djangorestframework-simplejwt
// (https://django-rest-framework-simplejwt.readthedocs.io), such as the exchanger of
// mikroservis.one. Its access tokens may live for a minute only. The texts of its
// errors are translated: what tells them apart is the status, and the shape.
var simplejwtKind = Kind{
	Name: "simplejwt",
	Help: "Django REST framework with SimpleJWT",
	Keys: []Key{
		{Name: "email", Help: "the account's e-mail address", Identity: true, Group: "who"},
		{Name: "username", Help: "the account's user name", Identity: true, Group: "who"},
		{Name: "username_field", Help: "the JSON field that carries it; by default called like the key that is used"},
		{Name: "password", Help: "the account's password", Secret: true, Required: true},
	},
	Headers: []Header{{Name: "Authorization", Format: "Bearer {token}"}},
	RenewAt: 0.6,
	Logins:  12,
}

// simplejwtLife is for access tokens: exp alone decides, and a year bounds nonsense.
// What has no exp gets ACCESS_TOKEN_LIFETIME's default; exp minus iat is no lifetime,
// since before 5.5.1 a refreshed token carries the iat of its refresh token.
var simplejwtLife = life{assumed: 5 * time.Minute, longest: 365 * 24 * time.Hour}

// simplejwtRefreshLife is REFRESH_TOKEN_LIFETIME's default, for refresh tokens
// without an exp.
const simplejwtRefreshLife = 24 * time.Hour

type simplejwt struct {
	*caller
	key   string // email or username
	field string // of the JSON that carries its value
}

func newSimpleJWT(c *caller) (Provider, error) {
	s := &simplejwt{caller: c, key: "email"}
	if c.Values["email"] == "" {
		s.key = "username"
	}
	s.field = cmp.Or(c.Values["username_field"], s.key)
	if s.field == "password" {
		return nil, &KeyError{"username_field", errors.New("password is the field of the password")}
	}
	return s, nil
}

// Login trades the account's name and password for a pair of tokens. The slash at
// the end is part of the path: without it Django redirects.
func (s *simplejwt) Login(ctx context.Context, _ *Answer) (Token, error) {
	a, err := s.post(ctx, request{path: "/token/", body: map[string]string{
		s.field:    s.Values[s.key],
		"password": s.Secrets["password"].Reveal(),
	}})
	if err != nil {
		return Token{}, err
	}
	if !a.ok() {
		return Token{}, s.failure(a)
	}
	return s.pair(a)
}

// Refresh trades the refresh token for an access token. The reply has a refresh
// token of its own only if the server rotates them.
func (s *simplejwt) Refresh(ctx context.Context, prev Token) (Token, error) {
	a, err := s.post(ctx, request{
		step: refresh, path: "/token/refresh/", hide: []Secret{prev.Refresh},
		body: map[string]string{"refresh": prev.Refresh.Reveal()},
	})
	if err != nil {
		return Token{}, err
	}
	if !a.ok() {
		return Token{}, s.failure(a)
	}
	return s.pair(a)
}

// pair reads the tokens of a success. A refresh token that is missing, is no string or
// is longer than any token is none: the access token is good without it.
func (s *simplejwt) pair(a *answer) (Token, error) {
	access, err := a.token("access")
	if err != nil {
		return Token{}, err
	}
	token, err := a.issue(access, simplejwtLife)
	if err != nil {
		return Token{}, err
	}
	if o, err := a.object(); err == nil {
		if text, _ := o.text("refresh"); len(text) <= maxToken {
			token.Refresh = NewSecret(text)
		}
	}
	if !token.Refresh.Empty() {
		token.RefreshExpires = a.expiry(token.Refresh, simplejwtRefreshLife)
	}
	return token, nil
}

func (s *simplejwt) failure(a *answer) *Error {
	class := a.class()
	e := a.judgeAs(class, "the "+s.key+" and password")
	switch {
	case a.status/100 == 3:
		e = a.fail(class, "redirects to %s (%s): no redirect is followed with secrets; url may want https, or another path before %s",
			a.target(), a.words(), s.path(a.step))
	case a.step == refresh && a.status == http.StatusNotFound && a.html():
		e = a.fail(NoRefresh, "has no %s (%s): every renewal will be a login", s.path(refresh), a.words())
	case a.step == login && class == Refused:
		e = a.fail(class, "refused the %s and password (%s): correct them, or have the account activated", s.key, a.words())
	case a.status == http.StatusBadRequest && a.complaints() != "":
		if a.step == refresh {
			e = a.fail(class, "refused the refresh token (%s)", quote(statusText(a.status), a.complaints()))
		} else {
			e = a.fail(class, "did not accept the request (%s): check %s, username_field and password", quote(statusText(a.status), a.complaints()), s.key)
		}
	}
	if class == Throttled {
		e.RetryAfter = cmp.Or(e.RetryAfter, time.Minute)
	}
	return e
}

func (s *simplejwt) path(step step) string {
	if step == refresh {
		return "/token/refresh/"
	}
	return "/token/"
}

// complaints is a map of fields to what is wrong with them, as Django REST framework
// answers a request that it cannot use, masked and cut; "" if the body is none.
func (a *answer) complaints() string {
	o, err := a.object()
	if err != nil {
		return ""
	}
	var said []string
	for _, field := range slices.Sorted(maps.Keys(o)) {
		var texts []string
		if json.Unmarshal(o[field], &texts) == nil && len(texts) > 0 {
			said = append(said, fmt.Sprintf("%s: %s", field, strings.Join(texts, " ")))
		}
	}
	return a.mask.clean(strings.Join(said, "; "))
}
