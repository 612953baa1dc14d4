package sandbox

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	simpleLogin = `{"email":"user@example.com","password":"1234"}`
	asJSON      = "Content-Type: application/json"

	// As on the exchanger's page, without its line breaks.
	simple400 = `{"email":["Обязательное поле."],"password":["Обязательное поле."]}`
	simple401 = `{"detail":"Не найдено активной учетной записи с указанными данными"}`

	simpleNoCredentials = `{"detail":"Учетные данные не были предоставлены."}`
	simpleInvalid       = `{"detail":"Токен недействителен или просрочен","code":"token_not_valid"}`
)

// simpleMessages is the 401 of a protected resource.
func simpleMessages(problem string) string {
	return `{"detail":"Данный токен недействителен для любого типа токена","code":"token_not_valid",` +
		`"messages":[{"token_class":"AccessToken","token_type":"access","message":"` + problem + `"}]}`
}

// tokenCall posts to a path of the tokens.
func tokenCall(path, body string) request { return request{"POST", path, body, []string{asJSON}} }

func obtain(t *testing.T, call func(request) response) (refresh, access string) {
	t.Helper()
	got := call(tokenCall("/token/", simpleLogin))
	refresh, access = field(t, got.body, "refresh"), field(t, got.body, "access")
	if want := `{"refresh":"` + refresh + `","access":"` + access + `"}`; got.status != 200 || got.body != want {
		t.Fatalf("login: %d %s", got.status, got.body)
	}
	return refresh, access
}

func renew(call func(request) response, refresh string) response {
	return call(tokenCall("/token/refresh/", `{"refresh":"`+refresh+`"}`))
}

func whoami(call func(request) response, header ...string) response {
	return call(request{"GET", "/users/me/", "", header})
}

// record calls the handler without a network, from an address.
func record(handler http.Handler, address string, call request) response {
	r := httptest.NewRequest(call.method, call.path, strings.NewReader(call.body))
	r.RemoteAddr = address
	for _, line := range call.header {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	return response{status: recorder.Code, header: recorder.Header(), body: recorder.Body.String()}
}

// payload is the text of a JWT's claims.
func payload(t *testing.T, token string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestSimpleJWTLoginErrors(t *testing.T) {
	detail := func(text string) string { return `{"detail":"` + text + `"}` }
	tests := []struct {
		name   string
		call   request
		status int
		want   string
	}{
		{"nothing", tokenCall("/token/", `{}`), 400, simple400},
		{"no body", request{"POST", "/token/", "", nil}, 400, simple400},
		{"other name", tokenCall("/token/", `{"username":"x","password":"1234"}`), 400, `{"email":["Обязательное поле."]}`},
		{"blank and null", tokenCall("/token/", `{"email":" ","password":null}`), 400, `{"email":["Это поле не может быть пустым."],"password":["Это поле не может быть пустым."]}`},
		{"other types", tokenCall("/token/", `{"email":["x"],"password":true}`), 400, `{"email":["Not a valid string."],"password":["Not a valid string."]}`},
		{"wrong password", tokenCall("/token/", `{"email":"user@example.com","password":"12345"}`), 401, simple401},
		{"unknown user", tokenCall("/token/", `{"email":"x","password":1234}`), 401, simple401},
		{"no JSON", tokenCall("/token/", `email=x`), 400, detail("JSON parse error - Expecting value: line 1 column 1 (char 0)")},
		{"cut JSON", tokenCall("/token/", "{\n\"почта\":"), 400, detail("JSON parse error - Expecting value: line 2 column 9 (char 10)")},
		{"list", tokenCall("/token/", `[]`), 400, `{"non_field_errors":["Недопустимые данные. Ожидался dictionary, но был получен list."]}`},
		{"number", tokenCall("/token/", `1.5`), 400, `{"non_field_errors":["Недопустимые данные. Ожидался dictionary, но был получен float."]}`},
		{"null", tokenCall("/token/", `null`), 400, `{"non_field_errors":["No data provided"]}`},
		{"text", request{"POST", "/token/", simpleLogin, []string{"Content-Type: text/plain"}}, 415, detail(`Неподдерживаемый тип данных \"text/plain\" в запросе.`)},
		{"XML wanted", request{"POST", "/token/", simpleLogin, []string{asJSON, "Accept: application/xml;q=1"}}, 406, detail(`Невозможно удовлетворить \"Accept\" заголовок запроса.`)},
		{"GET", request{"GET", "/token/", "", nil}, 405, detail(`Метод \"GET\" не разрешен.`)},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(SimpleJWT{})
			got := start(t, server)(test.call)
			if got.err != nil || got.status != test.status || got.body != test.want {
				t.Errorf("got %d %s (%v)\nwant %d %s", got.status, got.body, got.err, test.status, test.want)
			}
			if got.header.Get("Content-Type") != "application/json" || got.header.Get("X-Frame-Options") != "DENY" {
				t.Errorf("headers: %v", got.header)
			}
			if challenge := got.header.Get("WWW-Authenticate"); (challenge == `Bearer realm="api"`) != (test.status == 401) {
				t.Errorf("WWW-Authenticate is %q with %d", challenge, got.status)
			}
			if _, granted := server.Logins(); granted != 0 {
				t.Errorf("%d logins granted", granted)
			}
		})
	}
}

