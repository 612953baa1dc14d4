package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"golang.org/x/term"

	"github.com/tokend-project/tokend/daemon/api"
)

// screen is where a table goes.
type screen struct {
	width  int // columns; 0: do not cut
	colour bool
}

// screenOf asks the terminal behind the file for its width; what is no terminal
// gets everything, and no colour. See no-color.org for NO_COLOR.
func screenOf(file *os.File, getenv func(string) string) screen {
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		return screen{}
	}
	kind := getenv("TERM")
	return screen{columns, getenv("NO_COLOR") == "" && kind != "" && kind != "dumb"}
}

// colours of the states, as SGR parameters of ECMA-48.
func colour(s api.State) string {
	switch s {
	case api.StateFresh:
		return "32" // green
	case api.StateStale, api.StatePending:
		return "33" // yellow
	case api.StateChallenge:
		return "35" // magenta
	case api.StateRefused:
		return "31" // red
	}
	return "2" // faint
}

func (s screen) paint(state api.State, text string) string {
	if !s.colour {
		return text
	}
	return "\x1b[" + colour(state) + "m" + text + "\x1b[0m"
}

// printRaw prints the last answer as the socket gave it, and ends its line.
func (c *call) printRaw() {
	c.out.Write(c.raw)
	if len(c.raw) > 0 && c.raw[len(c.raw)-1] != '\n' {
		c.out.WriteByte('\n')
	}
}

func (c *call) printReloaded(r *api.Reloaded) {
	fmt.Fprintf(&c.out, "added %d, changed %d, removed %d, kept %d\n", r.Added, r.Changed, r.Removed, r.Kept)
}

// table is the statuses, one a line. What is wrong comes last, where it may be cut.
func table(list []api.Status, to screen, now time.Time) string {
	rows := [][]string{{"NAME", "PROVIDER", "STATE", "LEFT", "NEXT", "PROBLEM"}}
	for i := range list {
		s := &list[i]
		rows = append(rows, []string{clean(s.Name), clean(s.Provider), clean(string(s.State)), left(s, now), next(s, now), clean(problem(s))})
	}
	return align(rows, to.width, func(row, column int, text string) string {
		if row == 0 || column != 2 {
			return text
		}
		return to.paint(list[row-1].State, text)
	})
}

