package sandbox

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Etna is the trading API of ETNA Trader, which Autoshares runs under its own name.
// The zero value behaves as the vendors' pages say, with the one-hour tokens of the
// newer ones:
//
//	POST /token                      Et-App-Key, Username, Password → {"State","Token"}
//	GET  /v1.0/users/{id|@me}/info   Authorization, Et-App-Key → the user
//	POST /logout                     Authorization, Et-App-Key → the token is dead
//
// Everything is in headers; a body is ignored. A user with more than a password gets
// 202 and a ticket: the next call repeats the three headers and adds the ticket as
// Authorization: Bearer TICKET and the answer as VerificationCode or PinCode.
type Etna struct {
	AppKeys []string            // nil: yourEttAppKey, as in the documents
	Users   map[string]EtnaUser // by name; nil: testusername with testpassword, likewise

	TTL       time.Duration // of tokens; 0: one hour; older pages say 24
	Idle      bool          // each use starts the life of a token anew, as the page about SDKs has it
	TicketTTL time.Duration // 0: 5 minutes (undocumented)

	Strict      bool // a wrong code or pin ends the chain with 401, instead of 202 and another ticket
	SecurityPin bool // the step of the pin is spelt SecurityPin, not SecutityPin
	// ExpiredExpecting has State Expecting in the answer about an expired password,
	// which is BaseAuthentication in the documents.
	ExpiredExpecting bool

	Limit   int // calls of /token per user and sliding minute; 0: 10; negative: none
	Lockout int // wrong passwords, codes and pins in a row that lock an account; 0: 3; negative: any number (undocumented)
}

// EtnaUser is a person known to an Etna. With nothing but a password, that is all
// a login needs.
type EtnaUser struct {
	Password string
	ID       int  // 0: 644, as in the documents
	Expired  bool // the password has to be changed first

	TwoFactor bool   // a code is sent and asked for
	Code      string // the code that is sent; empty: six random digits
	TOTP      string // base32 secret: the code is made by an app (RFC 6238), and none is sent

	Pin   string // asked for, after the code; empty: it is not
	NoPin bool   // it would be asked for, but was never set
}

const (
	etnaPassword = "BaseAuthentication"
	etnaCode     = "VerificationCode"
	etnaPin      = "SecutityPin" // sic

	etnaAskCode  = "Expecting confirmation code"
	etnaWrongPin = "Invalid pin" // also how the pin is asked for
	etnaTicket   = "Corrupted ticket"
	// Not in the documents; worded after their neighbours.
	etnaWrongCode = "Invalid confirmation code"
	etnaLocked    = "Account is locked"
)

// etnaLockTime is how long a locked account stays so. It is an assumption.
const etnaLockTime = 30 * time.Minute

func (Etna) login() string { return "/token" }

func (e Etna) act(s *state, r *http.Request, _ []byte) answer {
	user, isInfo := etnaUserPath(r.URL.Path)
	switch {
	case !isInfo && r.URL.Path != "/token" && r.URL.Path != "/logout":
		return etnaJSON(http.StatusNotFound, etnaMessage{fmt.Sprintf(
			"No HTTP resource was found that matches the request URI 'http://%s%s'.", r.Host, r.URL.RequestURI())})
	case isInfo && r.Method != http.MethodGet:
		return etnaMethod(r.Method, http.MethodGet)
	case !isInfo && r.Method != http.MethodPost:
		return etnaMethod(r.Method, http.MethodPost)
	case !slices.Contains(e.appKeys(), r.Header.Get("Et-App-Key")):
		return etnaJSON(http.StatusUnauthorized, struct {
			Error string `json:"error"`
		}{"Application key is not defined or does not exist"})
	case r.URL.Path == "/token":
		return e.token(s, r)
	case r.URL.Path == "/logout":
		return e.logout(s, r)
	}
	return e.info(s, r, user)
}

func etnaUserPath(path string) (user string, found bool) {
	rest, found := strings.CutPrefix(path, "/v1.0/users/")
	user, isInfo := strings.CutSuffix(rest, "/info")
	return user, found && isInfo && user != "" && !strings.Contains(user, "/")
}

// token is the login. Its calls are counted by user, since the limit is said to be
// one of users and not of addresses. The headers about it are said to come when it
// is near or exceeded; here they always do.
func (e Etna) token(s *state, r *http.Request) answer {
	window := "token " + r.Header.Get("Username")
	admitted := s.admit(window, e.limit())
	reply := e.throttled(s.reopens(window).Sub(s.now))
	if admitted {
		reply = e.authenticate(s, r)
	}
	if e.limit() >= 0 {
		reply.header.Set("X-RateLimit-Limit", strconv.Itoa(e.limit()))
		reply.header.Set("X-RateLimit-Remaining", strconv.Itoa(e.limit()-len(s.window(window))))
		reply.header.Set("X-RateLimit-Reset", strconv.FormatInt(ceilUnix(s.reopens(window)), 10))
	}
	return reply
}

