package providers

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers/sandbox"
)

// What upstream may do wrong, done to each of the four.

// hostile is one fault and what is to become of a login that meets it.
type hostile struct {
	name    string
	fault   sandbox.Fault
	class   Class
	good    bool   // a token comes all the same
	text    string // in the error
	timeout time.Duration
	unsent  bool
}

// tokenField is where each kind's answer has its token.
var tokenField = map[string]string{"finam": "token", "simplejwt": "access", "etna": "Token", "noventiq": "token"}

// attack lets a login of every kind meet the fault.
func (h hostile) attack(t *testing.T, fault func(kind string) sandbox.Fault) {
	for kind, s := range systems() {
		t.Run(h.name+"/"+kind, func(t *testing.T) {
			if h.timeout > 0 {
				s.settings.Timeout = h.timeout
			}
			s.settings.Transport = transportFor(t, nil, "none")
			p := s.connect(t, kind)
			s.server.Fail(1, fault(kind))
			began := time.Now()
			token, err := Login(t.Context(), p, nil)
			h.check(t, s.settings.Secrets, token, err, began)
		})
	}
}

func (h hostile) check(t *testing.T, secrets map[string]Secret, token Token, err error, began time.Time) {
	t.Helper()
	if h.good {
		if err != nil || checkToken(token.Value.Reveal()) != nil || !token.Expires.After(began) {
			t.Errorf("token %v expires %v, error %v", token.Value, token.Expires, err)
		}
		return
	}
	e := wantError(t, err, h.class, h.text)
	if e.Sent == h.unsent || len(e.Error()) > 600 || strip(e.Error()) != e.Error() {
		t.Errorf("sent is %v, text %q", e.Sent, e)
	}
	if e.RetryAfter != 0 && (e.RetryAfter < time.Second || e.RetryAfter > time.Hour) {
		t.Errorf("waits %v", e.RetryAfter)
	}
	for key, secret := range secrets {
		if len(secret.Reveal()) > 4 && strings.Contains(e.Error(), secret.Reveal()) {
			t.Errorf("error %q shows %s", e, key)
		}
	}
	if token != (Token{}) {
		t.Error("an error came with a token")
	}
}

// edit changes a field of the answer; an empty value takes it away.
func edit(field, value string) func([]byte) []byte {
	return func(body []byte) []byte {
		fields := map[string]json.RawMessage{}
		if err := json.Unmarshal(body, &fields); err != nil {
			return []byte(err.Error())
		}
		delete(fields, field)
		if value != "" {
			fields[field] = json.RawMessage(value)
		}
		out, err := json.Marshal(fields)
		if err != nil {
			return []byte(err.Error())
		}
		return out
	}
}

// bomb is a small body that would unpack to 1 GiB.
func bomb() []byte {
	var out bytes.Buffer
	w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
	zeros := make([]byte, 1<<20)
	for range 1 << 6 {
		w.Write(zeros)
	}
	w.Close()
	return out.Bytes()
}

