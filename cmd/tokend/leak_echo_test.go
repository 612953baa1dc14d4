package main

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers"
)

// echo is an answer that repeats the secrets that the request brought: where %s is in
// the header or the body.
type echo struct {
	status       int
	header, body string
}

var echoes = []echo{
	{400, "", `{"code":3,"message":"bad secret %s"}`},
	{401, "", `{"code":16,"message":"%s","details":["%s"]}`},
	{401, "", `{"detail":"no account with %s"}`},
	{401, "", `{"State":"Failed","Step":"BaseAuthentication","Reason":"%s is wrong"}`},
	{401, "", `{"State":"%s","Step":"%s","Reason":"%s"}`},
	{401, "", `{"errors":[{"error":1006,"message":"%s"}]}`},
	{400, "", `{"errors":[{"error":"1005","message":"%s"}]}`},
	{400, "", `{"password":["%s","is short"],"%s":["unknown"]}`},
	{403, "Content-Type: text/html", `<html><title>%s</title><body>%s</body></html>`},
	{404, "", `no %s here`},
	{409, "", `{"error":"x","error_description":"%s"}`},
	{422, "Content-Encoding: %s", `%s`},
	{429, "Retry-After: %s", `{"statusCode":429,"message":"%s"}`},
	{500, "", `{"message":"An error occurred at %s`},
	{502, "Content-Type: %s", `<title>%s`},
	{307, "Location: https://user:%s@%s.example.com/%s", `moved to %s`},
	{302, "Location: %s", ``},
	{200, "", `{"token":"%s\n","access":"%s\n","State":"Succeeded","Token":"%s\n","message":"%s"}`},
	{200, "", `{"token":{"x":"%s"},"access":["%s"],"State":"%s","Token":7,"message":"%s"}`},
	{200, "", `%s`},
	{202, "", `{"State":"Expecting","Step":"%s","Reason":"%s","Token":"%s"}`},
	{202, "", `{"State":"Expecting","Step":"VerificationCode","Reason":"sent to %s","Token":"%s"}`},
	{202, "", `{"State":"BaseAuthentication","Step":"BaseAuthentication","Reason":"Your Password %s has expired","Token":"%s"}`},
}

// garbles are the forms in which servers repeat a text.
var garbles = []func(string) string{
	func(s string) string { return s },
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) },
	func(s string) string { return base64.URLEncoding.EncodeToString([]byte(`{"x":"` + s + `"}`)) },
	func(s string) string { return fmt.Sprintf("%x", s) },
	func(s string) string { return fmt.Sprintf("%X", s) },
	url.QueryEscape,
	func(s string) string { return strings.NewReplacer("<", "%3c", "+", "%2b", `"`, "%22").Replace(s) },
	html.EscapeString,
	func(s string) string { return html.EscapeString(fmt.Sprintf("%q", fmt.Sprintf("%q", s))) },
	func(s string) string { return fmt.Sprintf("%q", s) },
	func(s string) string { return s[:len(s)/2] + "\a\u200b" + s[len(s)/2:] },
	func(s string) string { return strings.Repeat("x", 180) + s },
}

// sentSecrets are those that a login request brought, and the tickets in it.
func sentSecrets(r *http.Request) (secrets []string) {
	var fields map[string]string
	body, _ := io.ReadAll(r.Body) // what did not come is no secret either
	if json.Unmarshal(body, &fields) == nil {
		for _, name := range []string{"secret", "password", "refresh"} {
			secrets = append(secrets, fields[name])
		}
	}
	for _, name := range []string{"Et-App-Key", "Password", "VerificationCode", "PinCode"} {
		secrets = append(secrets, r.Header.Get(name))
	}
	return append(secrets, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
}

// repeat answers calls below /ECHO/GARBLE with that echo.
func repeat(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(r.URL.Path, "/")
	nth, _ := strconv.Atoi(parts[1])
	how, _ := strconv.Atoi(parts[2])
	var said []string
	for _, secret := range sentSecrets(r) {
		if secret != "" {
			said = append(said, garbles[how](secret))
		}
	}
	e, text := echoes[nth], strings.Join(said, " ")
	if name, value, given := strings.Cut(e.header, ": "); given {
		w.Header().Set(name, strings.ReplaceAll(value, "%s", text))
	}
	w.WriteHeader(e.status)
	if strings.HasPrefix(e.body, "{") {
		quoted, _ := json.Marshal(text) // a string always encodes
		text = string(quoted[1 : len(quoted)-1])
	}
	io.WriteString(w, strings.ReplaceAll(e.body, "%s", text))
}

// echoSettings are a credential's whose secrets are in the hoard.
func echoSettings(h *hoard, kind *providers.Kind, base string) providers.Settings {
	s := providers.Settings{URL: base, Timeout: longest, Values: map[string]string{}, Secrets: map[string]providers.Secret{}}
	for _, key := range kind.Keys {
		switch {
		case key.Secret:
			s.Secrets[key.Name] = providers.NewSecret(h.plant(kind.Name + "'s " + key.Name))
		case key.Required, key.Name == "email":
			s.Values[key.Name] = "ops@example.com"
		}
	}
	return s
}

// Whatever a server repeats of what it was sent, no error and no challenge has it.
func TestEchoes(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(repeat))
	defer server.Close()
	for k, kind := range providers.Kinds() {
		h := newHoard()
		for nth := range echoes {
			for how := range garbles {
				if (nth+how+k)%3 > 0 {
					continue // each echo in some form with each kind is enough
				}
				p, err := kind.New(echoSettings(h, kind, fmt.Sprintf("%s/%d/%d", server.URL, nth, how)))
				if err != nil {
					t.Fatal(err)
				}
				answers := []*providers.Answer{nil}
				if kind.Person != "" {
					ticket, text := h.plant("a ticket"), h.plant("an answer")
					answers = append(answers, &providers.Answer{
						Challenge: providers.Challenge{Step: "VerificationCode", Ticket: providers.NewSecret(ticket)}, Text: providers.NewSecret(text),
					})
				}
				for _, answer := range answers {
					_, err := providers.Login(t.Context(), p, answer)
					where := fmt.Sprintf("%s, echo %d, garbled %d", kind.Name, nth, how)
					checkError(t, h, where, err)
				}
				if r, can := p.(providers.Refresher); can {
					value, fresh := h.plant("a token"), h.plant("a refresh token")
					_, err := providers.Refresh(t.Context(), r, providers.Token{Value: providers.NewSecret(value), Refresh: providers.NewSecret(fresh), Expires: time.Now()})
					checkError(t, h, kind.Name+", refresh", err)
				}
			}
		}
	}
}

// checkError looks at an error of a provider as the keeper, the log and a person see it.
func checkError(t *testing.T, h *hoard, where string, err error) {
	t.Helper()
	if err == nil {
		return // what it repeated was taken for a token
	}
	text := fmt.Sprintf("%v %+v %#v %q", err, err, err, err)
	if c, asks := err.(*providers.Challenge); asks { //nolint:errorlint // providers.Login promises it
		text += c.Step + " " + c.Prompt
	}
	h.check(t, where, text)
}
