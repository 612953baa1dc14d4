package sandbox

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Noventiq is the Authentication API of Noventiq (formerly Softline) Checkout and
// Payments, with one resource that needs its token. The zero value behaves as the
// vendor's portal says:
//
//	POST /v1/login_check  {"username","password"} → {"token","refresh_token"}
//	GET  /v1/order/{id}   AuthorizationJWT: Bearer TOKEN → the order
//
// A token lives for 24 hours, and a new one leaves the earlier ones valid.
type Noventiq struct {
	Users     map[string]string // passwords by name; nil: user with 1234, as in the documents
	TTL       time.Duration     // of tokens; 0: 24 hours
	JWT       bool              // tokens are JWTs, with exp, instead of 32 characters
	Key       []byte            // signs the JWTs (HS256); nil: a built-in one
	Date      bool              // answers have the member date, which the table has and the sample lacks
	TextCodes bool              // codes of errors as strings
	Stock     bool              // 401 as LexikJWTAuthenticationBundle words it by itself
	// AnyCharset lets parameters follow application/json in the content type. The
	// documents want it equal to application/json.
	AnyCharset bool
}

// The errors of the portal's pages, the login's first. Codes of one list can come
// together; a later list is only looked at when the earlier has nothing to say.
const (
	noventiqBadJSON   = 110
	noventiqBadType   = 111
	noventiqBadFields = 1005
	noventiqRefused   = 1006
	noventiqBadToken  = 1007
	noventiqNoToken   = 1008
	noventiqExpired   = 1009
)

var noventiqMessages = map[int]string{
	noventiqBadJSON:   "JSON is not valid.",
	noventiqBadType:   "Invalid data format (Content-type).",
	noventiqBadFields: "Invalid authorization data.",
	noventiqRefused:   "Bad credentials.",
	noventiqBadToken:  "Your token is invalid.",
	noventiqNoToken:   "Missing token.",
	noventiqExpired:   "Your token is expired.",
}

// What the bundle's own failure responses say, for the same four refusals.
var lexikMessages = map[int]string{
	noventiqRefused:  "Invalid credentials.",
	noventiqBadToken: "Invalid JWT Token",
	noventiqNoToken:  "JWT Token not found",
	noventiqExpired:  "Expired JWT Token",
}

const noventiqLogin = "/v1/login_check"

func (Noventiq) login() string { return noventiqLogin }

// act follows Symfony's order: the route and its methods come before any token.
func (n Noventiq) act(s *state, r *http.Request, body []byte) answer {
	order, found := noventiqOrder(r.URL.Path)
	switch {
	case r.URL.Path == noventiqLogin && r.Method != http.MethodPost:
		return methodNotAllowed("POST")
	case r.URL.Path == noventiqLogin:
		return symfony(n.check(s, r, body))
	case !found:
		return symfonyPage(http.StatusNotFound)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		return methodNotAllowed("GET")
	}
	if code := n.unauthorized(s, r); code != 0 {
		return symfony(n.refuse(code))
	}
	return symfony(jsonAnswer(http.StatusOK, noventiqOrderOf(order)))
}

func noventiqOrder(path string) (id json.Number, found bool) {
	digits, found := strings.CutPrefix(path, "/v1/order/")
	if !found || digits == "" || strings.Trim(digits, "0123456789") != "" || digits[0] == '0' {
		return "", false
	}
	return json.Number(digits), true
}

// check is the login.
func (n Noventiq) check(s *state, r *http.Request, body []byte) answer {
	name, password, faults := n.read(r.Header["Content-Type"], body)
	if len(faults) > 0 {
		return n.errors(http.StatusBadRequest, faults...)
	}
	users := n.Users
	if users == nil {
		users = map[string]string{"user": "1234"}
	}
	if want, known := users[name]; !known || want != password {
		return n.refuse(noventiqRefused)
	}
	reply := struct {
		Date    string `json:"date,omitempty"`
		Token   string `json:"token"`
		Refresh string `json:"refresh_token"`
	}{Token: n.issue(s, name), Refresh: randomHex(19)}
	if n.Date {
		// The format that the same API gives for the dates of orders.
		reply.Date = s.now.UTC().Format("2006-01-02T15:04:05-07:00")
	}
	return jsonAnswer(http.StatusOK, reply)
}