func TestHostileBodies(t *testing.T) {
	padded := func(body []byte) []byte {
		return append(bytes.TrimSuffix(body, []byte("}")), `,"x":"`+strings.Repeat("a", 10<<20)+`"}`...)
	}
	crowded := func(body []byte) []byte {
		return append(bytes.TrimSuffix(body, []byte("}")), strings.Repeat(`,"a":0`, 100)+`,`+manyFields(maxFields)+`}`...)
	}
	packed := bomb()
	header := func(name, value string) map[string]string { return map[string]string{name: value} }
	tests := []hostile{
		{name: "truncated", fault: sandbox.Fault{Truncated: true}, class: Malformed, text: "no JSON object"},
		{name: "HTML 200", fault: sandbox.Fault{HTML: true, Status: 200}, class: Malformed, text: "an HTML page"},
		{name: "HTML 401", fault: sandbox.Fault{HTML: true, Status: 401}, class: Blocked, text: "an HTML page"},
		{name: "HTML 403", fault: sandbox.Fault{HTML: true, Status: 403}, class: Blocked, text: "something in front of it answered"},
		{name: "HTML 502", fault: sandbox.Fault{HTML: true}, class: Transient, text: "502 Bad Gateway"},
		{name: "empty 200", fault: sandbox.Fault{Empty: true}, class: Malformed, text: "an empty body"},
		{name: "empty 204", fault: sandbox.Fault{Empty: true, Status: 204}, class: Malformed, text: "HTTP 204"},
		{name: "empty 401", fault: sandbox.Fault{Empty: true, Status: 401}, class: Refused, text: "an empty body"},
		{name: "10 MiB", fault: sandbox.Fault{Edit: padded}, class: Malformed, text: "more than 1024 KiB"},
		{name: "endless", fault: sandbox.Fault{Raw: "HTTP/1.1 200 OK\r\n\r\n{\"token\":\"", Endless: strings.Repeat("a", 1<<16)}, class: Malformed, text: "more than 1024 KiB"},
		{name: "endless 503", fault: sandbox.Fault{Raw: "HTTP/1.1 503 No\r\n\r\n", Endless: strings.Repeat("a", 1<<16)}, class: Transient, text: "HTTP 503"},
		{name: "too many fields", fault: sandbox.Fault{Edit: crowded}, class: Malformed, text: "more than 1000 fields"},
		{name: "fields twice", fault: sandbox.Fault{Edit: func(body []byte) []byte { return append([]byte(`{"token":"no","access":"no","Token":7,`), body[1:]...) }}, good: true},
		{name: "gzip that nobody asked for", fault: sandbox.Fault{Header: header("Content-Encoding", "gzip"), Edit: func([]byte) []byte { return packed }}, class: Malformed, text: `encoded as "gzip"`},
		{name: "gzip in name alone", fault: sandbox.Fault{Header: header("Content-Encoding", "gzip")}, good: true},
		{name: "a coding of no name", fault: sandbox.Fault{Header: header("Content-Encoding", "\u202ex"), Truncated: true}, class: Malformed, text: `encoded as "x"`},
		{name: "called HTML", fault: sandbox.Fault{Header: header("Content-Type", "text/html")}, good: true},
		{name: "called an image", fault: sandbox.Fault{Header: header("Content-Type", "image/png; =")}, good: true},
		{name: "called nothing", fault: sandbox.Fault{Header: header("Content-Type", "")}, good: true},
		{name: "list", fault: sandbox.Fault{Body: `[{"token":"a"}]`}, class: Malformed, text: "no JSON object"},
		{name: "null", fault: sandbox.Fault{Body: `null`}, class: Malformed, text: "no JSON object"},
		{name: "nested too deep", fault: sandbox.Fault{Body: `{"token":` + strings.Repeat("[", 20000)}, class: Malformed, text: "no JSON object"},
		{name: "NUL bytes", fault: sandbox.Fault{Body: "\x00\x00\x00"}, class: Malformed, text: "no JSON object"},
		{name: "elsewhere", fault: sandbox.Fault{Location: "https://elsewhere.example/?a=b"}, class: Misconfigured, text: "redirects to https://elsewhere.example ("},
		{name: "another path", fault: sandbox.Fault{Status: 301, Location: "/v2/login"}, class: Misconfigured, text: "redirects to another path"},
		{name: "to a file", fault: sandbox.Fault{Status: 302, Location: "file:///etc/passwd"}, class: Misconfigured, text: "redirects to file: ("},
		{name: "to nowhere", fault: sandbox.Fault{Status: 303, HTML: true}, class: Misconfigured, text: "redirects to an unnamed place"},
		{name: "not modified", fault: sandbox.Fault{Status: 304, Empty: true}, class: Misconfigured, text: "redirects to an unnamed place"},
	}
	for _, test := range tests {
		test.attack(t, func(string) sandbox.Fault { return test.fault })
	}
}

// manyFields are so many fields of different names.
func manyFields(n int) string {
	var fields []string
	for i := range n {
		fields = append(fields, `"`+strings.Repeat("f", 1+i%50)+string(rune('0'+i/50))+`":{}`)
	}
	slices.Sort(fields)
	return strings.Join(slices.Compact(fields), ",")
}

