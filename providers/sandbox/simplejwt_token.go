package sandbox

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// simpleClaims are those of the sample tokens, in their order.
type simpleClaims struct {
	Type    string   `json:"token_type"`
	Expires int64    `json:"exp"`
	Issued  int64    `json:"iat"`
	ID      string   `json:"jti"`
	User    any      `json:"user_id"` // a number, or since 5.5.1 a string
	Roles   []string `json:"roles"`
	Address string   `json:"ip_address"`
}

const (
	simpleAccess  = "access"
	simpleRefresh = "refresh"
)

// check finds what is wrong with a token; kind is empty if any will do. How the
// exchanger words a wrong address is not documented: like an invalid token here.
func (j SimpleJWT) check(s *state, r *http.Request, token, kind string) (claims simpleClaims, g *grant, problem string) {
	invalid, expired := simpleBadOrExpired, simpleBadOrExpired
	if j.since("5.5.0") {
		invalid, expired = simpleBad, simpleExpired
	}
	if g = s.lookup(token); g == nil {
		return claims, nil, invalid
	}
	claims = readClaims(token)
	switch {
	case s.expired(g):
		problem = expired
	case j.BindAddress && claims.Address != clientAddress(r):
		problem = invalid
	case g.spent && j.Blacklist && kind != simpleAccess:
		problem = simpleBlacklisted
	case kind != "" && claims.Type != kind:
		problem = simpleWrongType
	}
	return claims, g, problem
}

// issue makes a token of a kind, with an expiry and an id of its own.
func (j SimpleJWT) issue(s *state, owner, kind string, claims simpleClaims) string {
	ttl := cmp.Or(j.AccessTTL, time.Minute)
	if kind == simpleRefresh {
		ttl = cmp.Or(j.RefreshTTL, 24*time.Hour)
	}
	issued := s.now.Truncate(time.Second)
	g := grant{owner: owner, issued: issued, expires: issued.Add(ttl)}
	claims.Type, claims.Expires, claims.ID = kind, g.expires.Unix(), randomHex(32)
	text, err1 := json.Marshal(claims)
	// PyJWT's header, in its order.
	token := base64.RawURLEncoding.EncodeToString([]byte(`{"typ":"JWT","alg":"HS256"}`)) + "." + base64.RawURLEncoding.EncodeToString(text)
	signature, err2 := jwt.SigningMethodHS256.Sign(token, signingKey(j.Key))
	if err := cmp.Or(err1, err2); err != nil {
		panic(fmt.Errorf("signing a token of the sandbox: %w", err)) // our own claims: a bug
	}
	token += "." + base64.RawURLEncoding.EncodeToString(signature)
	s.remember(token, g)
	return token
}

// readClaims is what issue put into a token. Its signature needs no look: the whole
// token is known.
func readClaims(token string) (claims simpleClaims) {
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err == nil {
		err = json.Unmarshal(text, &claims)
	}
	if err != nil {
		panic(fmt.Errorf("reading a token of the sandbox: %w", err)) // our own token: a bug
	}
	return claims
}

// clientAddress is the caller's, without the port.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
