package config

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"

	"github.com/tokend-project/tokend/providers"
)

// minPeriod and maxPeriod bound how long a code may be good for, in seconds. RFC 6238
// suggests 30.
const minPeriod, maxPeriod = 10, 120

// totpKey is what one-time codes are made from (RFC 6238).
type totpKey struct {
	secret  providers.Secret // base32 in capitals, without padding
	options totp.ValidateOpts
}

// parseTOTP reads a key: the secret in base32, as it is shown for typing, or an
// otpauth: URI, as it is in the QR code
// (https://github.com/google/google-authenticator/wiki/Key-Uri-Format).
func parseTOTP(text string) (totpKey, error) {
	text = strings.TrimSpace(text)
	if scheme, _, found := strings.Cut(text, ":"); found {
		switch strings.ToLower(scheme) {
		case "otpauth":
			return parseURI(text)
		case "otpauth-migration":
			return totpKey{}, errors.New("the key is an export of many keys: give the secret of one, in base32")
		}
	}
	secret, err := parseBase32(text)
	return totpKey{secret, totp.ValidateOpts{Period: 30, Digits: otp.DigitsSix}}, err
}

// parseBase32 is strict about what would give wrong codes for ever: decoders join
// lines, and drop the last character of a length that base32 cannot have.
func parseBase32(text string) (providers.Secret, error) {
	text = strings.ToUpper(strings.NewReplacer(" ", "", "-", "").Replace(text))
	text = strings.TrimRight(text, "=")
	if text == "" {
		return providers.Secret{}, errors.New("the key is empty")
	}
	if strings.Trim(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") != "" {
		return providers.Secret{}, errors.New("the key is neither base32 (letters and 2 to 7) nor an otpauth: URI")
	}
	switch len(text) % 8 {
	case 1, 3, 6:
		return providers.Secret{}, errors.New("the key is no whole base32: a character is missing, or one too many")
	}
	return providers.NewSecret(text), nil
}

// parseURI reads what the library would take, and refuses what it takes for
// something else: it knows defaults for all that it does not understand.
func parseURI(text string) (totpKey, error) {
	u, err := url.Parse(text)
	key, keyErr := otp.NewKeyFromURL(text)
	if err != nil || keyErr != nil { // whose texts repeat the URI
		return totpKey{}, errors.New("the key is no otpauth: URI")
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return totpKey{}, errors.New("the key is an otpauth: URI with a malformed query")
	}
	for _, name := range [...]string{"secret", "algorithm", "digits", "period"} {
		if len(query[name]) > 1 {
			return totpKey{}, fmt.Errorf("the key is an otpauth: URI with more than one %s", name)
		}
	}
	switch kind := strings.ToLower(key.Type()); {
	case kind == "hotp":
		return totpKey{}, errors.New("the key is a key for codes that are counted (hotp), not timed: have a totp key issued")
	case kind != "totp":
		return totpKey{}, errors.New("the key is an otpauth: URI of an unknown kind: it begins with otpauth://totp/")
	case query.Has("encoder"):
		return totpKey{}, errors.New("the key is an otpauth: URI for codes that are no digits (encoder)")
	case !query.Has("secret"):
		return totpKey{}, errors.New("the key is an otpauth: URI without a secret")
	}
	options, err := uriOptions(key, query)
	if err != nil {
		return totpKey{}, err
	}
	secret, err := parseBase32(key.Secret())
	if err != nil {
		return totpKey{}, errors.New("the key is an otpauth: URI whose secret is no base32")
	}
	return totpKey{secret, options}, nil
}

func uriOptions(key *otp.Key, query url.Values) (o totp.ValidateOpts, err error) {
	o = totp.ValidateOpts{Period: uint(key.Period()), Digits: key.Digits(), Algorithm: key.Algorithm()}
	if a := query.Get("algorithm"); query.Has("algorithm") && (o.Algorithm == otp.AlgorithmMD5 || !strings.EqualFold(a, o.Algorithm.String())) {
		return o, errors.New("the key is an otpauth: URI with an unknown algorithm: there are SHA1, SHA256 and SHA512")
	}
	if d := query.Get("digits"); query.Has("digits") && d != "6" && d != "8" {
		return o, errors.New("the key is an otpauth: URI with digits that are not 6 or 8")
	}
	if p, err := strconv.ParseUint(query.Get("period"), 10, 16); query.Has("period") && (err != nil || p < minPeriod || p > maxPeriod) {
		return o, fmt.Errorf("the key is an otpauth: URI with a period that is not from %d to %d seconds", minPeriod, maxPeriod)
	}
	return o, nil
}

// short says whether the key has less than the 80 bits of the shortest in use. RFC
// 4226 asks for 128.
func (k totpKey) short() bool { return len(k.secret.Reveal()) < 80/5 }

// mark is all that decides about the codes.
func (k totpKey) mark() providers.Secret {
	o := k.options
	return providers.NewSecret(fmt.Sprintf("totp %d %d %d %s", o.Period, o.Digits, o.Algorithm, k.secret.Reveal()))
}

// codes makes one-time codes, and each once: a server takes none a second time (RFC
// 6238, section 5.2), and a code that was turned down ends all trying. Keys are told
// apart by their marks, since several credentials may have one account. The zero
// value is ready.
type codes struct {
	mu   sync.Mutex
	last map[string]int64 // mark → the period whose code was given
}

// ahead is how many periods may be given away already. What is further ahead was
// given before the clock was set back.
const ahead = 4

// next waits for the next code if that of the time at was given before.
func (c *codes) next(ctx context.Context, key totpKey, at time.Time) (providers.Secret, error) {
	begins := time.Unix(c.take(key, at)*int64(key.options.Period), 0)
	if wait := begins.Sub(at); wait > 0 {
		due := time.NewTimer(wait)
		defer due.Stop()
		select {
		case <-due.C:
		case <-ctx.Done():
			return providers.Secret{}, fmt.Errorf("waiting for a code that was not used before: %w", ctx.Err())
		}
	}
	code, err := totp.GenerateCodeCustom(key.secret.Reveal(), begins, key.options)
	if err != nil {
		return providers.Secret{}, errors.New("the key gives no codes") // which it was read for
	}
	return providers.NewSecret(code), nil
}

// take is the period, counted from 1970, whose code is the caller's alone.
func (c *codes) take(key totpKey, at time.Time) int64 {
	period, mark := at.Unix()/int64(key.options.Period), key.mark().Reveal()
	c.mu.Lock()
	defer c.mu.Unlock()
	if last, used := c.last[mark]; used && last >= period && last-period < ahead {
		period = last + 1
	}
	if c.last == nil {
		c.last = make(map[string]int64)
	}
	c.last[mark] = period
	return period
}
