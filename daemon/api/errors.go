package api

import (
	"fmt"
	"time"
)

// Code names a kind of error. Scripts may rely on codes, and on the status and
// exit code of each.
type Code string

// The error codes; Codes says when each is used.
const (
	CodeInternal    Code = "internal"
	CodeUsage       Code = "usage"
	CodeUnknown     Code = "unknown"
	CodePending     Code = "pending"
	CodeRefused     Code = "refused"
	CodeChallenge   Code = "challenge"
	CodeDenied      Code = "denied"
	CodeUnreachable Code = "unreachable"
	CodeThrottled   Code = "throttled"
	CodeShort       Code = "short"
	CodeInvalid     Code = "invalid"
)

// CodeInfo is a row of the error table.
type CodeInfo struct {
	Code   Code
	Status int // of the HTTP answer; 0 if the code never crosses the socket
	Exit   int // of tokenctl
	Title  string
	When   string // for the man page
}

// codes is the one table that server, client and man page are made from.
var codes = []CodeInfo{
	{CodeInternal, 500, 1, "Internal error", "a fault of tokend's own"},
	{CodeUsage, 400, 2, "Bad request", "bad parameter, bad body, wrong method or path"},
	{CodeUnknown, 404, 3, "No such credential", "the credentials file has no credential of that name"},
	{CodePending, 503, 4, "No token yet", "no usable token yet; try again later"},
	{CodeRefused, 423, 5, "Refused by the provider", "the provider refused, and no usable token is left"},
	{CodeChallenge, 409, 6, "A person must answer", "a person must answer, and no usable token is left; also: nothing to answer, wrong answer"},
	{CodeDenied, 403, 7, "Not permitted", "the caller has no right to this"},
	{CodeUnreachable, 0, 8, "No daemon", "no daemon at the socket, or --timeout over"},
	{CodeThrottled, 429, 9, "Rate limited", "a rate limit holds the next attempt back"},
	{CodeShort, 503, 10, "Too little lifetime left", "less than min_ttl is left, and no better token could be had in time"},
	{CodeInvalid, 422, 11, "Invalid credentials file", "the credentials file has problems"},
}

// Codes returns the error table, in the order of the exit codes.
func Codes() []CodeInfo { return append([]CodeInfo(nil), codes...) }

// Info returns the code's row of the table; a code that this version does not
// know is treated as internal.
func (c Code) Info() CodeInfo {
	for _, info := range codes {
		if info.Code == c {
			return info
		}
	}
	return codes[0]
}

// typeBase begins the type URI of every problem; README.md has an anchor for each code.
const typeBase = "https://github.com/tokend-project/tokend#"

// Error is an RFC 9457 problem, and the error that every call through the socket ends with.
type Error struct {
	Type       string    `json:"type"`
	Title      string    `json:"title"`
	Status     int       `json:"status"`
	Detail     string    `json:"detail,omitempty"`
	Code       Code      `json:"code"`
	Name       string    `json:"name,omitempty"`
	Hint       string    `json:"hint,omitempty"`
	RetryAfter int       `json:"retry_after,omitempty"` // seconds
	Problems   []Problem `json:"problems,omitempty"`
}

// Errorf makes an Error of the code, with the formatted detail.
func Errorf(code Code, format string, args ...any) *Error {
	info := code.Info()
	return &Error{
		Type: typeBase + string(code), Title: info.Title, Status: info.Status,
		Code: code, Detail: fmt.Sprintf(format, args...),
	}
}

// Unknown is the error of a name that is no credential's.
func Unknown(name string) *Error {
	return Errorf(CodeUnknown, "the credentials file has no credential %q", name).For(name).
		WithHint("`tokenctl list` shows those on which you have a right")
}

// Stopping is the error of what a daemon that is about to end does not begin any more.
func Stopping() *Error { return Errorf(CodePending, "tokend is stopping").After(time.Second) }

// Error is the detail; the title where there is none.
func (e *Error) Error() string {
	if e.Detail != "" {
		return e.Detail
	}
	return e.Title
}

// For returns a copy that is about the named credential.
func (e *Error) For(name string) *Error {
	c := *e
	c.Name = name
	return &c
}

// WithHint returns a copy that tells the reader what to do.
func (e *Error) WithHint(format string, args ...any) *Error {
	c := *e
	c.Hint = fmt.Sprintf(format, args...)
	return &c
}

// After returns a copy that asks the caller to come back after d, rounded up to
// whole seconds and at least one.
func (e *Error) After(d time.Duration) *Error {
	c := *e
	c.RetryAfter = max(1, int((d+time.Second-1)/time.Second))
	return &c
}
