package providers

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// etnaAnswers are the documented answers to a first request, and others that are not
// what they look like.
var etnaAnswers = []answerTest{
	{202, `{"Step":"SecutityPin","Reason":"PIN code is not init","State":"Expecting","Token":"x"}`, "", Refused, 0, `etna says that no PIN is set (HTTP 202, step SecutityPin: "PIN code is not init"): set one in the web terminal`},
	{202, `{"Reason":"PIN code is not init","State":"Expecting"}`, "", Refused, 0, "no PIN is set"},
	{401, etnaNoUser, "", Refused, 0, `etna refused the user name and password (HTTP 401, step BaseAuthentication: "Invalid credentials"): correct them`},
	{401, etnaExpired, "", Refused, 0, `etna says that the password has expired (HTTP 401, step BaseAuthentication: "Your Password has expired and must be changed"): change it in the web terminal`},
	{401, `{"State":"Failed","Step":"BaseAuthentication","Reason":"Invalid password"}`, "", Refused, 0, "refused the user name and password"},
	{200, strings.Replace(etnaExpired, "Failed", "Succeeded", 1), "", Refused, 0, "the password has expired"},
	{202, strings.Replace(etnaExpired, "Failed", "Expecting", 1), "", Refused, 0, "the password has expired"},
	{200, `{"State":"BaseAuthentication","Reason":"Your Password has expired and must be changed","Token":"x"}`, "", Refused, 0, "the password has expired"},
	{500, etnaExpired, "", Refused, 0, "the password has expired"},
	{401, `{"State":"Failed","Step":"VerificationCode","Reason":"Corrupted ticket"}`, "", Refused, 0, "step VerificationCode"},
	{401, etnaBadPin, "", Refused, 0, `step SecutityPin: "Invalid pin"`},
	{401, etnaNoKey, "", Misconfigured, 0, `etna does not know the application key (HTTP 401 Unauthorized: "Application key is not defined or does not exist"): correct app_key`},
	{400, etnaNoKey, "", Misconfigured, 0, "correct app_key"},
	{403, etnaNoKey, "", Misconfigured, 0, "correct app_key"},
	{403, ``, "", Misconfigured, 0, "etna does not accept the application key (HTTP 403 Forbidden, an empty body): correct app_key"},
	{404, ``, "", Misconfigured, 0, "check url"},
	{404, htmlBody, "", Misconfigured, 0, "check url"},
	{405, `{"Message":"The requested resource does not support http method 'POST'."}`, "", Misconfigured, 0, "check url"},
	{429, ``, "Retry-After: 30", Throttled, 30 * time.Second, "limits the rate"},
	{429, ``, "", Throttled, 0, "limits the rate"},
	{429, ``, "X-RateLimit-Reset: 1", Throttled, 0, "limits the rate"},
	{429, ``, "X-RateLimit-Reset: 253402300799", Throttled, time.Hour, "limits the rate"},
	{429, ``, "X-RateLimit-Reset: 99999999999999", Throttled, 0, "limits the rate"},
	{429, ``, "X-RateLimit-Reset: soon", Throttled, 0, "limits the rate"},
	{500, `{"message":"An error occurred while processing your request"}`, "", Transient, 0, `HTTP 500 Internal Server Error: "An error occurred while processing your request"`},
	{502, htmlBody, "", Transient, 0, "HTTP 502"},
	{503, ``, "", Transient, 0, "HTTP 503"},
	{503, ``, "Retry-After: 7", Throttled, 7 * time.Second, "HTTP 503"},
	{504, ``, "", Transient, 0, "HTTP 504"},
	{200, `{"State":"Succeeded"}`, "", Malformed, 0, "there is none"},
	{200, `{"State":"Succeeded","Token":""}`, "", Malformed, 0, "there is none"},
	{200, `{"State":"Succeeded","Token":"a\r\nX: y"}`, "", Malformed, 0, "0x0d"},
	{200, `{"State":"Pondering","Token":"x"}`, "", Malformed, 0, `etna answered with the unknown State "Pondering"`},
	{200, `{"Token":"x"}`, "", Malformed, 0, "answered without a token"},
	{200, `{"State":7,"Token":"x"}`, "", Malformed, 0, "answered without a token"},
	{200, htmlBody, "", Malformed, 0, "an HTML page"},
	{202, `{"State":"Expecting","Step":"VerificationCode"}`, "", Malformed, 0, "without an interim token"},
	{202, `{"State":"Expecting","Step":"VerificationCode","Token":"a b"}`, "", Malformed, 0, "without a usable interim token"},
	// The State speaks before the status, as far as that allows.
	{200, etnaNoUser, "", Refused, 0, "refused the user name and password"},
	{403, etnaNoUser, "", Refused, 0, "refused the user name and password"},
	{500, etnaNoUser, "", Transient, 0, "failed (HTTP 500"},
	{503, etnaAskCode, "", Transient, 0, "HTTP 503"},
	{429, etnaAskCode, "", Throttled, 0, "limits the rate"},
	{401, etnaSuccess, "", Refused, 0, "refused the user name and password"},
	{500, etnaSuccess, "", Transient, 0, "failed"},
	{202, `{"State":"Expecting","Step":"BaseAuthentication","Reason":"Accept the terms","Token":"x"}`, "", Refused, 0, `etna asks for what no login can give (HTTP 202, step BaseAuthentication: "Accept the terms"): log in at the web terminal`},
	{401, `{"Message":"Authorization has been denied for this request."}`, "", Refused, 0, "Authorization has been denied"},
	{401, ``, "", Refused, 0, "an empty body"},
	{423, `{"message":"Locked"}`, "", Refused, 0, "has locked the account"},
	// What does not come from the API is not final.
	{401, htmlBody, "", Blocked, 0, "something in front of it"},
	{403, htmlBody, "", Blocked, 0, "something in front of it"},
	{302, ``, "Location: https://login.example/x?y", Misconfigured, 0, "redirects to https://login.example (HTTP 302"},
	{302, etnaNoUser, "", Misconfigured, 0, "redirects"},
	{407, etnaNoUser, "", Misconfigured, 0, "the proxy wants"},
	// It may repeat what it was given.
	{401, `{"State":"Failed","Step":"the pass-word","Reason":"the-app-key or the pass-word"}`, "", Refused, 0, `(HTTP 401, step [withheld: it repeats a secret]: "[withheld: it repeats a secret]")`},
}

