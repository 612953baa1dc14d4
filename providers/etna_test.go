package providers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const (
	etnaSuccess = "{\n  \"State\" : \"Succeeded\",\n  \"Token\" : \"VGhpcyBpcyBleGFtcGxlIHRva2Vu...\"\n}"
	etnaAskPin  = "{\n  \"Step\" : \"SecutityPin\",\n  \"Reason\" : \"Invalid pin\",\n  \"State\" : \"Expecting\",\n  \"Token\" : \"VGhpcyBpcyBleGFtcGxlIHRva2Vu....\"\n}"
	etnaBadPin  = "{\n  \"State\" : \"Failed\",\n  \"Step\" : \"SecutityPin\",\n  \"Reason\" : \"Invalid pin\"\n}"
	etnaAskCode = `{"Step":"VerificationCode","Reason":"Expecting confirmation code","State":"Expecting","Token":"someToken+zrIbQGZl8sBT1LWQEY38SQ=="}`
	etnaBadCode = `{"State":"Failed","Step":"VerificationCode","Reason":"Invalid code"}`
	etnaNoUser  = `{"State":"Failed","Step":"BaseAuthentication","Reason":"Invalid credentials"}`
	etnaExpired = `{"State":"Failed","Step":"BaseAuthentication","Reason":"Your Password has expired and must be changed","Token":"for-the-change-alone"}`
	etnaNoKey   = `{"error":"Application key is not defined or does not exist"}`

	etnaFirst  = "VGhpcyBpcyBleGFtcGxlIHRva2Vu...." // the interim token of etnaAskPin
	etnaSecond = "someToken+zrIbQGZl8sBT1LWQEY38SQ=="
)

// turn is one answer of a server that answers each request in turn.
type turn struct {
	status int
	body   string
	header string
}

// etnaServer answers in turn and keeps the headers of the requests.
func etnaServer(t *testing.T, turns ...turn) (url string, seen func() []http.Header) {
	var headers []http.Header
	url = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != "POST" || r.RequestURI != "/api/token" || r.ContentLength != 0 || r.Header.Get("Content-Length") != "0" {
			t.Errorf("request is %s %s with %d bytes", r.Method, r.RequestURI, r.ContentLength)
		}
		headers = append(headers, r.Header)
		if len(headers) > len(turns) {
			t.Errorf("request %d of %d", len(headers), len(turns))
			return
		}
		turn := turns[len(headers)-1]
		reply(turn.status, turn.body, turn.header)(w, r)
	})
	return url + "/api", func() []http.Header { return headers }
}

func etnaSettings(t *testing.T, url string, change ...func(*Settings)) Settings {
	s := testSettings(t, url)
	s.Values = map[string]string{"username": "alice"}
	s.Secrets = map[string]Secret{"app_key": NewSecret("the-app-key"), "password": NewSecret("the pass-word")}
	for _, f := range change {
		f(&s)
	}
	return s
}

