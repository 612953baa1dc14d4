package sandbox

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"strings"
	"time"
)

// SimpleJWT is the exchanger's API: Django REST framework with SimpleJWT. The zero
// value answers as the exchanger's page shows, and beyond it as SimpleJWT 5.3.1 does
// with the lives of the page's tokens:
//
//	POST /token/            {"email","password"} → {"refresh","access"}
//	POST /token/refresh/    {"refresh"} → {"access"}, and "refresh" if it rotates
//	POST /token/verify/     {"token"} → {}
//	POST /token/blacklist/  {"refresh"} → {}
//	GET  /users/me/         Authorization: Bearer ACCESS → the user (undocumented)
type SimpleJWT struct {
	Users map[string]SimpleJWTUser // by name; nil: user@example.com with the password 1234
	Field string                   // of the name in JSON; empty: email

	AccessTTL  time.Duration // whole seconds; 0: 60 s, as in the sample
	RefreshTTL time.Duration // whole seconds; 0: 24 hours, as in the sample
	Key        []byte        // signs the JWTs (HS256); nil: a built-in one
	Rotate     bool          // a refresh gives a new refresh token too
	Blacklist  bool          // a rotated refresh token is dead, and /token/blacklist/ has an effect
	NoRefresh  bool          // there is nothing below /token/: 404, as a page
	// Release is the version of SimpleJWT; empty: 5.3.1. 5.4.0 and later refresh
	// only for active users (a deleted one is a 500, up to 5.5.1), 5.5.0 and later
	// tell expired tokens from invalid ones, 5.5.1 and later make user_id a string
	// and give refreshed access tokens an iat of their own instead of the refresh
	// token's. "next" is the main branch of 2026-05: 401 for a deleted user.
	Release string

	Locale      string // of the texts: en, ru or ru-ru; empty: ru-ru, which the page shows
	Limit       int    // calls of /token/… per client and sliding minute; 0: any number
	BindAddress bool   // tokens work only from the address of their login (undocumented)
}

// SimpleJWTUser is a person known to a SimpleJWT.
type SimpleJWTUser struct {
	Password string
	ID       int // 0: 206661, as in the sample
	Roles    []string
	Inactive bool // disabled by an administrator
}

func (SimpleJWT) login() string { return "/token/" }

func (j SimpleJWT) act(s *state, r *http.Request, body []byte) answer {
	return django(j.route(s, r, body))
}

// route goes in the framework's order: URL, format, authentication, throttle, method.
func (j SimpleJWT) route(s *state, r *http.Request, body []byte) answer {
	view := j.view(r.URL.Path)
	switch {
	case view == nil && j.view(r.URL.Path+"/") != nil:
		return appendSlash(r.URL)
	case view == nil:
		return djangoPage(http.StatusNotFound)
	case !drfAccepts(r.Header.Get("Accept")):
		return drfDetail(http.StatusNotAcceptable, j.text(drfAccept))
	}
	return view(s, r, body)
}

func (j SimpleJWT) view(path string) func(*state, *http.Request, []byte) answer {
	switch {
	case path == "/token/":
		return j.post(j.obtain, j.field(), "password")
	case path == "/users/me/":
		return j.me
	case j.NoRefresh:
		return nil
	case path == "/token/refresh/":
		return j.post(j.refresh, "refresh")
	case path == "/token/verify/":
		return j.post(j.verify, "token")
	case path == "/token/blacklist/":
		return j.post(j.blacklist, "refresh")
	}
	return nil
}

// post is a view of tokens: anybody may call it, with POST and these fields.
func (j SimpleJWT) post(
	serve func(*state, *http.Request, []string) answer, fields ...string,
) func(*state, *http.Request, []byte) answer {
	return func(s *state, r *http.Request, body []byte) answer {
		reply := j.throttled(s, "anon "+clientAddress(r))
		if reply.status == 0 && r.Method != http.MethodPost {
			reply = drfDetail(http.StatusMethodNotAllowed, j.text(drfMethod, "{method}", r.Method))
		}
		if reply.status == 0 {
			values, refused := drfFields(j.locale(), r, body, fields...)
			if refused != nil {
				reply = *refused
			} else {
				reply = serve(s, r, values)
			}
		}
		reply.header.Set("Allow", "POST, OPTIONS")
		return reply
	}
}