func TestEtnaAnswers(t *testing.T) {
	for _, test := range etnaAnswers {
		t.Run(test.name(), func(t *testing.T) {
			url, seen := etnaServer(t, turn{test.status, test.body, test.header})
			_, err := Login(t.Context(), etnaAt(t, url, withPin, withCode), nil)
			e := wantError(t, err, test.class, test.text)
			if e.RetryAfter != test.wait || e.Status != test.status || e.Sent != (test.status != 407) || len(seen()) != 1 {
				t.Errorf("waits %v, want %v; status %d, sent %v, %d requests", e.RetryAfter, test.wait, e.Status, e.Sent, len(seen()))
			}
			for _, secret := range []string{"the-app-key", "the pass-word", "for-the-change-alone"} {
				if strings.Contains(e.Error(), secret) {
					t.Errorf("error %q shows %q", e, secret)
				}
			}
		})
	}
}

// TestEtnaReset asserts that the end of a rate limit is read by the server's clock.
func TestEtnaReset(t *testing.T) {
	for _, ahead := range []time.Duration{-3 * time.Hour, 0, 3 * time.Hour} {
		theirs := time.Now().Add(ahead)
		url := serve(t, reply(429, ``, "Date: "+theirs.UTC().Format(http.TimeFormat), fmt.Sprintf("X-RateLimit-Reset: %d", theirs.Unix()+40)))
		_, err := Login(t.Context(), etnaAt(t, url), nil)
		if e := wantError(t, err, Throttled); e.RetryAfter < 35*time.Second || e.RetryAfter > 42*time.Second {
			t.Errorf("%v ahead: waits %v", ahead, e.RetryAfter)
		}
	}
}