func TestSimpleJWTLoginForms(t *testing.T) {
	call := start(t, New(SimpleJWT{}))
	for _, test := range []struct{ contentType, accept, body string }{
		{"application/json; charset=utf-8", "text/html, application/json;q=0.9", ` {"email":" user@example.com ","password":1234} `},
		{"application/x-www-form-urlencoded", "*/*", "email=x&email=user%40example.com&password=1234"},
	} {
		got := call(request{"POST", "/token/", test.body, []string{"Content-Type: " + test.contentType, "Accept: " + test.accept}})
		if got.status != 200 || got.header.Get("Allow") != "POST, OPTIONS" {
			t.Errorf("%s: got %d %s %v", test.contentType, got.status, got.body, got.header)
		}
	}
}

// The samples on the exchanger's page decode to these texts, with other values.
func TestSimpleJWTTokensAreLikeTheSamples(t *testing.T) {
	key := []byte("another key of at least 32 bytes")
	server := New(SimpleJWT{Key: key})
	server.Skew(-48 * time.Hour)
	call := start(t, server)
	before := time.Now().Add(-48 * time.Hour).Unix()
	refresh, access := obtain(t, call)
	pattern := regexp.MustCompile(`^\{"token_type":"(access|refresh)","exp":\d+,"iat":\d+,"jti":"[0-9a-f]{32}","user_id":206661,"roles":\[\],"ip_address":"127\.0\.0\.1"\}$`)
	var ids []string
	for kind, token := range map[string]string{"refresh": refresh, "access": access} {
		if !strings.HasPrefix(token, "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.") {
			t.Errorf("the header of %s is not the sample's", token)
		}
		text := payload(t, token)
		if match := pattern.FindStringSubmatch(text); match == nil || match[1] != kind {
			t.Errorf("claims of the %s token: %s", kind, text)
		}
		var claims jwt.MapClaims
		parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation())
		if _, err := parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return key, nil }); err != nil {
			t.Fatal(err)
		}
		issued, life := int64(claims["iat"].(float64)), claims["exp"].(float64)-claims["iat"].(float64)
		if want := map[string]float64{"refresh": 86400, "access": 60}[kind]; life != want || issued < before || issued > before+60 {
			t.Errorf("%s token: issued %d for %v s, want about %d for %v s", kind, issued, life, before, want)
		}
		ids = append(ids, claims["jti"].(string))
	}
	if ids[0] == ids[1] {
		t.Error("both tokens have one id")
	}
}

