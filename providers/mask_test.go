package providers

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"strings"
	"testing"
	"unicode/utf8"
)

// padding is what ends the base64 of the text.
func padding(text string) string { return strings.Repeat("=", (3-len(text)%3)%3) }

func TestClean(t *testing.T) {
	quoted, _ := json.Marshal(testPassword)
	jwt := testJWT(`{"exp":1724949192}`)
	m := newMask(NewSecret(testPassword), NewSecret("key-1"), NewSecret("key-12345"), NewSecret(""), NewSecret("line\nend"))
	tests := []struct{ name, text, want string }{
		{"nothing to hide", "Bad credentials.", "Bad credentials."},
		{"empty", "", ""},
		{"secret", "no user with " + testPassword + "!", "no user with [secret]!"},
		{"as JSON", `{"password":` + string(quoted) + `}`, `{"password":"[secret]"}`},
		{"in a query", "GET /?p=" + url.QueryEscape(testPassword), "GET /?p=[secret]"},
		{"in a path", "GET /" + url.PathEscape(testPassword) + "/x", "GET /[secret]/x"},
		{"in base64", "got " + base64.StdEncoding.EncodeToString([]byte(testPassword)), "got [secret]" + padding(testPassword)},
		{"in base64 of URLs", "got " + base64.RawURLEncoding.EncodeToString([]byte(testPassword)), "got [secret]"},
		{"in hex", "got " + hex.EncodeToString([]byte(testPassword)), "got [secret]"},
		{"longer one first", "key-12345 key-1", "[secret] [secret]"},
		{"hidden by invisible characters", "ke\u200by-\x0012345", "[secret]"},
		{"with a line end of its own", "line\nend, line end", "[secret], [secret]"},
		{"JWT", "token " + jwt + " is invalid", "token [token] is invalid"},
		{"beginning of a JWT", "token eyJhbGciOiJIUzI1NiIs… is", "token [token]… is"},
		{"header with spaces", "t: eyAiYWxnIjogIkhTMjU2In0.e30.x", "t: [token]"},
		{"header with line ends", "t: ewogICJhbGciOiJIUzI1NiJ9.e30.x", "t: [token]"},
		{"three long parts", "t: abcdefghijklmnop0.abcdefghijklmnop1.abcdefghijklmnop2;", "t: [token];"},
		{"a host is no token", "api.ecommerce.noventiq.com.demoslweb.com", "api.ecommerce.noventiq.com.demoslweb.com"},
		{"control characters", "a\x1b[31mb\x07\r\n\tc\u202ed\u200b\u0085e", "a[31mb cd e"},
		{"Cyrillic", "Срок действия токена истек", "Срок действия токена истек"},
		{"invalid UTF-8", "a\xffb", "a\ufffdb"},
		{"cut", strings.Repeat("я", 201), strings.Repeat("я", 200) + "…"},
		{"not cut", strings.Repeat("я", 200), strings.Repeat("я", 200)},
		{"secret at the cut", strings.Repeat("x ", 98) + "key-12345", strings.Repeat("x ", 98) + "[sec…"},
		{"secret at the end of what is looked at", strings.Repeat("\x01", maxLook-4) + "key-12345", ""},
	}
	for _, test := range tests {
		if got := m.clean(test.text); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// A secret of one letter must not blow an answer up, nor what is put in its place
// be searched again.
func TestCleanWithShortSecret(t *testing.T) {
	m := newMask(NewSecret("e"), NewSecret("s"))
	if got := m.clean("see"); got != "[secret][secret][secret]" {
		t.Errorf("got %q", got)
	}
	if got := m.clean(strings.Repeat("e", maxBody)); utf8.RuneCountInString(got) != maxForeign+1 {
		t.Errorf("%d characters", utf8.RuneCountInString(got))
	}
}

// What one exchange adds to the secrets is hidden as well.
func TestExchangeHidesItsOwn(t *testing.T) {
	c := testCaller(t, serve(t, reply(401, `{"detail":"refresh-7 and key"}`)))
	a, err := c.post(t.Context(), request{hide: []Secret{NewSecret("refresh-7")}})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, a.judge("the password"), Refused, `"[secret] and key"`)
}