// TestEtnaTurnedDown asserts what follows from a no to an answer: a configured one is
// never sent twice, a person's ends the ticket.
func TestEtnaTurnedDown(t *testing.T) {
	byPerson := func(name string, last turn, class Class, text string) etnaTest {
		return etnaTest{name: "person: " + name, answer: personAnswer("VerificationCode"), turns: []turn{last}, requests: []string{personsCode}, class: class, text: text}
	}
	tests := []etnaTest{
		{name: "code, by 401", turns: []turn{askCode, {401, etnaBadCode, ""}}, settings: all, requests: []string{"", codeToSecond}, class: Refused, text: `etna refused the configured code (HTTP 401, step VerificationCode: "Invalid code"): correct it`},
		{name: "code, by another 202", turns: []turn{askCode, askCode}, settings: all, requests: []string{"", codeToSecond}, class: Refused, text: "refused the configured code (HTTP 202"},
		{name: "PIN, by 401", turns: []turn{askPin, {401, etnaBadPin, ""}}, settings: all, requests: []string{"", pinToFirst}, class: Refused, text: `refused the configured pin (HTTP 401, step SecutityPin: "Invalid pin")`},
		{name: "PIN, by another 202", turns: []turn{askPin, askPin}, settings: all, requests: []string{"", pinToFirst}, class: Refused, text: "refused the configured pin"},
		{name: "PIN, by a 202 in the other spelling", turns: []turn{askPin, {202, strings.Replace(etnaAskPin, "Secutity", "Security", 1), ""}}, settings: all, requests: []string{"", pinToFirst}, class: Refused, text: "refused the configured pin"},
		{name: "code, asked again after the PIN", turns: []turn{askCode, askPin, askCode}, settings: all, requests: []string{"", codeToSecond, pinToFirst}, class: Refused, text: "refused the configured code"},
		{name: "code, by a bare 401", turns: []turn{askCode, {401, ``, ""}}, settings: all, requests: []string{"", codeToSecond}, class: Refused, text: "refused the configured code (HTTP 401 Unauthorized, an empty body)"},
		{name: "code, by an echo", turns: []turn{askCode, {401, `{"State":"Failed","Reason":"code-123456 ` + etnaSecond + `"}`, ""}}, settings: all, requests: []string{"", codeToSecond}, class: Refused, text: `"[withheld: it repeats a secret]"`},
		{name: "outage after the code", turns: []turn{askCode, {503, ``, ""}}, settings: all, requests: []string{"", codeToSecond}, class: Transient, text: "HTTP 503"},
		{
			name: "PIN after a person's code", answer: personAnswer("VerificationCode"), turns: []turn{askPin, {401, etnaBadPin, ""}}, settings: pinOnly,
			requests: []string{personsCode, pinToFirst}, class: Refused, text: "refused the configured pin",
		},
		byPerson("wrong code", turn{401, etnaBadCode, ""}, TicketGone, `etna refused the answer and ended the login (HTTP 401, step VerificationCode: "Invalid code")`),
		byPerson("ticket", turn{401, `{"State":"Failed","Step":"VerificationCode","Reason":"Corrupted ticket"}`, ""}, TicketGone, "Corrupted ticket"),
		byPerson("bare 401", turn{401, ``, ""}, TicketGone, "an empty body"),
		byPerson("echo", turn{401, `{"State":"Failed","Reason":"654321 ticket-0"}`, ""}, TicketGone, `"[withheld: it repeats a secret]"`),
		byPerson("credentials", turn{401, etnaNoUser, ""}, Refused, "refused the user name and password"),
		byPerson("expired", turn{401, etnaExpired, ""}, Refused, "the password has expired"),
		byPerson("app key", turn{401, etnaNoKey, ""}, Misconfigured, "correct app_key"),
		byPerson("locked", turn{423, ``, ""}, Refused, "has locked the account"),
		byPerson("firewall", turn{401, htmlBody, ""}, Blocked, "something in front of it"),
		byPerson("rate limit", turn{429, ``, ""}, Throttled, "limits the rate"),
		byPerson("outage", turn{502, ``, ""}, Transient, "HTTP 502"),
	}
	for _, test := range tests {
		t.Run(test.name, test.check)
	}
}

