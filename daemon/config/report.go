package config

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tokend-project/tokend/daemon/api"
)

// maxProblems bounds what one reading reports: beyond it nobody reads, and a file
// of garbage must not become an answer of gigabytes.
const maxProblems = 1000

// nowhere is the offset of a problem that belongs to the file as a whole.
const nowhere = -1

// Invalid says that a credentials file cannot be used, and every reason why.
type Invalid struct {
	// Problems are in the order of the file; those of the file as a whole come first.
	// They hold no secret and no line of the file.
	Problems []api.Problem
}

// Error is the first problem, and how many there are.
func (e *Invalid) Error() string {
	switch len(e.Problems) {
	case 0:
		return "the credentials file is invalid"
	case 1:
		return e.Problems[0].String()
	}
	return fmt.Sprintf("%s (and %d more)", e.Problems[0], len(e.Problems)-1)
}

// finding is a problem before its place is worked out: an offset costs nothing, a
// line and a column cost a walk through the file.
type finding struct {
	off         int
	key, detail string
}

// report collects what is wrong with one file.
type report struct {
	file     string
	data     []byte
	lines    []int // offsets at which lines begin; made when first needed
	problems []finding
	warnings []finding
	dropped  int // problems beyond maxProblems
}

// problem notes that something at off makes the file unusable.
func (r *report) problem(off int, key, format string, args ...any) {
	if len(r.problems) == maxProblems {
		r.dropped++
		return
	}
	r.problems = append(r.problems, finding{off, key, fmt.Sprintf(format, args...)})
}

// warn notes something that is allowed but hardly meant.
func (r *report) warn(off int, key, format string, args ...any) {
	if len(r.warnings) < maxProblems {
		r.warnings = append(r.warnings, finding{off, key, fmt.Sprintf(format, args...)})
	}
}

// count is how many problems there are so far.
func (r *report) count() int { return len(r.problems) + r.dropped }

// invalid is the problems as an error, nil if there are none.
func (r *report) invalid() error {
	if len(r.problems) == 0 {
		return nil
	}
	problems := r.place(r.problems)
	if r.dropped > 0 {
		problems = append(problems, api.Problem{
			File: r.file, Detail: fmt.Sprintf("%d more problems are not shown", r.dropped),
		})
	}
	return &Invalid{Problems: problems}
}

// line is the number of the line that holds off, from 1.
func (r *report) line(off int) int {
	if r.lines == nil {
		r.lines = []int{0}
		for i := 0; ; {
			n := bytes.IndexByte(r.data[i:], '\n')
			if n < 0 {
				break
			}
			i += n + 1
			r.lines = append(r.lines, i)
		}
	}
	i, found := slices.BinarySearch(r.lines, off)
	if found {
		i++
	}
	return i
}

// place sorts findings and gives each its line and column. Columns count
// characters, as editors do. One pass: a file of one long line with many problems
// must not be counted from its beginning for each.
func (r *report) place(findings []finding) []api.Problem {
	slices.SortStableFunc(findings, func(a, b finding) int { return cmp.Compare(a.off, b.off) })
	problems := make([]api.Problem, 0, len(findings))
	lastLine, lastOff, column := 0, 0, 0
	for _, f := range findings {
		p := api.Problem{File: r.file, Key: f.key, Detail: f.detail}
		if f.off != nowhere {
			off := min(f.off, len(r.data))
			line := r.line(off)
			if line != lastLine {
				lastLine, lastOff, column = line, r.lines[line-1], 1
			}
			column += utf8.RuneCount(r.data[lastOff:off])
			lastOff = off
			p.Line, p.Column = line, column
		}
		problems = append(problems, p)
	}
	return problems
}

// maxShown is how many bytes of foreign text a message repeats.
const maxShown = 64

// quote shows foreign text: quoted, without control characters, and cut.
func quote(s string) string {
	if len(s) > maxShown {
		s = strings.ToValidUTF8(s[:maxShown], "") + "…"
	}
	return strconv.Quote(s)
}

// join appends a part to a dotted key, quoted where TOML wants quotes.
func join(path, part string) string {
	if !isBare(part) || len(part) > maxShown {
		part = quote(part)
	}
	if path == "" {
		return part
	}
	return path + "." + part
}

func isBare(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	})
}
