package store

import (
	"fmt"
	"io"
	"log/slog"
	"time"
)

// Record is what tokend remembers of one credential. Its fields are plain values
// on purpose: a type that hides itself when encoded would be saved hidden. So its
// JSON is for sealing alone; printed and logged it says nothing of its fields, but
// nothing that fmt does hides it in an unexported field of something else.
//
// All times are this host's wall clock.
type Record struct {
	// Identity is a keyed hash (Store.Hash) of whose token this is. Account is one of
	// that together with the secrets: whose failures and budget these are. Login is
	// the Account that the token came from.
	Identity string `json:"identity,omitempty"`
	Account  string `json:"account,omitempty"`
	Login    string `json:"login,omitempty"`

	Token          string        `json:"token,omitempty"`
	Refresh        string        `json:"refresh,omitempty"`
	Issued         time.Time     `json:"issued,omitzero"`
	Expires        time.Time     `json:"expires,omitzero"`
	RefreshIssued  time.Time     `json:"refresh_issued,omitzero"` // of Refresh, which may be older than Token
	RefreshExpires time.Time     `json:"refresh_expires,omitzero"`
	Skew           time.Duration `json:"skew,omitempty"` // provider's clock minus ours
	LastRenewal    time.Time     `json:"last_renewal,omitzero"`
	// KeepsRefresh: a refresh was once answered without a new refresh token, so the
	// server does not rotate them. NoRefresh: it has no refresh endpoint.
	KeepsRefresh bool `json:"keeps_refresh,omitempty"`
	NoRefresh    bool `json:"no_refresh,omitempty"`

	// Attempt is set before a request leaves and cleared by its outcome: found after
	// a crash it says that something may have been sent.
	Attempt *Attempt `json:"attempt,omitempty"`
	// Budget is when the login budget of Account is whole again.
	Budget time.Time `json:"budget,omitzero"`
	// Refusals are what must not be sent again by itself.
	Refusals []Refusal `json:"refusals,omitempty"`

	// Person: a login asks a person for a code, so only an operator has another one
	// made. CodeAsked is when the last code was asked for.
	Person    bool      `json:"person,omitempty"`
	CodeAsked time.Time `json:"code_asked,omitzero"`

	Failures int       `json:"failures,omitempty"` // failed renewals in a row
	Streak   int       `json:"streak,omitempty"`   // of them, the latest of the same class
	Class    string    `json:"class,omitempty"`    // of the latest failure
	Detail   string    `json:"detail,omitempty"`   // of the latest failure; holds no secret
	Next     time.Time `json:"next,omitzero"`      // no attempt before this

	// ReaderWait is the spacing of renewals that readers cause, ReaderNext when the
	// next may be.
	ReaderWait time.Duration `json:"reader_wait,omitempty"`
	ReaderNext time.Time     `json:"reader_next,omitzero"`

	// Removed is when the credential left the file; the rest is kept a day from then.
	Removed time.Time `json:"removed,omitzero"`
}

// Format writes the same for every record and verb.
func (r Record) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, hiddenRecord) }

// LogValue is what Format writes.
func (r Record) LogValue() slog.Value { return slog.StringValue(hiddenRecord) }

const hiddenRecord = "[record]"

// Attempt is a request that was about to be sent.
type Attempt struct {
	Kind string    `json:"kind"` // "login", "refresh" or "answer"
	At   time.Time `json:"at"`
}

// Refusal is a provider's no to one account.
type Refusal struct {
	Account string    `json:"account"`           // keyed hash of identity and secrets
	Request string    `json:"request,omitempty"` // and of the other settings, where these were at fault
	At      time.Time `json:"at"`
	Class   string    `json:"class"`
	Detail  string    `json:"detail"` // holds no secret
}
