package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/config"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
	"github.com/tokend-project/tokend/store"
)

// verbs are all that fmt knows, and some that it does not.
var verbs = []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%o", "%b", "%c", "%U", "%t", "%e", "%p", "%T", "%10.5s", "%z"}

// holder is a value that has a secret somewhere in it.
type holder struct {
	name  string
	value any
	// deep is the value in places where fmt calls no methods; nil where it lies there as
	// it is, so that no code may print it (secrets_test.go at the top sees to that).
	deep any
	wire bool // its JSON crosses the socket, or is sealed
}

// buried is a value in the unexported fields of another one.
func buried[T any](v T) any {
	type inner struct{ one T }
	type grave struct {
		one     T
		many    []T
		named   map[string]T
		pointer *T
		deeper  inner
		any     any
	}
	return grave{v, []T{v}, map[string]T{"k": v}, &v, inner{v}, v}
}

func holders(t *testing.T, h *hoard) []holder {
	t.Helper()
	hide := func(what string) providers.Secret { return providers.NewSecret(h.plant(what)) }
	secret, plain := hide("a secret"), h.plant("a plain token")
	token := providers.Token{Value: hide("a token"), Refresh: hide("a refresh token")}
	challenge := providers.Challenge{Step: "s", Ticket: hide("a ticket")}
	answer := providers.Answer{Challenge: challenge, Text: hide("an answer")}
	failure := &providers.Error{Err: fmt.Errorf("with %v, %+v, %#v, %q", secret, token, &answer, challenge)} //nolint:errorlint // to be printed
	record := store.Record{Token: plain, Refresh: h.plant("a plain refresh token")}
	reader := keeper.Answer{JSON: []byte(plain), Text: []byte(plain), ETag: `"0123456789abcdef.1"`}
	header := api.Header{Name: "Authorization", Value: plain}
	given := api.Token{Name: "n", Token: plain, Headers: []api.Header{header}}
	request := api.AnswerRequest{Answer: plain}
	all := []holder{
		{"Secret", secret, buried(secret), false},
		{"Token", token, buried(token), false},
		{"Challenge", challenge, buried(challenge), false},
		{"Answer", answer, buried(answer), false},
		{"Error", failure, buried(*failure), false},
		{"Event", keeper.Event{Err: failure}, buried(keeper.Event{Err: failure}), false},
		{"Record", record, nil, true},
		{"keeper.Answer", reader, nil, true},
		{"api.Header", header, nil, true},
		{"api.Token", given, nil, true},
		{"api.AnswerRequest", request, nil, true},
	}
	for _, kind := range providers.Kinds() {
		settings := echoSettings(h, kind, "https://example.com")
		p, err := kind.New(settings)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, holder{kind.Name + "'s settings", settings, buried(settings), false}, holder{kind.Name + "'s provider", p, buried(p), false})
	}
	return append(all, loaded(t, h)...)
}

// loaded are the parts of a credentials file.
func loaded(t *testing.T, h *hoard) []holder {
	t.Helper()
	path := filepath.Join(t.TempDir(), "credentials.toml")
	if err := os.WriteFile(path, fmt.Appendf(nil, `
[credentials.broker]
provider = "etna"
url = "https://example.com"
username = "u"
app_key = %q
password = %q
pin = %q
code = { totp = "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U" }
proxy = "http://user:%s@127.0.0.1:1"
`, h.plant("an app key"), h.plant("a password"), h.plant("a PIN"), h.plant("a proxy's password")[:16]), 0o600); err != nil {
		t.Fatal(err)
	}
	h.add("the key of a totp", "MFRGGZDFMZTWQ2LKNNWG23TPOBYXE43U")
	loader := config.NewLoader(config.Options{Path: path})
	file, err := loader.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c := file.Credentials[0]
	return []holder{
		{"Credential", *c, nil, false},
		{"its Provider", c.Provider, buried(c.Provider), false},
		{"File", *file, nil, false},
		{"Loader", loader, buried(loader), false},
		{"Kind", *c.Kind, buried(*c.Kind), false},
	}
}

// Whatever holds a secret shows nothing of it by any verb, encoder or handler.
func TestHoldersHide(t *testing.T) {
	h := newHoard()
	for _, held := range holders(t, h) {
		forms := map[string]any{
			"itself": held.value, "in a slice": []any{held.value}, "in a map": map[string]any{"k": held.value}, "as a key": map[any]int{fmt.Sprint(held.value): 1},
			"in a field": struct{ Any any }{held.value}, "as a pointer": &held.value, "buried": held.deep,
			"in an error": errors.Join(fmt.Errorf("with %v %+v %#v %s %q %x %d", held.value, held.value, held.value, held.value, held.value, held.value, held.value)),
		}
		for where, form := range forms {
			for _, verb := range verbs {
				if verb == "%p" && held.deep == nil {
					continue // for which fmt asks no method either
				}
				h.check(t, fmt.Sprintf("%s, %s, by %s", held.name, where, verb), fmt.Sprintf(verb, form))
			}
			var out bytes.Buffer
			slog.New(slog.NewTextHandler(&out, nil)).Info("x", "value", form, slog.Group("g", "value", form))
			if !held.wire || where == "itself" && held.name != "api.Header" && held.name != "api.Token" && held.name != "api.AnswerRequest" {
				slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "value", form, slog.Group("g", "value", form))
			}
			h.check(t, held.name+", "+where+", logged", out.String())
			if text, err := json.Marshal(form); !held.wire {
				h.check(t, held.name+", "+where+", as JSON", fmt.Sprint(string(text), err))
			}
		}
	}
}
