package providers

import (
	"encoding/base64"
	"encoding/hex"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// maxForeign is how many characters of foreign text an error shows.
	maxForeign = 200
	// maxLook is how many bytes of foreign text are looked at. What is shown comes from
	// the first half of them, so that nothing shown goes on unseen.
	maxLook = 2 << 10
	// run is how many characters in a row tell that a text repeats a secret.
	run = 8
	// maxRuns is about how many runs of one form are remembered: of a longer one, not
	// those at every place.
	maxRuns = 256
	// encodedFrom is the length of secrets from which their encodings are looked for:
	// those of shorter ones stand in ordinary words.
	encodedFrom = 4
	// depth is how many times of encoding, each of what the last one made, are too many.
	depth = 3
)

// withheld stands for a text that repeats a secret.
const withheld = "[withheld: it repeats a secret]"

// jwtShape matches what looks like a JWT, or the beginning of one: a header is a
// JSON object, and these are the ways in which the base64 of a brace goes on with
// a quote, a space, a tab or a line end.
var jwtShape = regexp.MustCompile(`(?:ey[A-DI-L]|\bew[k-r0-3])[A-Za-z0-9_+/-]{8,}[A-Za-z0-9_+/=.-]*`)

// threeParts matches other long things of three parts.
var threeParts = regexp.MustCompile(`[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`)

// mask keeps secrets out of foreign text. Its rule is: a text that repeats a secret is
// not shown at all. Cutting out the place alone would depend on finding where it
// begins and ends in every encoding, and what is left would tell its length and its
// neighbours.
//
// A text repeats a secret if eight of the secret's characters stand in it in a row
// (all of them, if it is shorter), whatever their case, with or without white space and
// invisible characters between them. That holds for the secret as it is and backwards,
// for its hex and for its base64 of both alphabets, wherever in a longer encoded text
// it begins. Each of these is looked for from every place of the text on, read as it
// stands, as percent-encoded, with the entities of HTML, with the escapes of JSON, and
// with any one of these inside another. What could be decoded a third time is not shown
// either.
//
// So the rule is safe for what a server does to a text on its way through logs,
// templates and URLs. It is none against a server that wants to give a secret away:
// that one has it already.
//
// Of a secret above 256 characters not every run is remembered, so that the memory for
// it stays small: of one of 64 KiB it takes 264 characters in a row to be noticed.
// Secrets under four characters are looked for as they are alone.
type mask struct {
	runs  map[string]struct{}
	sizes uint // a bit for each length of them
}

// Clean is what an error may show of a foreign text: at most 200 characters, none of
// them a control character, nothing that looks like a token, and another text
// altogether if it repeats one of the secrets in any of the usual encodings.
func Clean(text string, secrets ...Secret) string { return newMask(secrets...).clean(text) }

func newMask(secrets ...Secret) mask {
	m := mask{runs: map[string]struct{}{}}
	m.hide(secrets...)
	return m
}

// hide adds secrets.
func (m *mask) hide(secrets ...Secret) {
	for _, secret := range secrets {
		for _, form := range forms(secret.Reveal()) {
			m.learn(form)
		}
	}
}

// learn remembers the runs of a form.
func (m *mask) learn(form string) {
	var text []rune
	for _, c := range form {
		if c, seen := fold(c); seen {
			text = append(text, c)
		}
	}
	if len(text) == 0 {
		return
	}
	size, step := min(len(text), run), 1+len(text)/maxRuns
	for at := 0; at+size <= len(text); at += step {
		m.runs[string(text[at:at+size])] = struct{}{}
	}
	m.sizes |= 1 << size
}

// forms are what of a secret is looked for. What escapes single characters is not
// among them: reading undoes it, but for the plus of a space.
func forms(secret string) []string {
	secret = secret[:min(len(secret), maxToken)]
	all := []string{secret}
	if strings.Contains(secret, " ") {
		all = append(all, strings.ReplaceAll(secret, " ", "+"))
	}
	if len(secret) < encodedFrom {
		return all
	}
	backwards := []rune(secret)
	slices.Reverse(backwards)
	all = append(all, string(backwards), hex.EncodeToString([]byte(secret)))
	for before := range 3 {
		all = append(all, inside(base64.RawStdEncoding, secret, before), inside(base64.RawURLEncoding, secret, before))
	}
	return all
}

// inside is what the base64 of any text has in common that holds the secret behind so
// many bytes, counted in threes: the characters at both ends depend on the rest.
func inside(encoding *base64.Encoding, secret string, before int) string {
	text := encoding.EncodeToString([]byte(strings.Repeat("\x00", before) + secret))
	return text[(before*8+5)/6 : (before+len(secret))*8/6]
}

// fold makes one of the characters that differ by case alone; it reports false for
// what cannot be seen.
func fold(c rune) (rune, bool) {
	if unicode.IsSpace(c) || !unicode.IsPrint(c) {
		return 0, false
	}
	return unicode.ToLower(unicode.ToUpper(c)), true
}

// clean is foreign text as errors show it: without what cannot be seen, without what
// looks like a token, cut, and withheld if it repeats a secret.
func (m mask) clean(text string) string {
	look := strip(text[:min(len(text), maxLook)])
	if m.repeated(plainly(look), depth) {
		return withheld
	}
	if len(text) > maxLook {
		look = strip(text[:maxLook/2])
	}
	look = threeParts.ReplaceAllString(jwtShape.ReplaceAllString(look, "[token]"), "[token]")
	if runes := []rune(look); len(runes) > maxForeign {
		look = strings.TrimSpace(string(runes[:maxForeign])) + "…"
	}
	return look
}

// repeated says whether a secret is read in the text, as it is or after more steps of
// decoding, or whether there is something that so many steps do not decode.
func (m mask) repeated(r reading, steps int) bool {
	if m.readable(r.seen()) {
		return true
	}
	if steps == 0 {
		return slices.ContainsFunc(r, func(place letter) bool { return place.times == depth })
	}
	for _, e := range escapes {
		if decoded, any := r.decode(e); any && m.repeated(decoded, steps-1) {
			return true
		}
	}
	return false
}

// readable says whether a secret is read from any place on.
func (m mask) readable(seen reading) bool {
	buf := make([]byte, 0, run*utf8.UTFMax)
	for start := range seen {
		buf = buf[:0]
		for at, size := start, 1; size <= run && seen[at].next > 0; size++ {
			buf = utf8.AppendRune(buf, seen[at].c)
			at = seen[at].next
			if m.sizes&(1<<size) == 0 {
				continue
			}
			if _, found := m.runs[string(buf)]; found {
				return true
			}
		}
	}
	return false
}

// strip drops what is not printable (control characters, direction marks,
// zero-width characters) and makes one space of white space. Bytes that are no UTF-8
// are taken for Latin-1, in which some servers still answer.
func strip(text string) string {
	var out strings.Builder
	gap := false
	for text != "" {
		c, length := utf8.DecodeRuneInString(text)
		if c == utf8.RuneError && length == 1 {
			c = rune(text[0])
		}
		text = text[length:]
		switch {
		case unicode.IsSpace(c):
			gap = out.Len() > 0
			continue
		case !unicode.IsPrint(c):
			continue
		case gap:
			out.WriteByte(' ')
			gap = false
		}
		out.WriteRune(c)
	}
	return out.String()
}
