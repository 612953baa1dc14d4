package sandbox

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

const (
	bad16     = `{"code":16,"message":"Срок действия токена истек или токен недействителен","details":[]}`
	malformed = `{"code":16,"message":"Token is invalid or malformed. See: https://api.finam.ru/docs/rest/#authservice_auth","details":[]}`
)

func TestFinamAnswers(t *testing.T) {
	code3 := func(message string) string { return `{"code":3,"message":"` + message + `","details":[]}` }
	tests := []struct {
		name, method, path, body, header string
		status                           int
		want                             string
	}{
		{"unknown secret", "POST", "/v1/sessions", `{"secret":"other"}`, "", 401, bad16},
		{"empty secret", "POST", "/v1/sessions", `{"secret":""}`, "", 400, code3("Срок действия токена истек или токен недействителен")},
		{"null secret", "POST", "/v1/sessions", `{"secret":null}`, "", 400, code3("Срок действия токена истек или токен недействителен")},
		{"empty body", "POST", "/v1/sessions", "", "", 400, code3("Срок действия токена истек или токен недействителен")},
		{"field in other case", "POST", "/v1/sessions", `{"Secret":"your-api-secret-key"}`, "", 400, code3("Срок действия токена истек или токен недействителен")},
		{"no JSON", "POST", "/v1/sessions", "secret=x", "", 400, code3("invalid character 's' looking for beginning of value")},
		{"HTML", "POST", "/v1/sessions", "<p>", "", 400, code3("invalid character '<' looking for beginning of value")},
		{"cut JSON", "POST", "/v1/sessions", `{"secret":`, "", 400, code3("unexpected EOF")},
		{"no object", "POST", "/v1/sessions", `["secret"]`, "", 400, code3(`proto: syntax error (line 1:1): unexpected token [\"secret\"]`)},
		{"number", "POST", "/v1/sessions", `{"secret":5}`, "", 400, code3("proto: invalid value for string field secret: 5")},
		{"stale token", "POST", "/v1/sessions", finamSecret, "Authorization: eyJ", 401, malformed},
		{"empty header", "POST", "/v1/sessions", finamSecret, "Authorization: ", 401, malformed},
		{"stale token at details", "POST", "/v1/sessions/details", `{"token":"x"}`, "Authorization: Bearer eyJ", 401, malformed},
		{"details of an unknown token", "POST", "/v1/sessions/details", `{"token":"x"}`, "", 401, bad16},
		{"details of no token", "POST", "/v1/sessions/details", `{}`, "", 400, code3("Срок действия токена истек или токен недействителен")},
		{"account without a token", "GET", "/v1/accounts/TRQD05:123456", "", "", 401, bad16},
		{"account with an unknown one", "GET", "/v1/accounts/TRQD05:123456", "", "Authorization: Bearer x", 401, bad16},
		{"usage without a token", "GET", "/v1/usage", "", "", 401, bad16},
		{"unknown path", "POST", "/v1/session", finamSecret, "", 404, `{"code":5,"message":"Not Found","details":[]}`},
		{"trailing slash", "POST", "/v1/sessions/", finamSecret, "", 404, `{"code":5,"message":"Not Found","details":[]}`},
		{"no account in the path", "GET", "/v1/accounts/", "", "", 404, `{"code":5,"message":"Not Found","details":[]}`},
		{"GET", "GET", "/v1/sessions", "", "", 501, `{"code":12,"message":"Method Not Allowed","details":[]}`},
		{"PUT", "PUT", "/v1/sessions/details", "", "", 501, `{"code":12,"message":"Method Not Allowed","details":[]}`},
		{"POST of an account", "POST", "/v1/accounts/x", "", "", 501, `{"code":12,"message":"Method Not Allowed","details":[]}`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(Finam{})
			call := start(t, server)
			var header []string
			if test.header != "" {
				header = []string{test.header}
			}
			got := call(request{test.method, test.path, test.body, header})
			if got.err != nil || got.status != test.status || got.body != test.want {
				t.Errorf("got %d %s (%v)\nwant %d %s", got.status, got.body, got.err, test.status, test.want)
			}
			if got.header.Get("Content-Type") != "application/json" {
				t.Errorf("Content-Type is %q", got.header.Get("Content-Type"))
			}
			challenge := got.header.Get("WWW-Authenticate")
			if (challenge != "") != (test.status == 401) || !strings.Contains(got.body, challenge) {
				t.Errorf("WWW-Authenticate is %q with status %d, want the message with 401 only", challenge, got.status)
			}
			if _, granted := server.Logins(); granted != 0 {
				t.Errorf("%d logins granted", granted)
			}
		})
	}
}

