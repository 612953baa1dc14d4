package sandbox

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// remembered is how long after its expiry a token still counts as expired instead
// of unknown.
const remembered = 24 * time.Hour

// defaultKey signs the JWTs of every look-alike that was given no key. It is no
// secret: its tokens open nothing.
const defaultKey = "tokend sandbox: a key for tests, known to everyone"

// state is what an API remembers between calls. It is guarded by the server's lock.
type state struct {
	now     time.Time // when this call is answered, by the server's clock
	grants  map[[sha256.Size]byte]*grant
	windows map[string][]time.Time // calls by method, for rate limits
	logins  int                    // logins granted since New
	// accounts is what is known of people beside their tokens, by name.
	accounts map[string]*account
}

// account is what an API that locks people out, or sends them codes, keeps of one.
type account struct {
	strikes int       // wrong answers since the last success or lockout
	locked  time.Time // until when nothing is accepted
	codes   int       // sent since New
	code    string    // the last of them, empty once it was used
}

// grant is a token that was given out.
type grant struct {
	owner   string // whose; never a secret
	scope   []string
	issued  time.Time
	expires time.Time
	spent   bool // on a blacklist
}

func newState() state {
	return state{
		grants:   map[[sha256.Size]byte]*grant{},
		windows:  map[string][]time.Time{},
		accounts: map[string]*account{},
	}
}

// remember keeps the hash of a token, and forgets those that are long dead.
func (s *state) remember(token string, g grant) {
	for key, old := range s.grants {
		if s.now.Sub(old.expires) > remembered {
			delete(s.grants, key)
		}
	}
	s.grants[sha256.Sum256([]byte(token))] = &g
}

// lookup finds a token that was given out and not revoked; nil if there is none.
func (s *state) lookup(token string) *grant { return s.grants[sha256.Sum256([]byte(token))] }

// forget ends one token.
func (s *state) forget(token string) { delete(s.grants, sha256.Sum256([]byte(token))) }

// account is what is kept of a person; never nil.
func (s *state) account(name string) *account {
	if s.accounts[name] == nil {
		s.accounts[name] = &account{}
	}
	return s.accounts[name]
}

// revoke forgets the tokens of owner, or all of them if it is empty.
func (s *state) revoke(owner string) {
	for key, g := range s.grants {
		if owner == "" || g.owner == owner {
			delete(s.grants, key)
		}
	}
}

// expired says whether the token's time is up; at its expiry it is.
func (s *state) expired(g *grant) bool { return !s.now.Before(g.expires) }

// window is when the calls of method came within the last minute. A call leaves
// the window a minute after it came.
func (s *state) window(method string) []time.Time {
	calls := s.windows[method]
	for len(calls) > 0 && s.now.Sub(calls[0]) >= time.Minute {
		calls = calls[1:]
	}
	s.windows[method] = calls
	return calls
}

// reopens is when the window of method loses its oldest call, which is when a full
// one takes a call again.
func (s *state) reopens(method string) time.Time {
	if calls := s.window(method); len(calls) > 0 {
		return calls[0].Add(time.Minute)
	}
	return s.now
}

// admit counts a call of method, unless limit were already made in this sliding
// minute. A negative limit is none; calls are counted all the same.
func (s *state) admit(method string, limit int) bool {
	calls := s.window(method)
	if limit >= 0 && len(calls) >= limit {
		return false
	}
	s.windows[method] = append(calls, s.now)
	return true
}

// signingKey is the key, or the built-in one if there is none.
func signingKey(key []byte) []byte {
	if len(key) == 0 {
		return []byte(defaultKey)
	}
	return key
}

// signJWT is the claims as an HS256 JWT.
func signJWT(key []byte, claims jwt.Claims) string {
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, claims).SignedString(signingKey(key))
	if err != nil {
		panic(fmt.Errorf("signing a token of the sandbox: %w", err)) // our own claims: a bug
	}
	return token
}

// randomText is n random characters out of a-z and 2-7.
func randomText(n int) string {
	var text strings.Builder
	for text.Len() < n {
		text.WriteString(strings.ToLower(rand.Text()))
	}
	return text.String()[:n]
}

// randomHex is n random hexadecimal digits.
func randomHex(n int) string {
	bytes := make([]byte, (n+1)/2)
	rand.Read(bytes) // never fails
	return hex.EncodeToString(bytes)[:n]
}

// fingerprint names an owner without keeping the secret that it is known by.
func fingerprint(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}
