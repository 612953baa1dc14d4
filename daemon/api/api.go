// Package api is what crosses tokend's socket: the JSON documents, the one table
// of error codes, and a lean client.
//
// It is the only package that both binaries share, and the only one of tokend
// that other programs should import. It links neither net/http nor anything
// outside the standard library, because a script pays for what tokenctl links
// every time it asks for a token.
//
// Times are RFC 3339 in UTC and in the clock of the host that runs tokend; an
// absent time is left out. Clients must ignore fields that they do not know.
package api

import (
	"fmt"
	"io"
	"time"
)

// State says how things stand with a credential.
type State string

// The states of a credential.
const (
	// StateFresh is a usable token whose last renewal went well.
	StateFresh State = "fresh"
	// StateStale is a usable token whose renewal is failing.
	StateStale State = "stale"
	// StatePending is no usable token; a renewal is under way or scheduled.
	StatePending State = "pending"
	// StateChallenge waits for a person's answer.
	StateChallenge State = "challenge"
	// StateRefused tries nothing until the secrets change or an operator says retry.
	StateRefused State = "refused"
	// StateIdle is a lazy credential that nobody has asked for.
	StateIdle State = "idle"
	// StateRemoved appears in the watch stream only: the credential is gone,
	// or the caller may no longer see it.
	StateRemoved State = "removed"
)

// States lists the states that a credential can be in, in the order of a healthy
// to an unhealthy one; metrics have a series for each.
var States = []State{StateFresh, StateStale, StatePending, StateChallenge, StateRefused, StateIdle}

// Header is one HTTP header that callers of the API send with the token.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"` // contains the token
}

// String names the header without its value, so that a logged Header discloses nothing.
func (h Header) String() string { return h.Name + ": [token]" }

// Format writes String, whatever the verb.
func (h Header) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, h.String()) }

// Token answers GET /v1/tokens/{name}.
type Token struct {
	Name        string    `json:"name"`
	Token       string    `json:"token"`
	Fingerprint string    `json:"fingerprint"`
	IssuedAt    time.Time `json:"issued_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Headers     []Header  `json:"headers"`
	State       State     `json:"state"`
}

// String names the token by its fingerprint, so that a logged Token discloses nothing.
func (t Token) String() string {
	return fmt.Sprintf("token of %s (%s, expires %s)", t.Name, t.Fingerprint, t.ExpiresAt.Format(time.RFC3339))
}

// Format writes String, whatever the verb.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.String()) }

// Status describes a credential; it never holds a token.
type Status struct {
	Name        string       `json:"name"`
	Provider    string       `json:"provider,omitempty"`
	State       State        `json:"state"`
	Usable      bool         `json:"usable"`
	Fingerprint string       `json:"fingerprint,omitempty"`
	IssuedAt    time.Time    `json:"issued_at,omitzero"`
	ExpiresAt   time.Time    `json:"expires_at,omitzero"`
	RenewAt     time.Time    `json:"renew_at,omitzero"`     // next renewal or next try
	LastRenewal time.Time    `json:"last_renewal,omitzero"` // last one that went well
	Failures    int          `json:"failures"`              // failed renewals in a row
	Saved       bool         `json:"saved"`                 // false: the store does not hold this state
	SkewSeconds int          `json:"skew_seconds"`          // provider's clock minus this host's
	Challenge   *Challenge   `json:"challenge,omitempty"`
	Error       *StatusError `json:"error,omitempty"`
}

// Challenge is what a provider wants a person to answer.
type Challenge struct {
	Step      string    `json:"step"`
	Prompt    string    `json:"prompt"`
	ExpiresAt time.Time `json:"expires_at,omitzero"`
}

// StatusError says in a Status what is wrong.
type StatusError struct {
	Code   Code   `json:"code"`
	Detail string `json:"detail"`
}

// Credentials answers GET /v1/credentials.
type Credentials struct {
	Credentials []Status `json:"credentials"`
}

// RenewRequest is the body of POST /v1/credentials/{name}/renew. With a
// fingerprint it says "the API rejected this token"; without one it is an
// operator's "renew now".
type RenewRequest struct {
	Fingerprint string `json:"fingerprint,omitempty"`
}

// AnswerRequest is the body of POST /v1/credentials/{name}/answer: what a person was
// sent, for the challenge that is pending.
type AnswerRequest struct {
	Answer string `json:"answer"`
}

// String says that there is an answer, so that a logged AnswerRequest discloses nothing.
func (AnswerRequest) String() string { return "answer: [secret]" }

// Format writes String, whatever the verb.
func (r AnswerRequest) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, r.String()) }

// Reloaded answers POST /v1/reload: how many credentials the new file added,
// changed, removed and kept.
type Reloaded struct {
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Removed int `json:"removed"`
	Kept    int `json:"kept"`
}

// Problem is one thing wrong with the credentials file. Line and Column count
// from 1; a problem of the file as a whole has neither.
type Problem struct {
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
	Key    string `json:"key,omitempty"`
	Detail string `json:"detail"`
}

// String is the problem as compilers print theirs: FILE:LINE:COL: KEY: DETAIL.
func (p Problem) String() string {
	s := p.File
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
	if p.Key != "" {
		s += ": " + p.Key
	}
	return s + ": " + p.Detail
}

// Whoami answers GET /v1/whoami: the caller as the kernel describes it, and what
// the rules grant it.
type Whoami struct {
	UID    uint32   `json:"uid"`
	User   string   `json:"user,omitempty"`
	GID    uint32   `json:"gid"`
	GIDs   []uint32 `json:"gids"` // all groups, GID first, as `id -G` lists them
	PID    int32    `json:"pid"`
	Unit   string   `json:"unit,omitempty"`
	Grants []Grant  `json:"grants"`
}

// Grant is one credential on which the caller has rights, and the rule that gave them.
type Grant struct {
	Name   string   `json:"name"`
	Rights []string `json:"rights"`
	Rule   string   `json:"rule"`
}

// Health answers GET /v1/health.
type Health struct {
	Version       string        `json:"version"`
	UptimeSeconds int64         `json:"uptime_seconds"`
	Credentials   map[State]int `json:"credentials"`
	Config        ConfigHealth  `json:"config"`
}

// ConfigHealth says when the file in force was loaded, and why the one on disk is
// not in force, if it is not.
type ConfigHealth struct {
	LoadedAt time.Time `json:"loaded_at,omitzero"`
	Error    string    `json:"error,omitempty"`
}

// ValidName says whether a credential may be called so: [A-Za-z0-9][A-Za-z0-9_-]{0,63}.
func ValidName(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case (c == '_' || c == '-') && i > 0:
		default:
			return false
		}
	}
	return true
}