func TestFinamSession(t *testing.T) {
	server := New(Finam{Key: []byte("another key of at least 32 bytes")})
	server.Skew(time.Hour)
	call := start(t, server)
	before := time.Now().Add(time.Hour).Truncate(time.Second)
	// The gateway does not look at the content type, and ignores what it does not know.
	got := call(request{"POST", "/v1/sessions", `{"secret":"your-api-secret-key","source_app_id":"x","extra":1} `, nil})
	after := time.Now().Add(time.Hour)
	token := field(t, got.body, "token")
	if got.status != 200 || got.body != `{"token":"`+token+`"}` || got.header.Get("Grpc-Metadata-Content-Type") != "application/grpc" {
		t.Fatalf("got %d %s %v", got.status, got.body, got.header)
	}
	var claims jwt.RegisteredClaims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithoutClaimsValidation())
	if _, err := parser.ParseWithClaims(token, &claims, func(*jwt.Token) (any, error) { return []byte("another key of at least 32 bytes"), nil }); err != nil {
		t.Fatal(err)
	}
	if issued := claims.IssuedAt.Time; issued.Before(before) || issued.After(after) || claims.ExpiresAt.Sub(issued) != 15*time.Minute {
		t.Errorf("issued %v, expires %v, want 15 minutes from %v on", issued, claims.ExpiresAt, before)
	}
	got = call(request{"POST", "/v1/sessions/details", `{"token":"` + token + `"}`, nil})
	layout := "2006-01-02T15:04:05Z"
	want := fmt.Sprintf(`{"created_at":%q,"expires_at":%q,"md_permissions":[{"quote_level":"QUOTE_LEVEL_LAST_PRICE",`+
		`"delay_minutes":0,"mic":"MISX"}],"account_ids":["TRQD05:123456"],"readonly":false}`,
		claims.IssuedAt.UTC().Format(layout), claims.ExpiresAt.UTC().Format(layout))
	if got.status != 200 || got.body != want {
		t.Errorf("details: %d %s\nwant %s", got.status, got.body, want)
	}
	server.Set(func(k *Finam) { k.CamelCase = true })
	got = call(request{"POST", "/v1/sessions/details", `{"token":"` + token + `"}`, nil})
	want = strings.NewReplacer("created_at", "createdAt", "expires_at", "expiresAt", "md_permissions", "mdPermissions",
		"quote_level", "quoteLevel", "delay_minutes", "delayMinutes", "account_ids", "accountIds").Replace(want)
	if got.body != want {
		t.Errorf("in camel case: %s\nwant %s", got.body, want)
	}
	server.Skew(time.Hour + 15*time.Minute)
	if got = call(request{"POST", "/v1/sessions/details", `{"token":"` + token + `"}`, nil}); got.status != 401 || got.body != bad16 {
		t.Errorf("details of an expired token: %d %s", got.status, got.body)
	}
	if again := call(finamLogin()); field(t, again.body, "token") == token {
		t.Error("two logins got the same token")
	}
}

// The codes are those of google.rpc.Code for the statuses, as grpc-gateway maps them.
func TestFinamFailureCodes(t *testing.T) {
	server := New(Finam{})
	call := start(t, server)
	codes := map[int]int{400: 3, 401: 16, 403: 7, 404: 5, 408: 1, 409: 10, 429: 8, 499: 1, 500: 13, 501: 12, 502: 2, 503: 14, 504: 4}
	for status, code := range codes {
		server.Fail(1, Fault{Status: status})
		got := call(finamLogin())
		if got.status != status || !strings.HasPrefix(got.body, fmt.Sprintf(`{"code":%d,"message":"`, code)) || !strings.HasSuffix(got.body, `","details":[]}`) {
			t.Errorf("got %d %s, want %d with code %d", got.status, got.body, status, code)
		}
	}
}