// throttled counts a call; its answer is empty unless there were too many.
func (j SimpleJWT) throttled(s *state, client string) answer {
	if j.Limit <= 0 || s.admit(client, j.Limit) {
		return answer{}
	}
	wait, unit := int(math.Ceil(s.reopens(client).Sub(s.now).Seconds())), "seconds"
	if wait == 1 {
		unit = "second"
	}
	reply := drfDetail(http.StatusTooManyRequests, fmt.Sprintf("%s Expected available in %d %s.", j.text(drfThrottled), wait, unit))
	reply.header.Set("Retry-After", fmt.Sprint(wait))
	return reply
}

// obtain is the login.
func (j SimpleJWT) obtain(s *state, r *http.Request, values []string) answer {
	name := values[0]
	user, known := j.user(name)
	if !known || user.Inactive || user.Password != values[1] {
		return j.unauthorized(drfDetail(http.StatusUnauthorized, j.text(simpleNoAccount)))
	}
	claims := simpleClaims{
		Issued: s.now.Unix(), User: user.ID, Address: clientAddress(r),
		Roles: append([]string{}, user.Roles...), // an empty list, not null
	}
	if j.since("5.5.1") {
		claims.User = fmt.Sprint(user.ID)
	}
	s.logins++
	return jsonAnswer(http.StatusOK, struct {
		Refresh string `json:"refresh"`
		Access  string `json:"access"`
	}{j.issue(s, name, simpleRefresh, claims), j.issue(s, name, simpleAccess, claims)})
}

// refresh makes an access token with the claims of the refresh token.
func (j SimpleJWT) refresh(s *state, r *http.Request, values []string) answer {
	claims, g, problem := j.check(s, r, values[0], simpleRefresh)
	if problem != "" {
		return j.unauthorized(drfCoded(j.text(problem), "token_not_valid"))
	}
	user, known := j.user(g.owner)
	switch {
	case !j.since("5.4.0"): // nobody looks
	case !known && !j.since("next"):
		return djangoPage(http.StatusInternalServerError) // DoesNotExist, which nobody catches
	case !known || user.Inactive:
		return j.unauthorized(drfDetail(http.StatusUnauthorized, j.text(simpleNoOwner)))
	}
	var reply struct {
		Access  string `json:"access"`
		Refresh string `json:"refresh,omitempty"`
	}
	fresh := claims
	fresh.Issued = s.now.Unix()
	if j.since("5.5.1") {
		claims = fresh
	}
	reply.Access = j.issue(s, g.owner, simpleAccess, claims)
	if j.Rotate {
		g.spent = g.spent || j.Blacklist
		reply.Refresh = j.issue(s, g.owner, simpleRefresh, fresh)
	}
	return jsonAnswer(http.StatusOK, reply)
}

// verify takes access and refresh tokens alike.
func (j SimpleJWT) verify(s *state, r *http.Request, values []string) answer {
	_, _, problem := j.check(s, r, values[0], "")
	switch problem {
	case "":
		return jsonAnswer(http.StatusOK, struct{}{})
	case simpleBlacklisted:
		if j.since("5.5.1") {
			problem = j.text(problem)
		}
		return jsonAnswer(http.StatusBadRequest, drfErrors{{"non_field_errors", problem}})
	}
	return j.unauthorized(drfCoded(j.text(problem), "token_not_valid"))
}

func (j SimpleJWT) blacklist(s *state, r *http.Request, values []string) answer {
	_, g, problem := j.check(s, r, values[0], simpleRefresh)
	if problem != "" {
		return j.unauthorized(drfCoded(j.text(problem), "token_not_valid"))
	}
	g.spent = g.spent || j.Blacklist
	return jsonAnswer(http.StatusOK, struct{}{})
}

