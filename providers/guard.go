package providers

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
)

// Login calls p.Login and keeps its promises for it. Every error is an *Error or
// a *Challenge, also when the provider panics; without one the token has a value
// and an expiry.
func Login(ctx context.Context, p Provider, answer *Answer) (Token, error) {
	return guard(ctx, func() (Token, error) { return p.Login(ctx, answer) })
}

// Refresh calls p.Refresh as Login calls p.Login. A prev without a refresh token
// is RefreshRefused, and nothing is sent.
func Refresh(ctx context.Context, p Refresher, prev Token) (Token, error) {
	if prev.Refresh.Empty() {
		return Token{}, &Error{Class: RefreshRefused, Err: errors.New("there is no refresh token to use")}
	}
	return guard(ctx, func() (Token, error) { return p.Refresh(ctx, prev) })
}

func guard(ctx context.Context, renew func() (Token, error)) (token Token, err error) {
	defer func() {
		if r := recover(); r != nil {
			token, err = Token{}, panicked(r)
		}
	}()
	token, err = renew()
	if err != nil {
		return Token{}, settle(ctx, err)
	}
	if token.Value.Empty() || token.Expires.IsZero() {
		return Token{}, &Error{Class: Malformed, Sent: true, Err: errors.New("the provider returned no token, and no error (a fault of tokend)")}
	}
	return token, nil
}

// settle makes an *Error or a *Challenge of any error.
func settle(ctx context.Context, err error) error {
	var challenge *Challenge
	if errors.As(err, &challenge) && challenge != nil {
		return challenge
	}
	var known *Error
	if errors.As(err, &known) && known != nil && known.Err != nil {
		return known
	}
	if ctx.Err() != nil {
		return &Error{Class: Transient, Sent: true, Err: fmt.Errorf("the renewal was given up: %w", ctx.Err())}
	}
	// The text is not shown: nobody has masked it.
	return &Error{Class: Malformed, Sent: true, Err: fmt.Errorf("the provider ended with an error of no class, %T (a fault of tokend)", err)}
}

// panicked describes a panic. The text of a value may hold a secret, so only
// those of the runtime are shown, which hold indexes and types.
func panicked(r any) *Error {
	what := fmt.Sprintf("%T", r)
	if fault, ok := r.(runtime.Error); ok {
		what = fault.Error()
	}
	return &Error{Class: Malformed, Sent: true, Err: fmt.Errorf("the provider panicked at %s: %s (a fault of tokend)", panicSite(), what)}
}

// panicSite is the function and line that panicked, without the arguments that a
// printed stack would show.
func panicSite() string {
	callers := make([]uintptr, 64)
	frames := runtime.CallersFrames(callers[:runtime.Callers(2, callers)])
	thrown := false
	for {
		frame, more := frames.Next()
		switch {
		case frame.Function == "runtime.gopanic":
			thrown = true
		case thrown && !strings.HasPrefix(frame.Function, "runtime."):
			return fmt.Sprintf("%s (%s:%d)", filepath.Base(frame.Function), filepath.Base(frame.File), frame.Line)
		}
		if !more {
			return "an unknown place"
		}
	}
}
