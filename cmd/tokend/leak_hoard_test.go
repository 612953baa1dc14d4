package main

import (
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// piece is how much of one spelling of a secret counts as showing it; sparse is the
// same of a spelling that takes several characters for each of the secret's.
const piece, sparse = 12, 36

// hoard is all that must not show: the secrets of a test's credentials file, and
// whatever the look-alikes hand out and are sent.
type hoard struct {
	mu     sync.Mutex
	pieces map[string]string         // piece of a spelling → what it is of
	codes  map[string]*regexp.Regexp // that are shorter than a piece
	texts  map[string][]string       // what it is → the texts themselves, in order
}

func newHoard() *hoard {
	return &hoard{pieces: map[string]string{}, codes: map[string]*regexp.Regexp{}, texts: map[string][]string{}}
}

// plant makes a secret. In its middle are characters that JSON, URLs and HTML write
// in another way.
func (h *hoard) plant(what string) string {
	text := rand.Text()[:16] + `"<&+%` + rand.Text()[:16]
	h.add(what, text)
	return text
}

// add takes note of a secret.
func (h *hoard) add(what, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if slices.Contains(h.texts[what], text) || text == "" {
		return
	}
	h.texts[what] = append(h.texts[what], text)
	if len(text) < piece {
		h.codes[text] = regexp.MustCompile(`(?:^|[^0-9A-Za-z])` + regexp.QuoteMeta(text) + `(?:$|[^0-9A-Za-z])`)
		return
	}
	if head, rest, dotted := strings.Cut(text, "."); dotted && strings.HasPrefix(head, "ey") {
		text = rest // the header of a JWT is the same for all
	}
	for how, form := range disguises(text) {
		width := piece
		if strings.HasPrefix(how, "spaced") {
			width = sparse
		}
		for i := range len(form) - width + 1 {
			h.pieces[form[i:i+width]] = what + ", " + how
		}
	}
}

// newest is the last text of a kind that came.
func (h *hoard) newest(what string) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := h.texts[what]
	if len(all) == 0 {
		return ""
	}
	return all[len(all)-1]
}

// disguises are the ways in which programs show a text without meaning to.
func disguises(text string) map[string]string {
	raw := []byte(text)
	reversed := slices.Clone(raw)
	slices.Reverse(reversed)
	quoted, _ := json.Marshal(text) // a string always encodes
	forms := map[string]string{
		"as it is": text, "reversed": string(reversed), "as JSON": string(quoted), "in Go": fmt.Sprintf("%q", text),
		"in a query": url.QueryEscape(text), "in a path": url.PathEscape(text),
		"in hex": hex.EncodeToString(raw), "in HEX": fmt.Sprintf("%X", raw), "spaced, in hex": fmt.Sprintf("% x", raw),
		"spaced, as bytes": fmt.Sprint(raw), "spaced, as bytes in Go": fmt.Sprintf("%#v", raw),
	}
	// Base64 of a longer text that the secret stands in: what its neighbours have a
	// share in is cut off.
	for shift := range 3 {
		padded := append(make([]byte, shift), raw...)
		whole := base64.RawStdEncoding.EncodeToString(padded[:len(padded)/3*3])
		inner := whole[min(len(whole), (shift+2)/3*4):]
		forms[fmt.Sprint("in base64 behind ", shift)] = inner
		forms[fmt.Sprint("in base64 for URLs behind ", shift)] = strings.NewReplacer("+", "-", "/", "_").Replace(inner)
	}
	// Words of memory, as a stack shows arguments that are no pointers.
	for i := range min(len(raw)-7, 64) {
		forms[fmt.Sprint("as a word of memory at ", i)] = fmt.Sprintf("%x", binary.LittleEndian.Uint64(raw[i:]))
	}
	return forms
}

// find says what of the hoard a text shows, and around it.
func (h *hoard) find(text string) (found []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	around := func(from, to int) string { return text[max(0, from-150):min(len(text), to+60)] }
	for i, last := 0, -1000; i+piece <= len(text); i++ {
		what, bad := h.pieces[text[i:i+piece]]
		if !bad {
			what, bad = h.pieces[text[i:min(i+sparse, len(text))]]
		}
		if bad && i > last+100 {
			found, last = append(found, fmt.Sprintf("%s: %q", what, around(i, i+piece))), i
		}
	}
	for code, pattern := range h.codes {
		if at := pattern.FindStringIndex(text); at != nil {
			found = append(found, fmt.Sprintf("the code %s: %q", code, around(at[0], at[1])))
		}
	}
	return found
}

// check reports what a text shows.
func (h *hoard) check(t *testing.T, where, text string) {
	t.Helper()
	if found := h.find(text); len(found) > 0 {
		t.Errorf("%s shows %s (and %d more)", where, found[0], len(found)-1)
	}
}

// What is looked for has to be found, or no test that looks for it means anything.
func TestHoard(t *testing.T) {
	h := newHoard()
	secret := h.plant("a secret")
	h.add("a code", "123457")
	h.add("a token", "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiIwMTIzNDU2Nzg5In0.c2lnbmF0dXJlLW9mLXRlc3Q")
	raw := []byte(secret)
	quoted, err := json.Marshal(map[string]string{"password": secret})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		"x" + secret, string(quoted), fmt.Sprintf("%q %v", secret, 1), fmt.Sprintf("%x", secret), fmt.Sprintf("%X", secret),
		fmt.Sprintf("% x", secret), fmt.Sprint(raw), fmt.Sprintf("%#v", raw), url.Values{"p": {secret}}.Encode(), "/" + url.PathEscape(secret),
		base64.StdEncoding.EncodeToString(raw), base64.StdEncoding.EncodeToString([]byte("u:" + secret)),
		base64.URLEncoding.EncodeToString([]byte("u" + secret + "x")), base64.StdEncoding.EncodeToString(quoted),
		"cut " + secret[:piece], "cut " + secret[len(secret)-piece:], "main.f({0x" + fmt.Sprintf("%x", binary.LittleEndian.Uint64(raw[3:])) + ", 0x1})",
		"time=3 code=123457 x", "123457", "…OiIwMTIzNDU2Nzg5In0.c2…", ".c2lnbmF0dXJlLW9mLXRlc3Q",
	} {
		if len(h.find(text)) == 0 {
			t.Errorf("not found in %q", text)
		}
	}
	for _, text := range []string{"", "x", "a1123457", "1234571", "eyJhbGciOiJIUzI1NiJ9.", strings.Repeat("password secret token 9f86d081884c7d65 ", 10)} {
		if found := h.find(text); len(found) > 0 {
			t.Errorf("found in %q: %q", text, found)
		}
	}
}