// ceilUnix is the first whole second at or after t.
func ceilUnix(t time.Time) int64 { return t.Add(time.Second - 1).Unix() }

func (e Etna) throttled(wait time.Duration) answer {
	// The body is not documented. This is what Azure's API Management says, whose
	// keys the vendor's clearing API takes.
	seconds := int(math.Ceil(wait.Seconds()))
	reply := etnaJSON(http.StatusTooManyRequests, struct {
		Status  int    `json:"statusCode"`
		Message string `json:"message"`
	}{http.StatusTooManyRequests, fmt.Sprintf("Rate limit is exceeded. Try again in %d seconds.", seconds)})
	reply.header.Set("Retry-After", strconv.Itoa(seconds))
	return reply
}

// logout ends the token at once. Its answer is not documented, but for having no
// body.
func (e Etna) logout(s *state, r *http.Request) answer {
	if e.authorized(s, r) == nil {
		return etnaDenied()
	}
	s.forget(bearerToken(r))
	return answer{status: http.StatusOK, header: http.Header{}}
}

// info is the protected resource, and somebody else's is like no token at all.
func (e Etna) info(s *state, r *http.Request, asked string) answer {
	g := e.authorized(s, r)
	if g == nil {
		return etnaDenied()
	}
	user, known := e.user(g.owner)
	if !known || asked != "@me" && asked != strconv.Itoa(user.ID) {
		return etnaDenied()
	}
	return etnaJSON(http.StatusOK, struct {
		ID         int    `json:"UserId"`
		First      string `json:"FirstName"`
		Middle     string `json:"MiddleName"`
		Last       string `json:"LastName"`
		Login      string `json:"Login"`
		Email      string `json:"Email"`
		Added      string `json:"AddedDate"`
		Salutation string `json:"Salutation"`
		Suffix     string `json:"Suffix"`
	}{
		user.ID, "Robert", "", "Zakiev", g.owner, "someEmail@etnatrader.com",
		"2019-01-14T12:27:37.6205663Z", "NoSalutation", "NoSuffix",
	})
}

// authorized is the token of a call; nil if it opens nothing.
func (e Etna) authorized(s *state, r *http.Request) *grant {
	g := s.lookup(bearerToken(r))
	if g == nil || len(g.scope) > 0 || s.expired(g) { // a ticket has a scope
		return nil
	}
	if e.Idle {
		g.expires = s.now.Add(e.ttl())
	}
	return g
}

// bearerToken is the token after the scheme, in any case; empty if there is none.
func bearerToken(r *http.Request) string {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

// etnaJSON is JSON as ASP.NET sends it.
func etnaJSON(status int, body any) answer {
	reply := jsonAnswer(status, body)
	reply.header.Set("Content-Type", "application/json; charset=utf-8")
	return reply
}

// etnaMessage is the framework's own error.
type etnaMessage struct {
	Message string
}

func etnaDenied() answer {
	return etnaJSON(http.StatusUnauthorized, etnaMessage{"Authorization has been denied for this request."})
}

func etnaMethod(method, allow string) answer {
	reply := etnaJSON(http.StatusMethodNotAllowed, etnaMessage{fmt.Sprintf("The requested resource does not support http method '%s'.", method)})
	reply.header.Set("Allow", allow)
	return reply
}

func (e Etna) failure(status int) answer {
	switch status {
	case http.StatusUnauthorized:
		return etnaFailed(etnaPassword, "Invalid credentials")
	case http.StatusTooManyRequests:
		return e.throttled(time.Minute)
	case http.StatusInternalServerError:
		return etnaJSON(status, struct {
			Message string `json:"message"`
		}{"An error occurred while processing your request"})
	}
	return gatewayPage(status) // of whatever stands in front
}

func (e Etna) appKeys() []string {
	if e.AppKeys == nil {
		return []string{"yourEttAppKey"}
	}
	return e.AppKeys
}

func (e Etna) user(name string) (EtnaUser, bool) {
	users := e.Users
	if users == nil {
		users = map[string]EtnaUser{"testusername": {Password: "testpassword"}}
	}
	user, known := users[name]
	user.ID = cmp.Or(user.ID, 644)
	return user, known
}

func (e Etna) limit() int { return cmp.Or(e.Limit, 10) }

func (e Etna) ttl() time.Duration { return cmp.Or(e.TTL, time.Hour) }
