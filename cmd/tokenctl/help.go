package main

import (
	"bytes"
	"flag"
	"fmt"
	"strconv"
	"strings"

	"github.com/tokend-project/tokend/daemon/api"
)

// overview is the help of tokenctl as a whole.
func overview() []byte {
	var b bytes.Buffer
	b.WriteString("usage: tokenctl VERB [NAME] [flags]\n\nverbs:\n")
	for _, v := range verbs() {
		if !v.hidden() {
			row(&b, v.name+" "+v.args, v.help, 16)
		}
	}
	b.WriteString("\nflags of every verb:\n")
	flags(&b, newFlags("", &options{}, nil))
	b.WriteString("\nexit codes:\n   0  ok\n")
	for _, info := range api.Codes() {
		fmt.Fprintf(&b, "  %2d  %-11s %s\n", info.Exit, info.Code, info.When)
	}
	return b.Bytes()
}

// describe is the help of one verb.
func describe(v *verb, fs *flag.FlagSet) []byte {
	var b bytes.Buffer
	b.WriteString("usage: " + strings.Join(strings.Fields("tokenctl "+v.name+" "+v.args+" [flags]"), " ") + "\n\n" + v.help + "\n\nflags:\n")
	flags(&b, fs)
	return b.Bytes()
}

func flags(b *bytes.Buffer, fs *flag.FlagSet) {
	fs.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		row(b, dashed(f.Name)+" "+value, text, 20)
	})
}

// row is one line of two columns; where the first is too wide, two lines.
func row(b *bytes.Buffer, left, right string, width int) {
	if left = strings.TrimSpace(left); len(left) >= width {
		left += "\n  " + strings.Repeat(" ", width-1)
		width = 0
	}
	fmt.Fprintf(b, "  %-*s %s\n", width-1, left, right)
}

// dashed is a flag as people write it.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

func quoted(name string) string { return strconv.Quote(name) }

// didYouMean ends an error with the known word that is nearest to the given one, if
// it is near enough to be meant.
func didYouMean(word string, known []string, show func(string) string) string {
	best, nearest := "", max(1, len(word)/3)+1
	for _, k := range known {
		if d := distance(word, k); d < nearest && d < len(k) {
			best, nearest = k, d
		}
	}
	if best == "" {
		return ""
	}
	return " (did you mean " + show(best) + "?)"
}

// distance counts the letters to add, drop, change or swap (Damerau and
// Levenshtein, optimal string alignment).
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range d[0] {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}