// align puts the rows into columns. most is the width to which lines are cut; 0 for
// any. paint may add what takes no room.
func align(rows [][]string, most int, paint func(row, column int, text string) string) string {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, text := range row {
			widths[i] = max(widths[i], width(text))
		}
	}
	var b strings.Builder
	for r, row := range rows {
		used, gap := 0, 0
		for i, text := range row {
			if text == "" {
				gap += widths[i] + 2
				continue
			}
			if last := i == len(row)-1; last && most > 0 {
				text = cut(text, max(0, most-used-gap))
			}
			b.WriteString(strings.Repeat(" ", gap))
			b.WriteString(paint(r, i, text))
			used += gap + width(text)
			gap = widths[i] - width(text) + 2
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func left(s *api.Status, now time.Time) string {
	if !s.Usable || s.ExpiresAt.IsZero() {
		return "-"
	}
	return human(s.ExpiresAt.Sub(now))
}

func next(s *api.Status, now time.Time) string {
	switch {
	case s.RenewAt.IsZero():
		return "-"
	case !s.RenewAt.After(now):
		return "now"
	}
	return human(s.RenewAt.Sub(now))
}

// problem is what is wrong, in a line.
func problem(s *api.Status) string {
	var parts []string
	switch {
	case s.Error != nil && s.Error.Detail != "":
		parts = append(parts, s.Error.Detail)
	case s.Error != nil:
		parts = append(parts, string(s.Error.Code))
	case s.Challenge != nil:
		parts = append(parts, s.Challenge.Step+": "+s.Challenge.Prompt)
	}
	if s.Usable && !s.Saved {
		parts = append(parts, "not saved")
	}
	return strings.Join(parts, "; ")
}

// block is everything about one credential.
func block(s *api.Status, to screen, now time.Time) string {
	at := func(t time.Time) string {
		switch d := t.Sub(now); {
		case t.IsZero():
			return ""
		case d > 0:
			return t.UTC().Format(time.RFC3339) + " (in " + human(d) + ")"
		default:
			return t.UTC().Format(time.RFC3339) + " (" + human(-d) + " ago)"
		}
	}
	rows := [][]string{
		{"name", s.Name},
		{"provider", s.Provider},
		{"state", string(s.State)},
		{"meaning", meaning(s.State, s.Usable)},
		{"fingerprint", s.Fingerprint},
		{"issued", at(s.IssuedAt)},
		{"expires", at(s.ExpiresAt)},
		{"next renewal", at(s.RenewAt)},
		{"last renewal", at(s.LastRenewal)},
	}
	if s.Failures > 0 {
		rows = append(rows, []string{"failures", strconv.Itoa(s.Failures) + " in a row"})
	}
	if s.Usable && !s.Saved {
		rows = append(rows, []string{"saved", "no; a restart would lose this token"})
	}
	if s.SkewSeconds != 0 {
		rows = append(rows, []string{"clock", fmt.Sprintf("the provider's is %+d s from this host's", s.SkewSeconds)})
	}
	if ch := s.Challenge; ch != nil {
		rows = append(rows, []string{"challenge", ch.Step + ": " + ch.Prompt}, []string{"answer until", at(ch.ExpiresAt)})
	}
	if s.Error != nil {
		rows = append(rows, []string{"problem", string(s.Error.Code) + ": " + s.Error.Detail})
	}
	shown := rows[:0]
	for _, row := range rows {
		if row[1] = clean(row[1]); row[1] != "" {
			shown = append(shown, row)
		}
	}
	return align(shown, 0, func(row, column int, text string) string {
		if column == 1 && shown[row][0] == "state" {
			return to.paint(s.State, text)
		}
		return text
	})
}

// meaning is what a state says to somebody who has not read the manual.
func meaning(s api.State, usable bool) string {
	old := ""
	if usable {
		old = "; the old token still serves"
	}
	switch s {
	case api.StateFresh:
		return "a usable token, and the last renewal went well"
	case api.StateStale:
		return "a usable token, but renewing it is failing"
	case api.StatePending:
		return "no usable token yet; a renewal is under way or scheduled"
	case api.StateChallenge:
		return "a person's answer is awaited" + old
	case api.StateRefused:
		return "nothing is tried until the secrets change or an operator says retry" + old
	case api.StateIdle:
		return "nobody has asked for the token"
	}
	return ""
}

// identity is the caller as the daemon knows it.
func identity(w *api.Whoami) string {
	number := func(n uint32) string { return strconv.FormatUint(uint64(n), 10) }
	user := number(w.UID)
	if w.User != "" {
		user += " (" + w.User + ")"
	}
	var groups []string
	for _, g := range w.GIDs {
		groups = append(groups, number(g))
	}
	rows := [][]string{
		{"uid", user},
		{"gid", number(w.GID)},
		{"groups", strings.Join(groups, " ")},
		{"pid", strconv.Itoa(int(w.PID))},
		{"unit", w.Unit},
	}
	plain := func(_, _ int, text string) string { return text }
	shown := rows[:0]
	for _, row := range rows {
		if row[1] != "" {
			shown = append(shown, []string{row[0], clean(row[1])})
		}
	}
	out := align(shown, 0, plain)
	if len(w.Grants) == 0 {
		return out + "\nno rule grants you anything\n"
	}
	grants := [][]string{{"NAME", "RIGHTS", "RULE"}}
	for _, g := range w.Grants {
		grants = append(grants, []string{clean(g.Name), clean(strings.Join(g.Rights, " ")), clean(g.Rule)})
	}
	return out + "\n" + align(grants, 0, plain)
}

// human is a duration in at most two units: 45s, 9m30s, 14m, 1h05m, 23h, 3d4h.
func human(d time.Duration) string {
	units := []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}}
	for i, u := range units[:3] {
		n := d / u.size
		switch small := units[i+1]; {
		case n == 0:
		case n >= 10 || d%u.size < small.size:
			return strconv.Itoa(int(n)) + u.name
		default:
			return strconv.Itoa(int(n)) + u.name + strconv.Itoa(int(d%u.size/small.size)) + small.name
		}
	}
	return strconv.Itoa(int(max(0, d)/time.Second)) + "s"
}

// clean makes foreign text harmless to a terminal and one line: white space is a
// space, and what does not print (controls, marks that turn the direction of text)
// is left out.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !strconv.IsPrint(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(text, "\uFFFD"))
}

// width is how many columns of a terminal the text takes.
func width(text string) int {
	n := 0
	for _, r := range text {
		n += runeWidth(r)
	}
	return n
}

// runeWidth follows the wide ranges of Unicode's EastAsianWidth.txt, in blocks.
func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me):
		return 0
	case r >= 0x1100 && (r <= 0x115f || r >= 0x2e80 && r <= 0xa4cf || r >= 0xac00 && r <= 0xd7a3 ||
		r >= 0xf900 && r <= 0xfaff || r >= 0xfe30 && r <= 0xfe6f || r >= 0xff00 && r <= 0xff60 ||
		r >= 0xffe0 && r <= 0xffe6 || r >= 0x1f300 && r <= 0x1f64f || r >= 0x1f900 && r <= 0x1faff || r >= 0x20000 && r <= 0x3fffd):
		return 2
	}
	return 1
}

// cut shortens the text to most columns, and shows that it did.
func cut(text string, most int) string {
	switch {
	case width(text) <= most:
		return text
	case most <= 0:
		return ""
	}
	n := 1 // of the mark
	for i, r := range text {
		if n += runeWidth(r); n > most {
			return text[:i] + "…"
		}
	}
	return text
}
