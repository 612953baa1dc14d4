package providers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// script is a Refresher that does as told.
type script func() (Token, error)

func (s script) Login(context.Context, *Answer) (Token, error) { return s() }
func (s script) Refresh(context.Context, Token) (Token, error) { return s() }

func TestGuard(t *testing.T) {
	good := Token{Value: NewSecret("t"), Expires: time.Now()}
	own := &Error{Class: Throttled, Status: 429, RetryAfter: time.Minute, Err: errors.New("slow down")}
	challenge := &Challenge{Step: "Pin"}
	var none *Error
	var list []int
	tests := []struct {
		name   string
		script script
		class  Class
		text   string
	}{
		{"own error", func() (Token, error) { return good, own }, Throttled, "slow down"},
		{"wrapped", func() (Token, error) { return good, fmt.Errorf("doing: %w", own) }, Throttled, "slow down"},
		{"other error", func() (Token, error) { return good, errors.New(testPassword) }, Malformed, "no class, *errors.errorString"},
		{"nil inside", func() (Token, error) { return good, none }, Malformed, "a fault of tokend"},
		{"no cause", func() (Token, error) { return good, &Error{Class: Refused} }, Malformed, "no class"},
		{"no value", func() (Token, error) { return Token{Expires: time.Now()}, nil }, Malformed, "no token, and no error"},
		{"no expiry", func() (Token, error) { return Token{Value: NewSecret("t")}, nil }, Malformed, "no token, and no error"},
		{"panic", func() (Token, error) { panic(testPassword) }, Malformed, "panicked at providers.TestGuard.func"},
		{"panic with an error", func() (Token, error) { panic(errors.New(testPassword)) }, Malformed, ": *errors.errorString ("},
		{"fault", func() (Token, error) { return Token{}, fmt.Errorf("%d", list[3]) }, Malformed, "(guard_test.go:"},
		{"fault's text", func() (Token, error) { return Token{}, fmt.Errorf("%d", list[3]) }, Malformed, "index out of range [3]"},
		{"nil map", func() (Token, error) { return Token{}, none.Err }, Malformed, "nil pointer"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			token, err := Login(t.Context(), test.script, nil)
			e := wantError(t, err, test.class, test.text)
			if token != (Token{}) {
				t.Error("an error came with a token")
			}
			if _, direct := err.(*Error); !direct { //nolint:errorlint // it is the promise that is tested
				t.Errorf("error is %T", err)
			}
			prev := Token{Refresh: NewSecret("r")}
			if _, err := Refresh(t.Context(), test.script, prev); err == nil || err.Error() != e.Error() && !strings.Contains(test.name, "fault") {
				t.Errorf("Refresh ends with %v", err)
			}
		})
	}
	if _, err := Login(t.Context(), script(func() (Token, error) { return good, fmt.Errorf("doing: %w", challenge) }), nil); err != error(challenge) { //nolint:errorlint // it is the promise that is tested
		t.Errorf("challenge ends as %v", err)
	}
	if token, err := Login(t.Context(), script(func() (Token, error) { return good, nil }), nil); err != nil || token != good {
		t.Errorf("success ends as %v, %v", token, err)
	}
}

func TestGuardWithEndedContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Login(ctx, script(func() (Token, error) { return Token{}, errors.New(testPassword) }), nil)
	if e := wantError(t, err, Transient, "given up"); !errors.Is(e, context.Canceled) || !e.Sent {
		t.Errorf("error is %v", e)
	}
}

func TestRefreshWithoutRefreshToken(t *testing.T) {
	_, err := Refresh(t.Context(), script(func() (Token, error) { panic("called") }), Token{Value: NewSecret("t")})
	if e := wantError(t, err, RefreshRefused, "no refresh token"); e.Sent {
		t.Error("something was sent")
	}
}