// hostileTokens are values in the place of a token.
var hostileTokens = []struct {
	name, value string
	text        string // "" for a token
}{
	{"missing", ``, "there is none"},
	{"null", `null`, "there is none"},
	{"empty", `""`, "there is none"},
	{"number", `7`, "is not a string"},
	{"float", `1e400`, "is not a string"},
	{"flag", `true`, "is not a string"},
	{"list", `["a"]`, "is not a string"},
	{"object", `{"token":"a"}`, "is not a string"},
	{"control character", `"a\u0001b"`, "0x01"},
	{"line end", `"abc\n"`, "0x0a"},
	{"second header", `"abc\r\nX-Admin: yes"`, "0x0d"},
	{"NUL", `"a\u0000"`, "0x00"},
	{"escape sequence", `"\u001b[31m"`, "0x1b"},
	{"DEL", `"a\u007f"`, "0x7f"},
	{"space", `"a b"`, "0x20"},
	{"space around", `" a"`, "0x20"},
	{"not ASCII", `"tökén"`, "0xc3"},
	{"not UTF-8", "\"a\xff\"", "0xef"},
	{"lone surrogate", `"a\ud800"`, "0xef"},
	{"64 KiB", `"` + strings.Repeat("a", 64<<10) + `"`, ""},
	{"64 KiB and a byte", `"` + strings.Repeat("a", 64<<10+1) + `"`, "it has 65537 bytes, and more than 64 KiB fit into no header"},
	{"1 MiB", `"` + strings.Repeat("a", 1<<20-1<<12) + `"`, "more than 64 KiB"},
}

func TestHostileTokens(t *testing.T) {
	for _, test := range hostileTokens {
		h := hostile{name: test.name, class: Malformed, text: test.text, good: test.text == ""}
		h.attack(t, func(kind string) sandbox.Fault { return sandbox.Fault{Edit: edit(tokenField[kind], test.value)} })
	}
}

// A refresh token that cannot be one is none; the access token is good without it.
func TestHostileRefreshTokens(t *testing.T) {
	for name, value := range map[string]string{"number": `7`, "object": `{}`, "too long": `"` + strings.Repeat("a", maxToken+1) + `"`, "missing": ``} {
		s := systems()["simplejwt"]
		p := s.connect(t, "simplejwt")
		s.server.Fail(1, sandbox.Fault{Edit: edit("refresh", value)})
		if token, err := Login(t.Context(), p, nil); err != nil || !token.Refresh.Empty() {
			t.Errorf("%s: refresh token %v, error %v", name, token.Refresh, err)
		}
	}
}

// An interim token that no header carries is none.
func TestHostileTickets(t *testing.T) {
	for name, value := range map[string]string{"number": `7`, "line end": `"a\nb"`, "too long": `"` + strings.Repeat("a", maxToken+1) + `"`, "1 MiB": `"` + strings.Repeat("!", maxBody-1000) + `"`} {
		s := broker(sandbox.EtnaUser{TwoFactor: true})
		p := s.connect(t, "etna")
		s.server.Fail(1, sandbox.Fault{Edit: edit("Token", value)})
		_, err := Login(t.Context(), p, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Class != Malformed || len(e.Error()) > 600 {
			t.Errorf("%s: %v, want malformed", name, err)
		}
	}
}

// TestHostileWaits asserts that no wait that a server asks for is without bounds.
func TestHostileWaits(t *testing.T) {
	long := time.Now().AddDate(100, 0, 0).UTC().Format(http.TimeFormat)
	for value, want := range map[string]time.Duration{
		"-1": 0, "soon": 0, "NaN": 0, "1e9": 0, "0": time.Second, "99999999999999999999": time.Hour,
		"Thu, 01 Jan 1970 00:00:00 GMT": time.Second, long: time.Hour, "Thu, 32 Jan 1970 00:00:00 GMT": 0,
	} {
		for kind, s := range systems() {
			p := s.connect(t, kind)
			s.server.Fail(1, sandbox.Fault{Status: 429, RetryAfter: value})
			_, err := Login(t.Context(), p, nil)
			floor := time.Duration(0)
			if want == 0 && (kind == "finam" || kind == "simplejwt") {
				floor = time.Minute // of their own
			}
			if e := wantError(t, err, Throttled); e.RetryAfter != want+floor {
				t.Errorf("%s: Retry-After %q waits %v, want %v", kind, value, e.RetryAfter, want+floor)
			}
		}
	}
}
