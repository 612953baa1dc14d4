package config

import (
	"bytes"
	"errors"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// syntaxDetails gives the parser's messages words of our own, first match first.
// Some of the parser's quote the character they stumble on, which may be the first
// of a secret that somebody forgot to put into quotes.
var syntaxDetails = []struct{ theirs, ours string }{
	{"expected newline", "expected the end of the line"},
	{"table name", "expected the ] (or ]]) that ends the table's name"},
	{"expected '=' after key", "expected = after the key"},
	{"expected key", "expected a key"},
	{"at start of key", "expected a key (letters, digits, - and _; anything else in quotes)"},
	{"expected value, not end", "expected a value"},
	{"at start of value", "expected a value (strings need quotes)"},
	{"expected keyword", "expected a value (strings need quotes)"},
	{"nested more than", "nested too deeply"},
	{"array is incomplete", "the array is not closed"},
	{"after array value", "expected , or ] in the array"},
	{"expected value but", "expected a value between two commas of the array"},
	{"inline table is incomplete", "the table in braces is not closed"},
	{"comma in inline table", "expected a key before the comma"},
	{"after inline table", "expected , or } in the table in braces"},
	{"must be quoted", `a letter in a number (strings need quotes, as in "15s")`},
	{"leading zero", "a number has no leading zeros (strings need quotes)"},
	{"number", "malformed number (strings need quotes)"},
	{"digit between underscores", "malformed number (strings need quotes)"},
	{"expected \"", "malformed number (strings need quotes)"},
	{"expected digit", "malformed number (strings need quotes)"},
	{"radix prefix", "malformed number (strings need quotes)"},
	{"decimal point", "malformed number (strings need quotes)"},
	{"exponent", "malformed number (strings need quotes)"},
	{"unterminated", "the string is not closed"},
	{"not terminated", "the string is not closed"},
	{"cannot have new lines", "the string is not closed on its line (strings of several lines need three quotes)"},
	{"too many quotes", "too many quotes at the end of the string"},
	{"UTF-8", "this is not UTF-8 text"},
	{"carriage return", "a carriage return without a line feed"},
	{"control characters", "control characters are not allowed here (write \\uXXXX in a string)"},
	{"escape character", "unknown escape in the string (write \\\\ for a backslash, or use single quotes)"},
	{"need a character after", "unfinished escape in the string"},
	{"unicode escape", "malformed \\u or \\x escape in the string"},
	{"escape sequence", "malformed \\u or \\x escape in the string"},
}

// syntax reports the parser's error. end is where the last sound expression ended.
func syntax(r *report, err error, end int) {
	off, theirs := len(r.data), err.Error()
	if perr, ok := errors.AsType[*unstable.ParserError](err); ok {
		// A slice of the input keeps its capacity, which tells where it begins. The
		// parser's own way to the position panics for others.
		off, theirs = max(0, cap(r.data)-cap(perr.Highlight)), perr.Message
	}
	detail := "this is not TOML"
	for _, d := range syntaxDetails {
		if strings.Contains(theirs, d.theirs) {
			detail = d.ours
			break
		}
	}
	// What is not closed is noticed far from where it was opened.
	if begin := r.begin(end); strings.HasSuffix(detail, "not closed") && r.line(begin) != r.line(off) {
		r.problem(off, "", "%s; it belongs to the entry that begins in line %d", detail, r.line(begin))
		return
	}
	r.problem(off, "", "%s", detail)
}

// begin is where the first expression after the one that ended at end begins.
func (r *report) begin(end int) int {
	rest := r.data[min(end, len(r.data)):]
	if end > 0 { // the rest of that line is no more than a bracket and a comment
		if i := bytes.IndexByte(rest, '\n'); i >= 0 {
			end, rest = end+i, rest[i:]
		}
	}
	for len(rest) > 0 {
		switch c := rest[0]; c {
		case ' ', '\t', '\r', '\n':
			end, rest = end+1, rest[1:]
		case '#':
			n := bytes.IndexByte(rest, '\n')
			if n < 0 {
				return end
			}
			end, rest = end+n, rest[n:]
		default:
			return end
		}
	}
	return end
}
