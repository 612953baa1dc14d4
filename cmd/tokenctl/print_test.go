package main

import (
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func TestHuman(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                     "0s",
		0:                                "0s",
		999 * time.Millisecond:           "0s",
		59 * time.Second:                 "59s",
		time.Minute:                      "1m",
		90 * time.Second:                 "1m30s",
		9*time.Minute + 59*time.Second:   "9m59s",
		10*time.Minute + 59*time.Second:  "10m",
		14*time.Minute + 30*time.Second:  "14m",
		time.Hour + 59*time.Second:       "1h",
		time.Hour + 5*time.Minute:        "1h5m",
		23*time.Hour + 59*time.Minute:    "23h",
		24 * time.Hour:                   "1d",
		3*24*time.Hour + 4*time.Hour:     "3d4h",
		400*24*time.Hour + 4*time.Hour:   "400d",
		9*24*time.Hour + 59*time.Minute:  "9d",
		10*time.Hour - time.Millisecond:  "9h59m",
		time.Minute - time.Nanosecond:    "59s",
		100*time.Hour + 59*time.Minute:   "4d4h",
		10 * time.Minute:                 "10m",
		2*time.Hour + 30*time.Second:     "2h",
		10*24*time.Hour - time.Second:    "9d23h",
		time.Duration(1<<63 - 1):         "106751d",
		time.Hour - time.Second:          "59m",
		time.Hour + 59*time.Minute:       "1h59m",
		2 * time.Second:                  "2s",
		3*time.Minute + time.Millisecond: "3m",
	} {
		if got := human(d); got != want {
			t.Errorf("%v: got %q, want %q", d, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain äöü 日本 👍":        "plain äöü 日本 👍",
		"a\nb\tc\r":             "a b c ",
		"\x1b[31mred\x1b[0m":    "[31mred[0m",
		"\u009b31m":             "31m", // the one-character CSI
		"\x00\x07\x7f":          "",
		"a\u202eb\u2066c":       "abc", // turn the direction of text
		"a\u00a0b\u2028c":       "a b c",
		"\xff\xfe":              "\uFFFD",
		"zero\u200bwidth\ufeff": "zerowidth",
	} {
		if got := clean(in); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
}

func TestCut(t *testing.T) {
	for _, tt := range []struct {
		text string
		most int
		want string
	}{
		{"abc", 3, "abc"},
		{"abcd", 3, "ab…"},
		{"abcd", 1, "…"},
		{"abcd", 0, ""},
		{"abcd", -1, ""},
		{"", 0, ""},
		{"日本語", 6, "日本語"},
		{"日本語", 5, "日本…"},
		{"日本語", 4, "日…"},
		{"e\u0301e\u0301", 2, "e\u0301e\u0301"}, // combining accents take no room
		{"👍👍", 3, "👍…"},
	} {
		got := cut(tt.text, tt.most)
		if got != tt.want {
			t.Errorf("%q to %d: got %q, want %q", tt.text, tt.most, got, tt.want)
		}
		if width(got) > max(0, tt.most) {
			t.Errorf("%q takes %d columns of %d", got, width(got), tt.most)
		}
	}
}

func TestTable_terminal(t *testing.T) {
	list := []api.Status{
		{Name: "broker", Provider: "etna", State: api.StateStale, Usable: true, Saved: true, ExpiresAt: noon.Add(time.Hour), RenewAt: noon, Error: &api.StatusError{Code: api.CodePending, Detail: "the provider is 日本日本日本"}},
		{Name: "a", Provider: "finam", State: api.StateFresh, Usable: true, Saved: true, ExpiresAt: noon.Add(time.Hour), RenewAt: noon.Add(45 * time.Second)},
	}
	want := "" +
		"NAME    PROVIDER  STATE  LEFT  NEXT  PROBLEM\n" +
		"broker  etna      \x1b[33mstale\x1b[0m  1h    now   the provider is 日…\n" +
		"a       finam     \x1b[32mfresh\x1b[0m  1h    45s\n"
	if got := table(list, screen{width: 57, colour: true}, noon); got != want {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
	for width := 1; width < 80; width++ { // never a line more than was there
		if got := table(list, screen{width: width}, noon); strings.Count(got, "\n") != 3 {
			t.Errorf("at %d columns:\n%s", width, got)
		}
	}
}

func TestBlock(t *testing.T) {
	s := &api.Status{
		Name: "broker", Provider: "etna", State: api.StateChallenge, Usable: true, Fingerprint: "9f86d081884c7d65",
		IssuedAt: noon.Add(-time.Hour), ExpiresAt: noon.Add(14 * time.Minute), RenewAt: noon.Add(2 * time.Minute), LastRenewal: noon,
		Failures: 3, SkewSeconds: -45,
		Challenge: &api.Challenge{Step: "VerificationCode", Prompt: "Expecting\nconfirmation \x1b[1mcode", ExpiresAt: noon.Add(90 * time.Second)},
		Error:     &api.StatusError{Code: api.CodeChallenge, Detail: "tokenctl retry broker requests a code"},
	}
	const want = `name          broker
provider      etna
state         challenge
meaning       a person's answer is awaited; the old token still serves
fingerprint   9f86d081884c7d65
issued        2026-03-01T11:00:00Z (1h ago)
expires       2026-03-01T12:14:00Z (in 14m)
next renewal  2026-03-01T12:02:00Z (in 2m)
last renewal  2026-03-01T12:00:00Z (0s ago)
failures      3 in a row
saved         no; a restart would lose this token
clock         the provider's is -45 s from this host's
challenge     VerificationCode: Expecting confirmation [1mcode
answer until  2026-03-01T12:01:30Z (in 1m30s)
problem       challenge: tokenctl retry broker requests a code
`
	if got := block(s, screen{width: 20}, noon); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// Every state has a meaning and a colour of its own kind.
func TestMeaning(t *testing.T) {
	for _, s := range api.States {
		if meaning(s, false) == "" {
			t.Errorf("%s has no meaning", s)
		}
	}
}

func TestDidYouMean(t *testing.T) {
	known := []string{"get", "list", "status", "check", "renew", "retry", "drop", "reload", "whoami", "version", "help"}
	for word, want := range map[string]string{
		"gte": "get", "ls": "", "lst": "list", "stauts": "status", "chek": "check", "renwe": "renew",
		"who": "", "reload!": "reload", "x": "", "": "", "frobnicate": "", "verson": "version",
	} {
		if want != "" {
			want = ` (did you mean "` + want + `"?)`
		}
		if got := didYouMean(word, known, quoted); got != want {
			t.Errorf("%q: got %q, want %q", word, got, want)
		}
	}
}
