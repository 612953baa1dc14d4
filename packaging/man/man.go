// Package man keeps the tables of tokend's man pages the same as those of its code.
//
// A page is written by hand in mdoc(7), but for its tables. They stand between two
// comments,
//
//	.\" table NAME: `make man` writes it
//	.\" end
//
// and are made by the tests of the packages that have them, which fail when a page
// says something else.
package man

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Check compares the tables of a page with those given, by name, for a test of a
// package two directories below the root. All tables of the page must be given, and
// all that are given must be in it. With TOKEND_MAN=write in the environment it
// writes them into the page instead.
func Check(t *testing.T, page string, tables map[string]string) {
	t.Helper()
	path := filepath.Join("..", "..", "packaging", "man", page)
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want, err := fill(string(have), tables)
	switch {
	case err != nil:
		t.Fatalf("%s: %v", page, err)
	case bytes.Equal(have, []byte(want)):
	case os.Getenv("TOKEND_MAN") == "write":
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil { //nolint:gosec // everybody reads man pages
			t.Fatal(err)
		}
	default:
		t.Errorf("%s is not what the code says, which is\n%s\nrun `make man`", page, changed(string(have), want))
	}
}

// fill puts the tables into the page.
func fill(page string, tables map[string]string) (string, error) {
	var b strings.Builder
	seen := map[string]bool{}
	inside := ""
	for line := range strings.Lines(page) {
		name, begins := strings.CutPrefix(line, `.\" table `)
		name, _, _ = strings.Cut(name, ":")
		switch {
		case begins:
			table, ok := tables[name]
			if !ok || seen[name] || inside != "" {
				return "", fmt.Errorf("table %q is not known, twice, or inside of another", name)
			}
			seen[name], inside = true, name
			b.WriteString(line + table)
		case line == ".\\\" end\n" && inside != "":
			inside = ""
			b.WriteString(line)
		case inside == "":
			b.WriteString(line)
		}
	}
	if inside != "" {
		return "", fmt.Errorf("table %q has no end", inside)
	}
	for name := range tables {
		if !seen[name] {
			return "", fmt.Errorf("the page has no place for table %q", name)
		}
	}
	return b.String(), nil
}

// changed is what want has from the first line that differs to the last.
func changed(have, want string) string {
	h, w := strings.Split(have, "\n"), strings.Split(want, "\n")
	for len(h) > 0 && len(w) > 0 && h[0] == w[0] {
		h, w = h[1:], w[1:]
	}
	for len(h) > 0 && len(w) > 0 && h[len(h)-1] == w[len(w)-1] {
		h, w = h[:len(h)-1], w[:len(w)-1]
	}
	return strings.Join(w, "\n")
}

// Item is a row of a tagged list: the macros of its head, such as "Fl o Ar FORMAT",
// and the lines of its text.
func Item(head, text string) string {
	return strings.TrimRight(".It "+head, " ") + "\n" + strings.TrimRight(text, "\n") + "\n"
}

// columns is how long lines of text may be, as mandoc(1) has it.
const columns = 80

// Text is text in lines for a page, each sentence on lines of its own: what mdoc(7)
// would take for a macro, an escape or a dash of its own stays as it is.
func Text(s string) string {
	var b, line strings.Builder
	end := func() {
		if line.Len() > 0 {
			b.WriteString(line.String() + "\n")
		}
		line.Reset()
	}
	for _, word := range strings.Fields(strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(s)) {
		if line.Len()+1+len(word) > columns {
			end()
		}
		switch {
		case line.Len() > 0:
			line.WriteByte(' ')
		case word[0] == '.' || word[0] == '\'':
			line.WriteString(`\&`)
		}
		line.WriteString(word)
		if strings.HasSuffix(word, ".") {
			end()
		}
	}
	end()
	return strings.TrimSuffix(b.String(), "\n")
}

// Head is the arguments of a command line, as usage lines have them, in macros: words
// in capitals are the reader's to replace, what is in brackets may be left out.
func Head(args string) string {
	var words []string
	for _, word := range strings.Fields(args) {
		inner := strings.Trim(word, "[]")
		macro := "Ar "
		switch {
		case inner == "--":
			macro, inner = "Fl ", "-"
		case strings.HasPrefix(inner, "-"):
			macro, inner = "Fl ", inner[1:]
		}
		macro += strings.ReplaceAll(inner, "-", `\-`)
		if strings.HasPrefix(word, "[") {
			macro = "Op " + macro
		}
		words = append(words, macro)
	}
	return strings.Join(words, " ")
}