func etnaAt(t *testing.T, url string, change ...func(*Settings)) Provider {
	t.Helper()
	kind, _ := Lookup("etna")
	p, err := kind.New(etnaSettings(t, url, change...))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func withPin(s *Settings) { s.Secrets["pin"] = NewSecret("pin-4321") }

func withCode(s *Settings) { withSource("code-123456\n", nil)(s) }

func withSource(text string, err error) func(*Settings) {
	return func(s *Settings) {
		s.Late = map[string]Source{"code": func(context.Context, time.Time) (Secret, error) { return NewSecret(text), err }}
	}
}

// etnaHeaders are a request's headers without those that are the same in all.
func etnaHeaders(t *testing.T, h http.Header) string {
	t.Helper()
	for name, want := range map[string]string{
		"Accept": "application/json", "Et-App-Key": "the-app-key", "Username": "alice", "Password": "the pass-word",
		"Content-Length": "0", "User-Agent": "tokend",
	} {
		if got := h.Values(name); !slices.Equal(got, []string{want}) {
			t.Errorf("header %s is %q", name, got)
		}
		h.Del(name)
	}
	var rest []string
	for name := range h {
		rest = append(rest, name+"="+h.Get(name))
	}
	slices.Sort(rest)
	return strings.Join(rest, " ")
}

// personAnswer is a person's reply to the challenge of the step.
func personAnswer(step string) *Answer {
	return &Answer{Challenge: Challenge{Step: step, Ticket: NewSecret("ticket-0")}, Text: NewSecret(" 654321\n")}
}

// etnaTest is a login over several requests.
type etnaTest struct {
	name     string
	turns    []turn
	settings []func(*Settings)
	answer   *Answer
	requests []string // what is in them beside what is in all
	class    Class    // of the error, if text is not ""
	text     string
	step     string // of the challenge, if not ""
}

// run makes the login and checks how it went on the wire.
func (test etnaTest) run(t *testing.T) (Token, error) {
	t.Helper()
	url, seen := etnaServer(t, test.turns...)
	token, err := Login(t.Context(), etnaAt(t, url, test.settings...), test.answer)
	var requests []string
	for _, h := range seen() {
		requests = append(requests, etnaHeaders(t, h))
	}
	if !slices.Equal(requests, test.requests) {
		t.Errorf("requests are %q, want %q", requests, test.requests)
	}
	return token, err
}

func (test etnaTest) check(t *testing.T) {
	t.Helper()
	token, err := test.run(t)
	var challenge *Challenge
	switch {
	case test.text != "":
		e := wantError(t, err, test.class, test.text)
		if last := test.turns[len(test.turns)-1]; e.Status != last.status || !e.Sent {
			t.Errorf("status is %d, sent %v", e.Status, e.Sent)
		}
		for _, secret := range []string{"the-app-key", "the pass-word", "pin-4321", "code-123456", "654321", "ticket-0", etnaFirst, etnaSecond} {
			if strings.Contains(e.Error(), secret) {
				t.Errorf("error %q shows %q", e, secret)
			}
		}
	case test.step != "":
		if !errors.As(err, &challenge) || challenge.Step != test.step {
			t.Errorf("error is %v, want a challenge for %s", err, test.step)
		}
	case err != nil || token.Value.Reveal() != "VGhpcyBpcyBleGFtcGxlIHRva2Vu..." || !token.Refresh.Empty():
		t.Errorf("token %q, error %v", token.Value.Reveal(), err)
	}
}

// The requests that follow, by what they carry.
const (
	pinToFirst   = "Authorization=Bearer " + etnaFirst + " Pincode=pin-4321"
	codeToSecond = "Authorization=Bearer " + etnaSecond + " Verificationcode=code-123456"
	personsCode  = "Authorization=Bearer ticket-0 Verificationcode=654321"
	personsPin   = "Authorization=Bearer ticket-0 Pincode=654321"
)

var (
	pinOnly = []func(*Settings){withPin}
	all     = []func(*Settings){withPin, withCode}
	askCode = turn{202, etnaAskCode, ""}
	askPin  = turn{202, etnaAskPin, ""}
	success = turn{200, etnaSuccess, ""}
)

func TestEtnaSteps(t *testing.T) {
	other := turn{202, strings.Replace(etnaAskPin, "Secutity", "Security", 1), ""}
	bare := turn{202, `{"Step":"SecurityPin","State":"Expecting"}`, ""}
	riddle := turn{202, `{"Step":"Riddle","Reason":"Who?","State":"Expecting","Token":"` + etnaFirst + `"}`, ""}
	tests := []etnaTest{
		{name: "no second factor", turns: []turn{success}, requests: []string{""}},
		{name: "blanks and cases", turns: []turn{{200, `{"state":" succeeded ","token":"VGhpcyBpcyBleGFtcGxlIHRva2Vu..."}`, ""}}, requests: []string{""}},
		{name: "code", turns: []turn{askCode, success}, settings: all, requests: []string{"", codeToSecond}},
		{name: "PIN, SecutityPin", turns: []turn{askPin, success}, settings: pinOnly, requests: []string{"", pinToFirst}},
		{name: "PIN, SecurityPin", turns: []turn{other, success}, settings: pinOnly, requests: []string{"", pinToFirst}},
		{name: "code, then PIN", turns: []turn{askCode, askPin, success}, settings: all, requests: []string{"", codeToSecond, pinToFirst}},
		{name: "PIN, then code", turns: []turn{askPin, askCode, success}, settings: all, requests: []string{"", pinToFirst, codeToSecond}},
		{name: "no newer ticket", turns: []turn{askCode, bare, success}, settings: all, requests: []string{
			"", codeToSecond, "Authorization=Bearer " + etnaSecond + " Pincode=pin-4321",
		}},
		{name: "code by a person", turns: []turn{askCode}, settings: pinOnly, requests: []string{""}, step: "VerificationCode"},
		{name: "PIN by a person", turns: []turn{other}, requests: []string{""}, step: "SecurityPin"},
		{name: "PIN, then code by a person", turns: []turn{askPin, askCode}, settings: pinOnly, requests: []string{"", pinToFirst}, step: "VerificationCode"},
		{name: "unknown step", turns: []turn{riddle}, settings: all, requests: []string{""}, step: "Riddle"},
		{name: "each answer once", turns: []turn{askPin, askCode, riddle}, settings: all, requests: []string{"", pinToFirst, codeToSecond}, step: "Riddle"},
		{name: "no step", turns: []turn{{202, `{"State":"Expecting","Token":"x"}`, ""}}, settings: all, requests: []string{""}, step: "an unnamed step"},

		{name: "person's code", answer: personAnswer("VerificationCode"), turns: []turn{success}, requests: []string{personsCode}},
		{name: "person's PIN", answer: personAnswer("SecutityPin"), turns: []turn{success}, requests: []string{personsPin}},
		{name: "person's PIN, other spelling", answer: personAnswer("SecurityPin"), turns: []turn{success}, requests: []string{personsPin}},
		{name: "person's answer to an unknown step", answer: personAnswer("Riddle"), turns: []turn{success}, requests: []string{personsCode}},
		{name: "person's code, then PIN", answer: personAnswer("VerificationCode"), turns: []turn{askPin, success}, settings: pinOnly, requests: []string{personsCode, pinToFirst}},
		{name: "person's code, then PIN by a person", answer: personAnswer("VerificationCode"), turns: []turn{askPin}, requests: []string{personsCode}, step: "SecutityPin"},
		{name: "person's code was wrong", answer: personAnswer("VerificationCode"), turns: []turn{askCode}, settings: all, requests: []string{personsCode}, step: "VerificationCode"},
		{name: "person's PIN was wrong", answer: personAnswer("SecurityPin"), turns: []turn{askPin}, settings: all, requests: []string{personsPin}, step: "SecutityPin"},
	}
	for _, test := range tests {
		t.Run(test.name, test.check)
	}
}

// TestEtnaOncePerLogin asserts that a PIN is not sent again after a person has
// answered another step of the same login.
func TestEtnaOncePerLogin(t *testing.T) {
	_, err := etnaTest{turns: []turn{askPin, askCode}, settings: pinOnly, requests: []string{"", pinToFirst}}.run(t)
	var challenge *Challenge
	if !errors.As(err, &challenge) {
		t.Fatalf("error is %v", err)
	}
	answer := &Answer{Challenge: *challenge, Text: NewSecret("654321")}
	etnaTest{
		turns: []turn{askPin}, settings: pinOnly, answer: answer, requests: []string{"Authorization=Bearer " + etnaSecond + " Verificationcode=654321"},
		class: Refused, text: "refused the configured pin",
	}.check(t)
}

func TestEtnaChallenge(t *testing.T) {
	body := `{"Step":"Code\u202e for\nalice","Reason":"Sent to the-app-key\u0000 someToken","State":"Expecting","Token":"someToken"}`
	before := time.Now()
	_, err := etnaTest{turns: []turn{{202, body, ""}}, requests: []string{""}}.run(t)
	var c *Challenge
	if !errors.As(err, &c) {
		t.Fatalf("error is %v", err)
	}
	if c.Step != "Code for alice" || c.Prompt != withheld || c.Ticket.Reveal() != "someToken" {
		t.Errorf("challenge is %q: %q, ticket %q", c.Step, c.Prompt, c.Ticket.Reveal())
	}
	if left := c.Expires.Sub(before); left < 5*time.Minute || c.Expires.After(time.Now().Add(5*time.Minute)) {
		t.Errorf("it ends after %v", left)
	}
}

// TestEtnaUnsendableAnswer asserts that what cannot be a code costs no try: the
// question stays, and so does its ticket.
func TestEtnaUnsendableAnswer(t *testing.T) {
	for text, want := range map[string]string{
		" \n": "it is empty", "12 34": "it has a blank", "12\r\nX: y": "it has a blank", "１２３": "it has a blank",
		"1\x00": "it has a blank", strings.Repeat("1", 129): "it is longer than 128 characters",
	} {
		answer := personAnswer("VerificationCode")
		answer.Text, answer.Expires = NewSecret(text), time.Now().Add(time.Minute)
		_, err := etnaTest{answer: answer}.run(t)
		var c *Challenge
		if !errors.As(err, &c) || c.Step != answer.Step || !c.Ticket.Equal(answer.Ticket) || !c.Expires.Equal(answer.Expires) ||
			!strings.HasPrefix(c.Prompt, "the answer was not sent: "+want) || strings.Contains(c.Prompt, text) {
			t.Errorf("%q: error is %#v", text, err)
		}
	}
}

func TestEtnaLifetime(t *testing.T) {
	tests := []struct {
		name      string
		answer    *Answer
		token     string
		ttl, want time.Duration
	}{
		{"password alone", nil, "opaque", 0, time.Hour},
		{"a person answered", personAnswer("VerificationCode"), "opaque", 0, 24 * time.Hour},
		{"ttl", nil, "opaque", 20 * time.Hour, 20 * time.Hour},
		{"ttl, a person answered", personAnswer("VerificationCode"), "opaque", 2 * time.Hour, 2 * time.Hour},
		{"it says so itself", nil, testJWT(fmt.Sprintf(`{"exp":%d}`, time.Now().Add(10*time.Minute).Unix())), 0, 10 * time.Minute},
	}
	for _, test := range tests {
		url := serve(t, reply(200, `{"State":"Succeeded","Token":"`+test.token+`"}`))
		token, err := Login(t.Context(), etnaAt(t, url, func(s *Settings) { s.TTL = test.ttl }), test.answer)
		if off := token.Expires.Sub(token.Issued) - test.want; err != nil || off.Abs() > 10*time.Second {
			t.Errorf("%s: lives %v, error %v", test.name, token.Expires.Sub(token.Issued), err)
		}
	}
}

// TestEtnaCodeTime asserts that a code is made for the time of the very answer that
// asks for it, by the server's clock.
func TestEtnaCodeTime(t *testing.T) {
	date := time.Now().Add(-50 * time.Minute).UTC().Format(http.TimeFormat)
	url, _ := etnaServer(t, turn{202, etnaAskCode, "Date: " + date}, success)
	var at []time.Time
	p := etnaAt(t, url, func(s *Settings) {
		s.Late = map[string]Source{"code": func(_ context.Context, now time.Time) (Secret, error) {
			at = append(at, now)
			return NewSecret("code-123456"), nil
		}}
	})
	if _, err := Login(t.Context(), p, nil); err != nil || len(at) != 1 {
		t.Fatalf("%d codes were made, error %v", len(at), err)
	}
	if off := time.Since(at[0]); off < 49*time.Minute || off > 51*time.Minute {
		t.Errorf("the code is for %v ago", off)
	}
}
