package providers

import (
	"crypto/subtle"
	"fmt"
	"log/slog"
)

// hidden is what a Secret shows of itself.
const hidden = "[secret]"

// Secret is a value that must not be shown. It prints, logs and marshals as a
// placeholder, however deep it sits in another value; Reveal is the only way to
// the text, so that every use can be found with grep. The zero Secret is empty.
type Secret struct {
	// A pointer, because fmt does not call the methods of unexported fields: there
	// it prints an address instead of the text.
	text *string
}

// NewSecret hides the text.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty says whether there is no text.
func (s Secret) Empty() bool { return s.text == nil }

// Equal compares the texts in a time that does not depend on where they differ.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String is the placeholder.
func (s Secret) String() string {
	if s.Empty() {
		return ""
	}
	return hidden
}

// Format writes the placeholder for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText is the placeholder: JSON and TOML encoders disclose nothing.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue is the placeholder.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }
