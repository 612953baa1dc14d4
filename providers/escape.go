package providers

import (
	"html"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// escape is a kind of escapes: they begin with the mark and stand for another character.
type escape struct {
	mark rune
	read func(text string) (c rune, length int) // length 0: there is none
}

var escapes = [...]escape{{'%', percent}, {'&', entity}, {'\\', backslash}}

// longestEscape is as much as is looked at to read one.
const longestEscape = 40

// reading is what a text says in one way to read it, at every place of it. Each place
// counts as a beginning, so that what stands before it does not matter.
type reading []letter

// letter is the character at a place.
type letter struct {
	c     rune
	next  int // the place behind it; 0 in the middle of a character
	times int // how many escapes it was inside of
}

// plainly reads the text as it stands.
func plainly(text string) reading {
	r := make(reading, len(text))
	for at := range text {
		c, length := utf8.DecodeRuneInString(text[at:])
		r[at].c, r[at].next = c, at+length
	}
	return r
}

// decode takes the escapes for what they stand for, and says whether there are any.
func (r reading) decode(e escape) (decoded reading, any bool) {
	for at := range r {
		if r[at].c != e.mark || r[at].next == 0 {
			continue
		}
		c, length := e.read(r.ahead(at))
		if length == 0 {
			continue
		}
		if !any {
			decoded, any = slices.Clone(r), true
		}
		if !utf8.ValidRune(c) { // half of a pair
			c = utf8.RuneError
		}
		next, times := at, 0
		for ; length > 0; next = r[next].next {
			length -= utf8.RuneLen(r[next].c)
			times = max(times, r[next].times)
		}
		decoded[at].c, decoded[at].next, decoded[at].times = c, next, times+1
	}
	return decoded, any
}

// ahead is the text from a place on.
func (r reading) ahead(at int) string {
	text := make([]byte, 0, longestEscape+utf8.UTFMax)
	for ; at < len(r) && len(text) < longestEscape; at = r[at].next {
		text = utf8.AppendRune(text, r[at].c)
	}
	return string(text)
}

// seen is the reading of what can be seen: each place has the first character from
// there on, without its case; a next of 0 says that there is none.
func (r reading) seen() reading {
	all := make(reading, len(r)+1)
	for at := len(r) - 1; at >= 0; at-- {
		if r[at].next == 0 {
			continue // the middle of a character
		}
		if c, visible := fold(r[at].c); visible {
			all[at].c, all[at].next = c, r[at].next
		} else {
			all[at] = all[r[at].next]
		}
	}
	return all
}

// percent reads a character of a URL: %C3%BC.
func percent(text string) (rune, int) { return bytewise(text, "%") }

// bytewise reads a character whose UTF-8 is written as two hex digits for each byte,
// behind the prefix. What is no UTF-8 is taken for Latin-1.
func bytewise(text, prefix string) (rune, int) {
	var raw []byte
	width := len(prefix) + 2
	for rest := text; len(raw) < utf8.UTFMax && !utf8.FullRune(raw) && strings.HasPrefix(rest, prefix); rest = rest[width:] {
		code, ok := digits(rest[len(prefix):], 2, 16)
		if !ok {
			break
		}
		raw = append(raw, byte(code))
	}
	if len(raw) == 0 {
		return 0, 0
	}
	c, length := utf8.DecodeRune(raw)
	if c == utf8.RuneError && length == 1 {
		c = rune(raw[0])
	}
	return c, length * width
}

// digits reads a number of so many digits.
func digits(text string, count, base int) (rune, bool) {
	if len(text) < count {
		return 0, false
	}
	n, err := strconv.ParseUint(text[:count], base, 31)
	return rune(n), err == nil
}

// entity reads a character of HTML: &lt; &#252; &#xfc;
func entity(text string) (rune, int) {
	if !strings.HasPrefix(text, "&#") {
		end := strings.IndexByte(text, ';') + 1 // the longest name has 31 letters
		named := html.UnescapeString(text[:end])
		if c, length := utf8.DecodeRuneInString(named); end > 0 && named != text[:end] && length == len(named) {
			return c, end
		}
		return 0, 0
	}
	base, start := 10, len("&#")
	if len(text) > start && text[start]|' ' == 'x' {
		base, start = 16, start+1
	}
	end := start
	for end < len(text) && end < start+8 {
		if _, ok := digits(text[end:], 1, base); !ok {
			break
		}
		end++
	}
	c, ok := digits(text[start:], end-start, base)
	if !ok || c > utf8.MaxRune {
		return 0, 0
	}
	if end < len(text) && text[end] == ';' {
		end++
	}
	return c, end
}

// backslash reads an escape of JSON, and those that other languages have beside it:
// \u00fc \U000000fc \xc3\xbc \" \/
func backslash(text string) (rune, int) {
	if len(text) < 2 {
		return 0, 0
	}
	switch text[1] {
	case 'b', 'f', 'n', 'r', 't':
		return ' ', 2 // any that is not seen
	case 'x', 'X':
		if c, length := bytewise(text, text[:2]); length > 0 {
			return c, length
		}
	case 'u', 'U':
		if c, ok := digits(text[2:], 8, 16); ok && text[1] == 'U' && c <= utf8.MaxRune {
			return c, 10
		}
		if c, length := unit(text); length > 0 {
			return c, length
		}
	}
	c, length := utf8.DecodeRuneInString(text[1:])
	return c, 1 + length
}

// unit reads \u00fc, or two of them that are one character.
func unit(text string) (rune, int) {
	c, ok := digits(text[2:], 4, 16)
	if !ok {
		return 0, 0
	}
	if utf16.IsSurrogate(c) && strings.HasPrefix(text[6:], text[:2]) {
		if second, ok := digits(text[8:], 4, 16); ok {
			if pair := utf16.DecodeRune(c, second); pair != utf8.RuneError {
				return pair, 12
			}
		}
	}
	return c, 6
}