func TestProtoTime(t *testing.T) {
	second := time.Date(2026, 9, 11, 3, 4, 5, 0, time.FixedZone("MSK", 3*3600))
	for nanos, want := range map[time.Duration]string{
		0:                     "2026-09-11T00:04:05Z",
		20 * time.Millisecond: "2026-09-11T00:04:05.020Z",
		20 * time.Microsecond: "2026-09-11T00:04:05.000020Z",
		20:                    "2026-09-11T00:04:05.000000020Z",
	} {
		if got := protoTime(second.Add(nanos)); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// use calls the account with the token as it is and with Bearer.
func use(call func(request) response, token string) []int {
	var got []int
	for _, value := range []string{token, "Bearer " + token, "bearer " + token} {
		got = append(got, call(request{"GET", "/v1/accounts/TRQD05:123456", "", []string{"Authorization: " + value}}).status)
	}
	return got
}

func TestFinamTokenUse(t *testing.T) {
	tests := []struct {
		name   string
		knobs  Finam
		change func(*Server[Finam])
		want   []int
	}{
		{"at once", Finam{}, func(*Server[Finam]) {}, []int{200, 200, 200}},
		{"opaque", Finam{Opaque: true}, func(*Server[Finam]) {}, []int{200, 200, 200}},
		{"raw refused", Finam{RefuseRaw: true}, func(*Server[Finam]) {}, []int{401, 200, 200}},
		{"bearer refused", Finam{RefuseBearer: true}, func(*Server[Finam]) {}, []int{200, 401, 401}},
		{"near its end", Finam{}, func(s *Server[Finam]) { s.Skew(14 * time.Minute) }, []int{200, 200, 200}},
		{"expired", Finam{}, func(s *Server[Finam]) { s.Skew(15 * time.Minute) }, []int{401, 401, 401}},
		{"longer life", Finam{TTL: time.Hour}, func(s *Server[Finam]) { s.Skew(59 * time.Minute) }, []int{200, 200, 200}},
		{"all revoked", Finam{}, func(s *Server[Finam]) { s.Revoke() }, []int{401, 401, 401}},
		{"secret revoked later", Finam{}, func(s *Server[Finam]) { s.Set(func(k *Finam) { k.Secrets = []string{} }) }, []int{200, 200, 200}},
		{"other account", Finam{Accounts: []string{"A12345"}}, func(*Server[Finam]) {}, []int{404, 404, 404}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			server := New(test.knobs)
			call := start(t, server)
			token := field(t, call(finamLogin()).body, "token")
			if opaque := strings.Count(token, ".") != 2; opaque != test.knobs.Opaque {
				t.Errorf("token is %q", token)
			}
			test.change(server)
			if got := use(call, token); !slices.Equal(got, test.want) {
				t.Errorf("raw, Bearer and bearer: %v, want %v", got, test.want)
			}
		})
	}
}

func TestFinamAccountBytes(t *testing.T) {
	call := start(t, New(Finam{}))
	token := field(t, call(finamLogin()).body, "token")
	got := call(request{"GET", "/v1/accounts/TRQD05:123456", "", []string{"Authorization: " + token}})
	want := `{"account_id":"TRQD05:123456","type":"UNION","status":"ACCOUNT_ACTIVE","equity":{"value":"989.38"},` +
		`"unrealized_profit":{"value":"0.4"},"positions":[],"cash":[{"currency_code":"RUB","units":"361","nanos":7800000}]}`
	if got.body != want {
		t.Errorf("got %s\nwant %s", got.body, want)
	}
	got = call(request{"GET", "/v1/accounts/other", "", []string{"Authorization: " + token}})
	if want := `{"code":5,"message":"Счёт не был найден в токене","details":[]}`; got.status != 404 || got.body != want {
		t.Errorf("got %d %s\nwant 404 %s", got.status, got.body, want)
	}
}

func TestFinamSecretsAndAccounts(t *testing.T) {
	server := New(Finam{Secrets: []string{"one", "two"}})
	call := start(t, server)
	login := func(secret string) response {
		return call(request{"POST", "/v1/sessions", `{"secret":"` + secret + `"}`, nil})
	}
	if got := []int{login("one").status, login("two").status, login("your-api-secret-key").status}; !slices.Equal(got, []int{200, 200, 401}) {
		t.Errorf("one, two and the default secret: %v", got)
	}
	server.Set(func(k *Finam) { k.Secrets = []string{"two"} })
	if got := login("one"); got.status != 401 || got.body != bad16 {
		t.Errorf("revoked secret: %d %s", got.status, got.body)
	}
	server.Set(func(k *Finam) { k.Accounts = []string{} })
	if got := login("two"); got.status != 404 || got.body != `{"code":5,"message":"Счёт не был найден в токене","details":[]}` {
		t.Errorf("no account: %d %s", got.status, got.body)
	}
}

func TestFinamAllowAuthorization(t *testing.T) {
	call := start(t, New(Finam{AllowAuthorization: true}))
	stale := finamLogin()
	stale.header = append(stale.header, "Authorization: stale")
	if got := call(stale); got.status != 200 {
		t.Errorf("got %d %s, want 200", got.status, got.body)
	}
}

func TestFinamSingleSession(t *testing.T) {
	for _, single := range []bool{false, true} {
		server := New(Finam{Single: single, Secrets: []string{"your-api-secret-key", "other"}})
		call := start(t, server)
		old := field(t, call(finamLogin()).body, "token")
		call(request{"POST", "/v1/sessions", `{"secret":"other"}`, nil})
		if got := use(call, old)[0]; got != 200 {
			t.Errorf("single=%v: after a login with another secret the token gets %d", single, got)
		}
		newer := field(t, call(finamLogin()).body, "token")
		want := 200
		if single {
			want = 401
		}
		if got, now := use(call, old)[0], use(call, newer)[0]; got != want || now != 200 {
			t.Errorf("single=%v: the old token gets %d and the new one %d, want %d and 200", single, got, now, want)
		}
	}
}

func TestFinamLimitSlidesPerMethod(t *testing.T) {
	server := New(Finam{Limit: 2, RetryAfter: "30"})
	call := start(t, server)
	var got []int
	login := func(at time.Duration) response {
		server.Skew(at)
		answer := call(finamLogin())
		got = append(got, answer.status)
		return answer
	}
	login(0)
	login(40 * time.Second)
	over := login(50 * time.Second)
	if want := `{"code":8,"message":"Слишком много запросов. Доступный лимит - 2 запросов в минуту","details":[]}`; over.body != want {
		t.Errorf("got %s\nwant %s", over.body, want)
	}
	if over.header.Get("Retry-After") != "30" {
		t.Errorf("Retry-After is %q, want 30", over.header.Get("Retry-After"))
	}
	if details := call(request{"POST", "/v1/sessions/details", `{"token":"x"}`, nil}); details.status != 401 {
		t.Errorf("another method gets %d, want 401", details.status)
	}
	login(65 * time.Second) // the first has left the window, the second has not
	login(66 * time.Second)
	login(3 * time.Minute)
	server.Set(func(k *Finam) { k.Limit = -1 })
	login(3 * time.Minute)
	login(3 * time.Minute)
	if want := []int{200, 200, 429, 200, 429, 200, 200, 200}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestFinamDefaultLimit(t *testing.T) {
	server := New(Finam{})
	call := start(t, server)
	for n := range 200 {
		if got := call(finamLogin()); got.status != 200 {
			t.Fatalf("login %d: %d %s", n+1, got.status, got.body)
		}
	}
	got := call(finamLogin())
	if want := `{"code":8,"message":"Слишком много запросов. Доступный лимит - 200 запросов в минуту","details":[]}`; got.status != 429 || got.body != want {
		t.Errorf("got %d %s\nwant 429 %s", got.status, got.body, want)
	}
	if _, present := got.header["Retry-After"]; present {
		t.Error("Retry-After is not documented, and sent")
	}
}

func TestFinamUsage(t *testing.T) {
	server := New(Finam{Limit: 10})
	call := start(t, server)
	token := field(t, call(finamLogin()).body, "token")
	got := call(request{"GET", "/v1/usage", "", []string{"Authorization: " + token}})
	quota := func(name, left, reset string) string {
		return `{"name":"/grpc.tradeapi.v1.` + name + `","limit":"10","remaining":"` + left + `","reset_time":` + reset + `}`
	}
	body, resets := got.body, 0
	for part := range strings.SplitSeq(got.body, `"reset_time":`) {
		if value, _, _ := strings.Cut(part, "}"); strings.HasPrefix(value, `"`) {
			reset, err := time.Parse(`"`+time.RFC3339Nano+`"`, value)
			if left := time.Until(reset); err != nil || left <= 0 || left > time.Minute {
				t.Errorf("reset_time %s is in %v (%v), want within the next minute", value, left, err)
			}
			body = strings.Replace(body, value, "TIME", 1)
			resets++
		}
	}
	want := `{"quotas":[` + quota("auth.AuthService/Auth", "9", "TIME") + "," + quota("auth.AuthService/TokenDetails", "10", "null") + "," +
		quota("accounts.AccountsService/GetAccount", "10", "null") + "," + quota("metrics.UsageMetricsService/GetUsageMetrics", "9", "TIME") + `]}`
	if got.status != 200 || body != want || resets != 2 {
		t.Errorf("got %d %s\nwant %s", got.status, body, want)
	}
}