func TestSimpleJWTProtectedResource(t *testing.T) {
	tests := []struct {
		name, header string
		knobs        SimpleJWT
		skew         time.Duration
		status       int
		want         string
	}{
		{"access", "Authorization: Bearer ACCESS", SimpleJWT{}, 0, 200, `{"email":"user@example.com","id":206661}`},
		{"two spaces", "Authorization: Bearer  ACCESS", SimpleJWT{}, 0, 200, ""},
		{"nearly dead", "Authorization: Bearer ACCESS", SimpleJWT{AccessTTL: time.Hour}, 59 * time.Minute, 200, ""},
		{"nothing", "Accept: */*", SimpleJWT{}, 0, 401, simpleNoCredentials},
		{"in English", "Accept: */*", SimpleJWT{Locale: "en"}, 0, 401, `{"detail":"Authentication credentials were not provided."}`},
		{"raw", "Authorization: ACCESS", SimpleJWT{}, 0, 401, simpleNoCredentials},
		{"other case", "Authorization: bearer ACCESS", SimpleJWT{}, 0, 401, simpleNoCredentials},
		{"JWT", "Authorization: JWT ACCESS", SimpleJWT{}, 0, 401, simpleNoCredentials},
		{"three words", "Authorization: Bearer ACCESS x", SimpleJWT{}, 0, 401, `{"detail":"Заголовок авторизации должен содержать два значения, разделенных пробелом","code":"bad_authorization_header"}`},
		{"refresh", "Authorization: Bearer REFRESH", SimpleJWT{}, 0, 401, simpleMessages("Токен имеет неправильный тип")},
		{"tampered", "Authorization: Bearer ACCESSx", SimpleJWT{}, 0, 401, simpleMessages("Токен недействителен или просрочен")},
		{"expired", "Authorization: Bearer ACCESS", SimpleJWT{}, time.Minute, 401, simpleMessages("Токен недействителен или просрочен")},
		{"expired in 5.5", "Authorization: Bearer ACCESS", SimpleJWT{Release: "5.5.0"}, time.Minute, 401, simpleMessages("Token is expired")},
		{"tampered in 5.5", "Authorization: Bearer ACCESSx", SimpleJWT{Release: "5.5.1"}, 0, 401, simpleMessages("Token is invalid")},
		{"ru", "Authorization: Bearer REFRESH", SimpleJWT{Locale: "ru"}, 0, 401, `{"detail":"Given token not valid for any token type","code":"token_not_valid",` +
			`"messages":[{"token_class":"AccessToken","token_type":"access","message":"Token has wrong type"}]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(test.knobs)
			call := start(t, server)
			refresh, access := obtain(t, call)
			server.Skew(test.skew)
			got := whoami(call, strings.NewReplacer("ACCESS", access, "REFRESH", refresh).Replace(test.header))
			if got.status != test.status || test.want != "" && got.body != test.want {
				t.Errorf("got %d %s\nwant %d %s", got.status, got.body, test.status, test.want)
			}
			if challenge := got.header.Get("WWW-Authenticate"); (challenge == `Bearer realm="api"`) != (test.status == 401) {
				t.Errorf("WWW-Authenticate is %q", challenge)
			}
		})
	}
}

func TestSimpleJWTUsers(t *testing.T) {
	server := New(SimpleJWT{Users: map[string]SimpleJWTUser{
		"user@example.com": {Password: "1234", ID: 7, Roles: []string{"trader"}},
	}})
	call := start(t, server)
	_, access := obtain(t, call)
	if text := payload(t, access); !strings.Contains(text, `"user_id":7,"roles":["trader"]`) {
		t.Errorf("claims: %s", text)
	}
	use := "Authorization: Bearer " + access
	server.Set(func(k *SimpleJWT) {
		k.Users = map[string]SimpleJWTUser{"user@example.com": {Password: "1234", Inactive: true}}
	})
	if got := whoami(call, use); got.status != 401 || got.body != `{"detail":"Пользователь неактивен","code":"user_inactive"}` {
		t.Errorf("inactive: %d %s", got.status, got.body)
	}
	if got := call(tokenCall("/token/", simpleLogin)); got.status != 401 || got.body != simple401 {
		t.Errorf("login of an inactive user: %d %s", got.status, got.body)
	}
	server.Set(func(k *SimpleJWT) { k.Users = map[string]SimpleJWTUser{} })
	if got := whoami(call, use); got.status != 401 || got.body != `{"detail":"Пользователь не найден","code":"user_not_found"}` {
		t.Errorf("deleted: %d %s", got.status, got.body)
	}
	server.Set(func(k *SimpleJWT) { k.Users = nil })
	server.Revoke()
	if got := whoami(call, use); got.status != 401 || got.body != simpleMessages("Токен недействителен или просрочен") {
		t.Errorf("revoked: %d %s", got.status, got.body)
	}
}

func TestSimpleJWTUsernameField(t *testing.T) {
	server := New(SimpleJWT{Field: "username", Locale: "ru"})
	call := start(t, server)
	if got := call(tokenCall("/token/", `{}`)); got.body != `{"username":["Это поле обязательно."],"password":["Это поле обязательно."]}` {
		t.Errorf("got %s", got.body)
	}
	login := tokenCall("/token/", strings.Replace(simpleLogin, "email", "username", 1))
	if got := whoami(call, "Authorization: Bearer "+field(t, call(login).body, "access")); got.body != `{"id":206661,"username":"user@example.com"}` {
		t.Errorf("got %s", got.body)
	}
	login.body = strings.Replace(login.body, "1234", "x", 1)
	if got := call(login); got.body != `{"detail":"No active account found with the given credentials"}` {
		t.Errorf("SimpleJWT has no catalogue for ru: %s", got.body)
	}
}

func TestSimpleJWTBindsTokensToAnAddress(t *testing.T) {
	server := New(SimpleJWT{BindAddress: true})
	got := record(server, "192.0.2.7:1", tokenCall("/token/", simpleLogin))
	refresh, access := field(t, got.body, "refresh"), field(t, got.body, "access")
	if text := payload(t, refresh); !strings.HasSuffix(text, `"ip_address":"192.0.2.7"}`) {
		t.Errorf("claims: %s", text)
	}
	me := request{"GET", "/users/me/", "", []string{"Authorization: Bearer " + access}}
	again := tokenCall("/token/refresh/", `{"refresh":"`+refresh+`"}`)
	for address, want := range map[string]int{"192.0.2.7:2": 200, "192.0.2.8:1": 401} {
		if a, b := record(server, address, me), record(server, address, again); a.status != want || b.status != want {
			t.Errorf("from %s: %d %s and %d %s, want %d", address, a.status, a.body, b.status, b.body, want)
		}
	}
	server.Set(func(k *SimpleJWT) { k.BindAddress = false })
	if got := record(server, "192.0.2.8:1", me); got.status != 200 {
		t.Errorf("unbound: %d %s", got.status, got.body)
	}
}

// In a bubble the clock stands still, so that the waits are exact.
func TestSimpleJWTThrottle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := New(SimpleJWT{Limit: 2, AccessTTL: time.Hour})
		call := func(r request) response { return record(server, "192.0.2.7:1", r) }
		_, access := obtain(t, call)
		renew(call, "x")
		server.Skew(53*time.Second + time.Millisecond)
		got := call(tokenCall("/token/", simpleLogin))
		if got.status != 429 || got.header.Get("Retry-After") != "7" || got.body != `{"detail":"Запрос был проигнорирован. Expected available in 7 seconds."}` {
			t.Errorf("got %d %s %v", got.status, got.body, got.header)
		}
		server.Set(func(k *SimpleJWT) { k.Locale = "en" })
		server.Skew(59 * time.Second)
		got = renew(call, "x")
		if got.status != 429 || got.header.Get("Retry-After") != "1" || got.body != `{"detail":"Request was throttled. Expected available in 1 second."}` {
			t.Errorf("got %d %s %v", got.status, got.body, got.header)
		}
		if got := whoami(call, "Authorization: Bearer "+access); got.status != 200 {
			t.Errorf("the resource is throttled too: %d %s", got.status, got.body)
		}
		if got := record(server, "192.0.2.8:1", tokenCall("/token/", simpleLogin)); got.status != 200 {
			t.Errorf("another client is throttled too: %d %s", got.status, got.body)
		}
		server.Skew(time.Minute)
		obtain(t, call)
	})
}

func TestSimpleJWTPages(t *testing.T) {
	page := func(title, details string) string {
		return fmt.Sprintf("\n<!doctype html>\n<html lang=\"en\">\n<head>\n  <title>%[1]s</title>\n</head>\n<body>\n  <h1>%[1]s</h1><p>%[2]s</p>\n</body>\n</html>\n", title, details)
	}
	missing := page("Not Found", "The requested resource was not found on this server.")
	tests := []struct {
		path     string
		knobs    SimpleJWT
		fault    Fault
		status   int
		location string
		want     string
	}{
		{"/token", SimpleJWT{}, Fault{}, 301, "/token/", ""},
		{"/token/refresh?a=%20b", SimpleJWT{}, Fault{}, 301, "/token/refresh/?a=%20b", ""},
		{"/users/me", SimpleJWT{}, Fault{}, 301, "/users/me/", ""},
		{"/tokens", SimpleJWT{}, Fault{}, 404, "", missing},
		{"/", SimpleJWT{}, Fault{}, 404, "", missing},
		{"/token/refresh/", SimpleJWT{NoRefresh: true}, Fault{}, 404, "", missing},
		{"/token/refresh", SimpleJWT{NoRefresh: true}, Fault{}, 404, "", missing},
		{"/token/verify/", SimpleJWT{NoRefresh: true}, Fault{}, 404, "", missing},
		{"/token/blacklist/", SimpleJWT{NoRefresh: true}, Fault{}, 404, "", missing},
		{"/token/", SimpleJWT{}, Fault{Status: 500}, 500, "", page("Server Error (500)", "")},
		{"/token/", SimpleJWT{}, Fault{Status: 404}, 404, "", missing},
	}
	for _, test := range tests {
		t.Run(fmt.Sprint(test.path, test.status, test.knobs.NoRefresh), func(t *testing.T) {
			server := New(test.knobs)
			if test.fault.Status != 0 {
				server.Fail(1, test.fault)
			}
			got := start(t, server)(tokenCall(test.path, simpleLogin))
			if got.status != test.status || got.body != test.want || got.header.Get("Location") != test.location ||
				!strings.HasPrefix(got.header.Get("Content-Type"), "text/html") {
				t.Errorf("got %d %q %v\nwant %d %q", got.status, got.body, got.header, test.status, test.want)
			}
		})
	}
}

func TestSimpleJWTFaultsInItsOwnWords(t *testing.T) {
	server := New(SimpleJWT{})
	call := start(t, server)
	for status, want := range map[int]string{
		400: `{"detail":"Искаженный запрос."}`, 401: simple401, 403: `{"detail":"У вас недостаточно прав для выполнения данного действия."}`,
		429: `{"detail":"Запрос был проигнорирован."}`,
	} {
		server.Fail(1, Fault{Status: status})
		if got := call(tokenCall("/token/", simpleLogin)); got.status != status || got.body != want {
			t.Errorf("got %d %s, want %d %s", got.status, got.body, status, want)
		}
	}
	server.Fail(1, Fault{Status: 503})
	if got := call(tokenCall("/token/", simpleLogin)); got.status != 503 || !strings.Contains(got.body, "<center>nginx</center>") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}
