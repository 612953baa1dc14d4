package providers

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

func TestClean(t *testing.T) {
	jwt := testJWT(`{"exp":1724949192}`)
	m := newMask(NewSecret(testPassword), NewSecret("key-1"), NewSecret("key-12345"), NewSecret(""), NewSecret("line\nend"), NewSecret("a-secret-of-some-length"), NewSecret("éßäöü"))
	tests := []struct{ name, text, want string }{
		{"nothing to hide", "Bad credentials.", "Bad credentials."},
		{"empty", "", ""},
		{"secret", "no user with " + testPassword + "!", withheld},
		{"shorter one", "key-1", withheld},
		{"hidden by invisible characters", "ke\u200by-\x001", withheld},
		{"wrapped", "ke\r\n y-\t1", withheld},
		{"with a line end of its own", "line\nend", withheld},
		{"eight characters of it", "a-secret", withheld},
		{"seven of it", "a-secre!", "a-secre!"},
		{"eight from its middle", "…of-some-…", withheld},
		{"its end", "ends in e-length", withheld},
		{"behind half an escape", `%\&#` + "%6bey%2d1", withheld},
		{"escapes of two kinds", "&#107;e%79-1", withheld},
		{"escaped three times", "%25256bey-1", withheld},
		{"escaped too often to tell", "%2525252561", withheld},
		{"percent signs", "100%, 50 %2", "100%, 50 %2"},
		{"not a long entity", "a & b; &" + strings.Repeat("x", 50) + ";", "a & b; &" + strings.Repeat("x", 50) + ";"},
		{"half a pair", `&#xd83d;&#x26;#xd83d; \ud83d%ed%a0%bd`, `&#xd83d;&#x26;#xd83d; \ud83d%ed%a0%bd`},
		{"in Latin-1", "\xe9\xdf\xe4\xf6\xfc", withheld},
		{"in Latin-1, percent", "%e9%DF%e4%f6%fc", withheld},
		{"half a pair behind an escape", `&#92;&#xd83d;`, `&#92;&#xd83d;`},
		{"in bytes", `\x6b\X65y-\u0031`, withheld},
		{"JWT", "token " + jwt + " is invalid", "token [token] is invalid"},
		{"beginning of a JWT", "token eyJhbGciOiJIUzI1NiIs… is", "token [token]… is"},
		{"header with spaces", "t: eyAiYWxnIjogIkhTMjU2In0.e30.x", "t: [token]"},
		{"header with line ends", "t: ewogICJhbGciOiJIUzI1NiJ9.e30.x", "t: [token]"},
		{"three long parts", "t: abcdefghijklmnop0.abcdefghijklmnop1.abcdefghijklmnop2;", "t: [token];"},
		{"a host is no token", "api.ecommerce.noventiq.com.demoslweb.com", "api.ecommerce.noventiq.com.demoslweb.com"},
		{"control characters", " a\x1b[31mb\x07\r\n\tc\u202ed\u200b\u0085e ", "a[31mb cd e"},
		{"Cyrillic", "Срок действия токена истек", "Срок действия токена истек"},
		{"no UTF-8", "a\xffb", "aÿb"},
		{"cut", strings.Repeat("я", 201), strings.Repeat("я", 200) + "…"},
		{"not cut", strings.Repeat("я", 200), strings.Repeat("я", 200)},
		{"secret behind the cut", strings.Repeat("x ", 98) + "key-1", withheld},
		{"secret at the end of what is looked at", "a" + strings.Repeat("\x01", maxLook-3) + "key-1", "a"},
	}
	for _, test := range tests {
		if got := m.clean(test.text); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
	}
}

// each replaces every character of the text.
func each(text string, format string) string {
	var out strings.Builder
	for _, c := range text {
		fmt.Fprintf(&out, format, c)
	}
	return out.String()
}

// bytewiseAs replaces every byte of the text.
func bytewiseAs(text string, format string) string {
	var out strings.Builder
	for _, b := range []byte(text) {
		fmt.Fprintf(&out, format, b)
	}
	return out.String()
}

// utf16As writes the text as JSON may: every character escaped.
func utf16As(text string, format string) string {
	var out strings.Builder
	for _, c := range text {
		if c < 0x10000 {
			fmt.Fprintf(&out, format, c)
			continue
		}
		c -= 0x10000
		fmt.Fprintf(&out, format+format, 0xd800+c>>10, 0xdc00+c&0x3ff)
	}
	return out.String()
}

func quoted(text string) string {
	out, _ := json.Marshal(text)
	return string(out[1 : len(out)-1])
}

func backwards(text string) string {
	c := []rune(text)
	slices.Reverse(c)
	return string(c)
}

