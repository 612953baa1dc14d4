package providers

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// maxForeign is how many characters of foreign text an error shows.
const maxForeign = 200

// maxLook is how many bytes of foreign text are looked at: enough for what is shown.
const maxLook = 16 << 10

// jwtShape matches what looks like a JWT, or the beginning of one: a header is a
// JSON object, and these are the ways in which the base64 of a brace goes on with
// a quote, a space, a tab or a line end.
var jwtShape = regexp.MustCompile(`(?:ey[A-DI-L]|\bew[k-r0-3])[A-Za-z0-9_+/-]{8,}[A-Za-z0-9_+/=.-]*`)

// threeParts matches other long things of three parts.
var threeParts = regexp.MustCompile(`[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`)

// mask cleans foreign text of what an error must not show.
type mask struct {
	raw, stripped *strings.Replacer
	longest       int // bytes of the longest form of a secret
}

func newMask(secrets ...Secret) mask {
	var raw, bare []string
	longest := 0
	for _, secret := range secrets {
		for _, form := range spellings(secret.Reveal()) {
			raw = append(raw, form)
			bare = append(bare, strip(form))
			longest = max(longest, len(form))
		}
	}
	return mask{raw: replacer(raw), stripped: replacer(bare), longest: longest}
}

// encodedFrom is the length of secrets from which their encodings are looked for: those
// of shorter ones stand in ordinary words.
const encodedFrom = 4

// spellings are the forms in which a server may echo a secret: as it is, as it stands
// in a JSON body or a URL, and in base64 and hex, in which some log what they got.
func spellings(secret string) []string {
	forms := []string{secret, url.QueryEscape(secret), url.PathEscape(secret)}
	if text := []byte(secret); len(text) >= encodedFrom {
		digits := hex.EncodeToString(text)
		forms = append(forms, digits, strings.ToUpper(digits),
			base64.RawStdEncoding.EncodeToString(text), base64.RawURLEncoding.EncodeToString(text))
	}
	if quoted, err := json.Marshal(secret); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	var plain strings.Builder
	enc := json.NewEncoder(&plain)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(secret); err == nil {
		forms = append(forms, plain.String()[1:plain.Len()-2]) // the quotes and a line end
	}
	return forms
}

// marker stands for a secret until the text is ready: a character of no meaning,
// in which no secret is found again.
const marker = '\ue000'

// replacer hides the texts, the longest first, since one may begin another.
func replacer(texts []string) *strings.Replacer {
	texts = slices.DeleteFunc(texts, func(s string) bool { return s == "" })
	slices.SortFunc(texts, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, text := range texts {
		pairs = append(pairs, text, string(marker))
	}
	return strings.NewReplacer(pairs...)
}

// clean masks the secrets and whatever looks like a token, strips control
// characters and cuts. It masks before and after it strips: characters that are
// not shown may stand inside an echoed secret, or belong to it.
func (m mask) clean(text string) string {
	whole := len(text) <= maxLook
	text = m.raw.Replace(text[:min(len(text), maxLook)])
	if !whole { // the end may be the beginning of a secret
		text = text[:max(0, len(text)-m.longest)]
	}
	text = m.stripped.Replace(strip(text))
	text = threeParts.ReplaceAllString(jwtShape.ReplaceAllString(text, "[token]"), "[token]")
	text = strings.ReplaceAll(text, string(marker), hidden)
	if runes := []rune(text); len(runes) > maxForeign {
		text = strings.TrimSpace(string(runes[:maxForeign])) + "…"
	}
	return text
}

// strip drops what is not printable (control characters, direction marks,
// zero-width characters) and makes one space of white space.
func strip(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r) && r != marker:
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}
