package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
)

const clear = "hunter2-Hunter2"

// leaks says whether a text shows the secret, in any of the ways in which fmt and
// the encoders write a string.
func leaks(text string) bool {
	for _, form := range []string{
		clear, fmt.Sprintf("%x", clear), fmt.Sprintf("%X", clear), fmt.Sprintf("% x", clear),
		fmt.Sprint([]byte(clear)), strings.Trim(fmt.Sprintf("%#v", []byte(clear)), "[]byte{}"),
	} {
		if strings.Contains(text, form) {
			return true
		}
	}
	return false
}

type holder struct {
	Public  Secret
	private Secret
	Pointer *Secret
	Any     any
}

func secretsEverywhere() map[string]any {
	s := NewSecret(clear)
	h := holder{Public: s, private: s, Pointer: &s, Any: s}
	return map[string]any{
		"secret": s, "pointer": &s, "struct": h, "struct pointer": &h, "slice": []Secret{s}, "array": [1]Secret{s},
		"map": map[string]Secret{"k": s}, "map key": map[Secret]string{s: "v"}, "any": []any{s, &s, h},
		"token":     Token{Value: s, Refresh: s},
		"answer":    &Answer{Challenge: Challenge{Step: "x", Ticket: s}, Text: s},
		"challenge": &Challenge{Step: "x", Ticket: s},
		"settings":  Settings{Secrets: map[string]Secret{"password": s}},
		"provider":  &finam{&caller{Settings: Settings{Secrets: map[string]Secret{"secret": s}}}},
		"request":   request{hide: []Secret{s}},
		"error":     &Error{Err: fmt.Errorf("with %v %+v %#v %s %q: %w", s, h, &h, s, s, errors.New("x"))},
		"joined":    errors.Join(fmt.Errorf("one %v", h), &Challenge{Ticket: s}),
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	for name, value := range secretsEverywhere() {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "% x", "%d", "%t", "%o", "%f", "%p", "%T", "%c", "%U", "%5.1s", "%w"} {
			if text := fmt.Sprintf(verb, value); leaks(text) {
				t.Errorf("%s with %s is %s", name, verb, text)
			}
		}
		var out bytes.Buffer
		for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
			slog.New(handler).Info("x", "value", value, slog.Group("g", "value", value))
		}
		if leaks(out.String()) {
			t.Errorf("%s is logged as %s", name, out.String())
		}
		if text, _ := json.Marshal(value); leaks(string(text)) {
			t.Errorf("%s as JSON is %s", name, text)
		}
	}
}

func TestSecret(t *testing.T) {
	s := NewSecret(clear)
	if s.Reveal() != clear || s.Empty() || fmt.Sprint(s) != "[secret]" || fmt.Sprintf("%d|%#v", s, s) != "[secret]|[secret]" {
		t.Errorf("secret is %v", s)
	}
	var zero Secret
	if !zero.Empty() || zero.Reveal() != "" || fmt.Sprintf("<%v>", zero) != "<>" || NewSecret("") != zero {
		t.Errorf("empty secret is %v", zero)
	}
	if !s.Equal(NewSecret(clear)) || s.Equal(zero) || s.Equal(NewSecret(clear+"x")) || !zero.Equal(Secret{}) {
		t.Error("Equal is wrong")
	}
	if text, err := json.Marshal(s); err != nil || string(text) != `"[secret]"` {
		t.Errorf("JSON is %s, %v", text, err)
	}
	fmt.Fprint(io.Discard, s)
}

func TestClassNames(t *testing.T) {
	if got := fmt.Sprint(Malformed, Refused, Misconfigured, RefreshRefused, NoRefresh, Throttled, Transient, Blocked, TicketGone); got != "malformed refused misconfigured refresh-refused no-refresh throttled transient blocked ticket-gone" {
		t.Error(got)
	}
	if Class(-1).String() != "class--1" || Class(9).String() != "class-9" {
		t.Error("unknown classes have a name")
	}
}