// echoes are the ways in which a server may repeat a secret.
var echoes = map[string]func(string) string{
	"as it is":            func(s string) string { return s },
	"upper case":          strings.ToUpper,
	"lower case":          strings.ToLower,
	"title case":          func(s string) string { return strings.Map(unicode.ToTitle, s) },
	"backwards":           backwards,
	"backwards and upper": func(s string) string { return strings.ToUpper(backwards(s)) },
	"query":               url.QueryEscape,
	"path":                url.PathEscape,
	"percent":             func(s string) string { return bytewiseAs(s, "%%%02x") },
	"percent, upper":      func(s string) string { return bytewiseAs(s, "%%%02X") },
	"percent, twice":      func(s string) string { return bytewiseAs(s, "%%25%02x") },
	"percent, of upper":   func(s string) string { return bytewiseAs(strings.ToUpper(s), "%%%02X") },
	"HTML":                html.EscapeString,
	"HTML, twice":         func(s string) string { return html.EscapeString(html.EscapeString(s)) },
	"entities":            func(s string) string { return each(s, "&#%d;") },
	"entities, hex":       func(s string) string { return each(s, "&#x%x;") },
	"entities, upper":     func(s string) string { return each(s, "&#X%06X;") },
	"entities of percent": func(s string) string { return each(bytewiseAs(s, "%%%02X"), "&#%d;") },
	"JSON":                quoted,
	"JSON, twice":         func(s string) string { return quoted(quoted(s)) },
	"JSON, all":           func(s string) string { return utf16As(s, `\u%04x`) },
	"JSON, all, upper":    func(s string) string { return utf16As(s, `\u%04X`) },
	"JSON of HTML":        func(s string) string { return quoted(html.EscapeString(s)) },
	"C":                   func(s string) string { return bytewiseAs(s, `\x%02x`) },
	"Python":              func(s string) string { return each(s, `\U%08x`) },
	"hex":                 func(s string) string { return hex.EncodeToString([]byte(s)) },
	"hex, upper":          func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) },
	"hex, spaced":         func(s string) string { return fmt.Sprintf("% x", s) },
	"base64":              func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64 behind one":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u" + s + "x")) },
	"base64 behind two":   func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u:" + s + "xy")) },
	"base64 of URLs":      func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) },
	"base64 of URLs, one": func(s string) string { return base64.URLEncoding.EncodeToString([]byte("u" + s)) },
	"base64 of URLs, two": func(s string) string { return base64.URLEncoding.EncodeToString([]byte("u:" + s + "z")) },
	"base64 in a query":   func(s string) string { return url.QueryEscape(base64.StdEncoding.EncodeToString([]byte(s))) },
	"invisibly":           func(s string) string { return each(s, "%c\u200b\x00") },
	"wrapped":             func(s string) string { return each(s, "%c\r\n ") },
}

func TestEchoesAreWithheld(t *testing.T) {
	for _, secret := range []string{testPassword, "abcd", "a b c", "$$$$", "hunter2", "a b+c/d%41&lt;\\u0041", `100%25\`, "пароль!", "𝔭𝔞ss", "ßıſKİ", strings.Repeat("0123456789abcdef", maxToken/16)} {
		m := newMask(NewSecret(secret))
		for name, echo := range echoes {
			text := "it says " + echo(secret) + " and more"
			if len(secret) > maxLook { // the part of it that an error could show
				text = echo(secret[1000:2000])
			}
			if got := m.clean(text); got != withheld {
				t.Errorf("%.20q, %s: %.80q is shown as %q", secret, name, text, got)
			}
		}
	}
}

// TestCaseDoesNotCount asserts that a character is the same in whatever case it comes.
func TestCaseDoesNotCount(t *testing.T) {
	for c := range rune(unicode.MaxRune) {
		want, seen := fold(c)
		for _, other := range []rune{unicode.ToUpper(c), unicode.ToLower(c), unicode.ToTitle(c)} {
			if got, also := fold(other); got != want || also != seen {
				t.Errorf("%U folds to %U, and %U to %U", c, want, other, got)
			}
		}
	}
}

// A secret that stands everywhere hides everything, and what is remembered of a long
// one stays small.
func TestMaskOfOddSecrets(t *testing.T) {
	if got := newMask(NewSecret("e")).clean("see"); got != withheld {
		t.Errorf("got %q", got)
	}
	if got := newMask(NewSecret("e")).clean("a cat"); got != "a cat" {
		t.Errorf("got %q", got)
	}
	if got := newMask(NewSecret(" \n")).clean("a cat"); got != "a cat" {
		t.Errorf("got %q", got)
	}
	long := make([]byte, maxBody)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range long {
		long[i] = byte('!' + random.IntN(89))
	}
	if m := newMask(NewSecret(string(long))); len(m.runs) > 16*maxRuns {
		t.Errorf("%d runs are kept of a secret of 1 MiB", len(m.runs))
	}
}

// What one exchange adds to the secrets is hidden as well.
func TestExchangeHidesItsOwn(t *testing.T) {
	c := testCaller(t, serve(t, reply(401, `{"detail":"refresh-7 and key"}`)))
	a, err := c.post(t.Context(), request{hide: []Secret{NewSecret("refresh-7")}})
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, a.judge("the password"), Refused, `"`+withheld+`"`)
}

// FuzzMask asserts for any secret of four bytes or more, in any way of repeating it and
// whatever stands around it, that it is not shown.
func FuzzMask(f *testing.F) {
	for _, secret := range []string{testPassword, "abcd", "hunter2", `\u0041`, "%25%", "&#65;", "пароль", "a\x00b\x01c", strings.Repeat("x", 300)} {
		f.Add(secret, "user ", "!")
		f.Add(secret, "%", "41;")
		f.Add(secret, `\\&#`, "\xff")
	}
	f.Fuzz(func(t *testing.T, secret, before, after string) {
		visible := strings.ContainsFunc(secret, func(c rune) bool { _, seen := fold(c); return seen })
		if !utf8.ValidString(secret) || len(secret) < encodedFrom || !visible {
			t.Skip("no secret that a file can hold")
		}
		if len(before)+len(secret)+len(after) > maxLook {
			t.Skip("longer than what is looked at")
		}
		m := newMask(NewSecret(secret))
		for name, echo := range echoes {
			text := before + echo(secret) + after
			got := m.clean(text)
			if utf8.RuneCountInString(got) > maxForeign+1 || strip(got) != got {
				t.Errorf("%q is shown as %q", text, got)
			}
			if got != withheld && len(text) <= maxLook {
				t.Errorf("%s: %q is shown as %q", name, text, got)
			}
		}
	})
}