// TestEtnaSourceFails asserts that a source without a code is not a refusal, that
// nothing is sent for it, and that the next login is not at once.
func TestEtnaSourceFails(t *testing.T) {
	for _, test := range []struct {
		text, want string
		err        error
	}{
		{"", "etna asks for a code, and getting it from its source went wrong: [withheld: it repeats a secret]", errors.New("code: exit status 1,\nthe pass-word")},
		{" \n", "it is empty", nil},
		{"line\nline", "it has a blank", nil},
	} {
		url, seen := etnaServer(t, askCode)
		_, err := Login(t.Context(), etnaAt(t, url, withSource(test.text, test.err)), nil)
		e := wantError(t, err, Transient, test.want)
		if e.RetryAfter != time.Minute || !e.Sent || len(seen()) != 1 {
			t.Errorf("waits %v, sent %v, %d requests", e.RetryAfter, e.Sent, len(seen()))
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	url, _ := etnaServer(t, askCode)
	_, err := Login(ctx, etnaAt(t, url, func(s *Settings) {
		s.Late = map[string]Source{"code": func(ctx context.Context, _ time.Time) (Secret, error) {
			cancel()
			return Secret{}, errors.New("killed")
		}}
	}), nil)
	if e := wantError(t, err, Transient, "was given up"); !errors.Is(e, context.Canceled) {
		t.Errorf("error is %v", e)
	}
}

func TestEtnaSettings(t *testing.T) {
	bad := map[string]string{
		" x": "white space", "x\t": "white space", "x\n": "white space", "x\r\nX: y": "cannot carry", "a\x00b": "cannot carry",
		"a\tb": "cannot carry", "a\x7fb": "cannot carry", "пароль": "cannot carry", "\u00a0x": "white space",
	}
	kind, _ := Lookup("etna")
	for _, key := range []string{"app_key", "username", "password", "pin"} {
		set := func(text string) Settings {
			return etnaSettings(t, "https://api.example", func(s *Settings) {
				if key == "username" {
					s.Values[key] = text
				} else {
					s.Secrets[key] = NewSecret(text)
				}
			})
		}
		for text, want := range bad {
			_, err := kind.New(set(text))
			if err == nil || !strings.HasPrefix(err.Error(), key+": ") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), text) {
				t.Errorf("%s %q: error is %v", key, text, err)
			}
		}
		if _, err := kind.New(set("~ fine !")); err != nil {
			t.Errorf("%s: %v", key, err)
		}
	}
}

func FuzzEtnaAnswer(f *testing.F) {
	const secret = "Zx-secret-of-etna-Zx"
	for _, body := range []string{
		etnaSuccess, etnaAskPin, etnaAskCode, etnaBadPin, etnaNoUser, etnaExpired, etnaNoKey, htmlBody, "", `{"State":"Expecting","Token":"\n"}`,
		`{"State":"Expecting","Step":"` + secret + `","Reason":"` + secret + `","Token":"x"}`, `{"State":"Expecting","Reason":"PIN code is not init"}`,
	} {
		for _, status := range []int{200, 202, 401, 403, 429, 503} {
			f.Add(status, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "5", []byte(body))
		}
	}
	for _, body := range hostileBodies("etna") {
		f.Add(200, "application/json", "Sun, 01 Mar 2026 12:00:30 GMT", "-1", body)
	}
	f.Fuzz(func(t *testing.T, status int, kind, date, wait string, body []byte) {
		k, _ := Lookup("etna")
		for _, settings := range []Settings{
			{Secrets: map[string]Secret{"app_key": NewSecret("k"), "password": NewSecret(secret)}},
			{Secrets: map[string]Secret{"app_key": NewSecret(secret), "password": NewSecret("Zx-other-Zx"), "pin": NewSecret("Zx-pin-Zx")}},
		} {
			withCode(&settings)
			if settings.Secrets["pin"].Empty() {
				settings.Late = nil
			}
			header := fuzzHeader(kind, date, wait)
			header.Set("X-RateLimit-Reset", wait)
			settings.URL, settings.Values, settings.Transport = "https://api.example", map[string]string{"username": "alice"}, canned{status, header, body}
			fuzzAnswer(t, "etna", secret, settings, 24*time.Hour)
			p, err := k.New(settings)
			if err != nil {
				t.Fatal(err)
			}
			answer := &Answer{Challenge: Challenge{Step: "VerificationCode", Ticket: NewSecret(secret)}, Text: NewSecret("1234")}
			fuzzOutcome(t, secret, 24*time.Hour, func() (Token, error) { return p.Login(t.Context(), answer) })
		}
	})
}