// me is the protected resource. The scheme is matched to the letter, and another
// one is no credential at all.
func (j SimpleJWT) me(s *state, r *http.Request, _ []byte) answer {
	reply := j.whoever(s, r)
	switch {
	case reply.status == http.StatusUnauthorized:
		reply = j.unauthorized(reply)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		reply = drfDetail(http.StatusMethodNotAllowed, j.text(drfMethod, "{method}", r.Method))
	}
	reply.header.Set("Allow", "GET, HEAD, OPTIONS")
	return reply
}

func (j SimpleJWT) whoever(s *state, r *http.Request) answer {
	words := strings.Fields(r.Header.Get("Authorization"))
	switch {
	case len(words) == 0 || words[0] != "Bearer":
		return drfDetail(http.StatusUnauthorized, j.text(drfNoToken))
	case len(words) != 2:
		return drfCoded(j.text(simpleBadHeader), "bad_authorization_header")
	}
	_, g, problem := j.check(s, r, words[1], simpleAccess)
	if problem != "" {
		return j.notValid(problem)
	}
	user, known := j.user(g.owner)
	switch {
	case !known:
		return drfCoded(j.text(simpleNoUser), "user_not_found")
	case user.Inactive:
		return drfCoded(j.text(simpleInactive), "user_inactive")
	}
	return jsonAnswer(http.StatusOK, map[string]any{"id": user.ID, j.field(): g.owner})
}

// notValid is the 401 of a protected resource, with what each class of tokens has
// against this one.
func (j SimpleJWT) notValid(problem string) answer {
	type message struct {
		Class   string `json:"token_class"`
		Type    string `json:"token_type"`
		Message string `json:"message"`
	}
	return jsonAnswer(http.StatusUnauthorized, struct {
		Detail   string    `json:"detail"`
		Code     string    `json:"code"`
		Messages []message `json:"messages"`
	}{j.text(simpleNotValid), "token_not_valid", []message{{"AccessToken", simpleAccess, j.text(problem)}}})
}

func (j SimpleJWT) failure(status int) answer {
	switch status {
	case http.StatusBadRequest:
		return django(drfDetail(status, j.text(drfMalformed)))
	case http.StatusUnauthorized:
		return django(j.unauthorized(drfDetail(status, j.text(simpleNoAccount))))
	case http.StatusForbidden:
		return django(drfDetail(status, j.text(drfForbidden)))
	case http.StatusTooManyRequests:
		return django(drfDetail(status, j.text(drfThrottled)))
	case http.StatusNotFound, http.StatusInternalServerError:
		return django(djangoPage(status))
	}
	return gatewayPage(status) // not Django's doing
}

// unauthorized adds the header that makes a 401 of what would be a 403.
func (SimpleJWT) unauthorized(reply answer) answer {
	reply.header.Set("WWW-Authenticate", `Bearer realm="api"`)
	return reply
}

// drfCoded is an error of SimpleJWT's own, which has a code beside its text.
func drfCoded(detail, code string) answer {
	return jsonAnswer(http.StatusUnauthorized, struct {
		Detail string `json:"detail"`
		Code   string `json:"code"`
	}{detail, code})
}

func (j SimpleJWT) user(name string) (SimpleJWTUser, bool) {
	users := j.Users
	if users == nil {
		users = map[string]SimpleJWTUser{"user@example.com": {Password: "1234"}}
	}
	user, known := users[name]
	user.ID = cmp.Or(user.ID, 206661)
	return user, known
}

// since says whether this release or a later one is imitated. Releases in use sort
// as texts do.
func (j SimpleJWT) since(release string) bool { return cmp.Or(j.Release, "5.3.1") >= release }

func (j SimpleJWT) field() string { return cmp.Or(j.Field, "email") }

func (j SimpleJWT) locale() string { return cmp.Or(j.Locale, "ru-ru") }

func (j SimpleJWT) text(text string, pairs ...string) string {
	return drfText(j.locale(), text, pairs...)
}
