package man

import (
	"strings"
	"testing"
)

func TestFill(t *testing.T) {
	const begin, end = ".\\\" table a: `make man` writes it\n", ".\\\" end\n"
	for name, row := range map[string]struct {
		page   string
		tables map[string]string
		want   string // empty: an error
	}{
		"filled":    {"x\n" + begin + end + "y\n", map[string]string{"a": "1\n"}, "x\n" + begin + "1\n" + end + "y\n"},
		"replaced":  {begin + "old\n" + end, map[string]string{"a": "1\n"}, begin + "1\n" + end},
		"kept":      {begin + "1\n" + end, map[string]string{"a": "1\n"}, begin + "1\n" + end},
		"end alone": {"x\n" + end, nil, "x\n" + end},
		"unknown":   {begin + end, nil, ""},
		"twice":     {begin + end + begin + end, map[string]string{"a": ""}, ""},
		"nested":    {begin + begin + end + end, map[string]string{"a": ""}, ""},
		"no end":    {begin, map[string]string{"a": ""}, ""},
		"no place":  {"x\n", map[string]string{"a": ""}, ""},
	} {
		got, err := fill(row.page, row.tables)
		if got != row.want || (err != nil) != (row.want == "") {
			t.Errorf("%s: %q, %v; want %q", name, got, err, row.want)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"a --b":                            `a \-\-b`,
		`a\b`:                              `a\eb`,
		".x":                               `\&.x`,
		"'x":                               `\&'x`,
		"plain.":                           "plain.",
		"One. Two.\nThree":                 "One.\nTwo.\nThree",
		strings.Repeat("word ", 17):        strings.Repeat("word ", 15) + "word\nword",
		strings.Repeat("word ", 16) + ".x": strings.Repeat("word ", 15) + "word\n\\&.x",
	} {
		if got := Text(in); got != want {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestHead(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"NAME":                    "Ar NAME",
		"[NAME...]":               "Op Ar NAME...",
		"NAME... -- CMD [ARG...]": "Ar NAME... Fl \\- Ar CMD Op Ar ARG...",
		"--min-ttl D":             `Fl \-min\-ttl Ar D`,
		"bash|zsh|fish":           "Ar bash|zsh|fish",
	} {
		if got := Head(in); got != want {
			t.Errorf("Head(%q) = %q, want %q", in, got, want)
		}
	}
}