// read finds all that is wrong with a login call, in the order of the document's
// list. That a missing name and a missing password make one entry is an assumption.
func (n Noventiq) read(contentType []string, body []byte) (name, password string, faults []int) {
	var fields map[string]any
	bad := json.Unmarshal(body, &fields) != nil || fields == nil
	if bad {
		faults = append(faults, noventiqBadJSON)
	}
	if !n.accepts(contentType) {
		faults = append(faults, noventiqBadType)
	}
	name, _ = fields["username"].(string)
	password, _ = fields["password"].(string)
	if !bad && (name == "" || password == "") {
		faults = append(faults, noventiqBadFields)
	}
	return name, password, faults
}

func (n Noventiq) accepts(contentType []string) bool {
	if len(contentType) != 1 {
		return false
	}
	value := contentType[0]
	if n.AnyCharset {
		value, _, _ = strings.Cut(value, ";")
	}
	return value == "application/json"
}

func (n Noventiq) issue(s *state, name string) string {
	g := grant{owner: name, issued: s.now, expires: s.now.Add(cmp.Or(n.TTL, 24*time.Hour))}
	token := randomText(32)
	if n.JWT {
		g.issued, g.expires = g.issued.Truncate(time.Second), g.expires.Truncate(time.Second)
		// The claims that the bundle makes by default, and an id, because two logins
		// within a second get two tokens here.
		token = signJWT(n.Key, jwt.MapClaims{
			"iat": g.issued.Unix(), "exp": g.expires.Unix(), "jti": randomHex(32),
			"roles": []string{"ROLE_USER"}, "username": name,
		})
	}
	s.remember(token, g)
	s.logins++
	return token
}

// unauthorized is the error of a call to a protected resource, or 0. The header is
// read as the bundle reads it: two words, of which the first is Bearer in any case;
// everything else counts as no token.
func (n Noventiq) unauthorized(s *state, r *http.Request) int {
	words := strings.Split(r.Header.Get("AuthorizationJWT"), " ")
	if len(words) != 2 || !strings.EqualFold(words[0], "Bearer") {
		return noventiqNoToken
	}
	g := s.lookup(words[1])
	switch {
	case g == nil:
		return noventiqBadToken
	case s.expired(g):
		return noventiqExpired
	}
	return 0
}

// refuse is a 401.
func (n Noventiq) refuse(code int) answer {
	if !n.Stock {
		return n.errors(http.StatusUnauthorized, code)
	}
	reply := jsonAnswer(http.StatusUnauthorized, struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{http.StatusUnauthorized, lexikMessages[code]})
	reply.header.Set("WWW-Authenticate", "Bearer")
	return reply
}

// errors is the documented list.
func (n Noventiq) errors(status int, codes ...int) answer {
	type entry struct {
		Error   any    `json:"error"`
		Message string `json:"message"`
	}
	var list struct {
		Errors []entry `json:"errors"`
	}
	for _, code := range codes {
		e := entry{Error: code, Message: noventiqMessages[code]}
		if n.TextCodes {
			e.Error = fmt.Sprint(code)
		}
		list.Errors = append(list.Errors, e)
	}
	return jsonAnswer(status, list)
}

func (n Noventiq) failure(status int) answer {
	switch status {
	case http.StatusBadRequest:
		return symfony(n.errors(status, noventiqBadFields))
	case http.StatusUnauthorized:
		return symfony(n.refuse(noventiqRefused))
	}
	return symfonyPage(status)
}

// noventiqOrderOf has the members that the page about orders marks as required and
// that need no product or payment to make sense.
func noventiqOrderOf(id json.Number) any {
	return struct {
		ID       json.Number `json:"order_id"`
		Name     string      `json:"order_name"`
		Status   string      `json:"status"`
		External string      `json:"external_id"`
		Created  string      `json:"create_date"`
	}{id, "SL-" + id.String(), "not paid", "", "2022-01-01T00:00:00+00:00"}
}

// symfony adds the header that the framework gives every response.
func symfony(reply answer) answer {
	reply.header.Set("Cache-Control", "no-cache, private")
	return reply
}

// symfonyPage is the error page of a framework in production: HTML whatever was
// asked for, with the title and headings of Symfony's own.
func symfonyPage(status int) answer {
	text := http.StatusText(status)
	page := fmt.Sprintf("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n    <meta charset=\"UTF-8\" />\n"+
		"    <title>An Error Occurred: %s</title>\n</head>\n<body>\n<div class=\"container\">\n"+
		"    <h1>Oops! An Error Occurred</h1>\n    <h2>The server returned a \"%d %s\".</h2>\n</div>\n</body>\n</html>\n",
		text, status, text)
	return symfony(answerOf(status, "text/html; charset=UTF-8", []byte(page)))
}

func methodNotAllowed(allow string) answer {
	reply := symfonyPage(http.StatusMethodNotAllowed)
	reply.header.Set("Allow", allow)
	return reply
}
