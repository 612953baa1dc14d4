package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pelletier/go-toml/v2"
)

// seeds are all files of the corpus that are not huge.
func seeds(f *testing.F) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) == 0 {
		f.Fatal(files, err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		if len(text) < 8<<10 {
			f.Add(text)
		}
	}
	f.Add([]byte(good))
	for _, code := range []string{
		`code = { totp = { file = "/nowhere" } }`, `code = { totp = { command = ["/bin/echo", "hush-1"] } }`, `code.totp = "` + seed + `"`,
		`code = { totp = "otpauth://totp/x?secret=` + seed + `&digits=8&period=60&algorithm=SHA256" }`,
		`code = "hush-1"`, `code = { credential = "seed" }`, "[credentials.broker.code.totp]\nenv = \"TOKEND_SEED\"",
	} {
		f.Add([]byte(broker(code)))
	}
	f.Add([]byte(`a = {b = [{c.d = 1}, {c.d = [[], [1, ]]} ], } # x` + "\n[x.y]\n[x]\nz.w = 1\n[[q]]\n[q.r]\n[[q]]\n[q.r]\n"))
}

// FuzzFile: whatever is in the file, reading it ends with credentials or with
// problems that have a place and show none of what may be a secret.
func FuzzFile(f *testing.F) {
	seeds(f)
	d := f.TempDir()
	surroundings(f, d)
	path := filepath.Join(d, "credentials.toml")
	f.Fuzz(func(t *testing.T, text []byte) {
		write(t, path, string(text))
		l := testLoader(path)
		file, err := l.Load(t.Context())
		if (file == nil) == (err == nil) {
			t.Fatalf("%v and %v", file, err)
		}
		if err == nil {
			return
		}
		invalid, ok := errors.AsType[*Invalid](err)
		if !ok || len(invalid.Problems) == 0 {
			t.Fatalf("the error is %v", err)
		}
		lines := strings.Split(string(withoutBOM(text)), "\n")
		for i, p := range invalid.Problems {
			whole := i == maxProblems && strings.HasSuffix(p.Detail, "not shown")
			if !whole && (p.Line < 1 || p.Line > len(lines) || p.Column < 1 || p.Column > utf8.RuneCountInString(lines[p.Line-1])+1) {
				t.Errorf("the place is nowhere: %v", p)
			}
			if p.Detail == "" || strings.ContainsFunc(p.String(), func(r rune) bool { return r < ' ' }) {
				t.Errorf("the message is %q", p)
			}
		}
		shown(t, text, invalid)
	})
}

// shown looks for secrets in messages. After an error of syntax nobody can say what
// a secret is: then all words have to be ours.
func shown(t *testing.T, text []byte, invalid *Invalid) {
	t.Helper()
	r := &report{data: withoutBOM(text)}
	root := parseText(r)
	if root == nil {
		detail, _, _ := strings.Cut(invalid.Problems[len(invalid.Problems)-1].Detail, "; it belongs")
		for _, d := range syntaxDetails {
			if d.ours == detail {
				return
			}
		}
		if !strings.HasSuffix(detail, "UTF-8") && len(r.problems) < maxProblems {
			t.Errorf("words of the parser: %q", detail)
		}
		return
	}
	var secrets []string
	if m := root.find("credentials"); m != nil && m.value.kind == aTable {
		for _, m := range m.value.members {
			for _, key := range m.value.members {
				if slices.Contains([]string{"secret", "password", "app_key", "pin", "code", "url", "proxy", "header"}, key.name) {
					secrets = append(secrets, textsOf(key.value)...)
				}
			}
		}
	}
	for _, s := range secrets {
		// What stands elsewhere too is no secret.
		if !strings.Contains(s, marker) && !strings.Contains(s, seed[:8]) || strings.Count(string(text), s) != 1 {
			continue
		}
		for _, p := range invalid.Problems {
			if strings.Contains(p.Key+p.Detail, s) {
				t.Errorf("%q is shown: %v", s, p)
			}
		}
	}
}

// textsOf are the strings of a value, but for paths.
func textsOf(n *node) (texts []string) {
	if n.kind == aString {
		texts = append(texts, n.text)
	}
	for _, m := range n.members {
		if m.name != "file" {
			texts = append(texts, textsOf(m.value)...)
		}
	}
	for _, item := range n.items {
		if !strings.HasPrefix(item.text, "/") { // a program may be named
			texts = append(texts, textsOf(item)...)
		}
	}
	return texts
}

// FuzzTree compares what is taken for TOML with what go-toml's decoder takes.
func FuzzTree(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		r := &report{data: text}
		root := parse(r)
		var v map[string]any
		err := toml.Unmarshal(text, &v)
		switch ours := len(r.problems) == 0; {
		case ours == (err == nil):
		case ours && hasScalar(root): // numbers and dates that are out of range: no key takes those
		case !ours && strings.Contains(r.problems[0].detail, "at most"): // keys of many parts
		default:
			t.Errorf("ours: %v\ntheirs: %v", r.problems, err)
		}
	})
}

func hasScalar(n *node) bool {
	for _, m := range n.members {
		if hasScalar(m.value) {
			return true
		}
	}
	return slices.ContainsFunc(n.items, hasScalar) || n.kind == anInteger || n.kind == aFloat || n.kind == aDate
}

// TestDistance counts single steps.
func TestDistance(t *testing.T) {
	for _, tt := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"abc", "", 3},
		{"password", "password", 0},
		{"pasword", "password", 1},
		{"passwrod", "password", 1},
		{"passwort", "password", 1},
		{"passsword", "password", 1},
		{"kitten", "sitting", 3},
		{"ca", "abc", 3},
	} {
		if got := distance(tt.a, tt.b); got != tt.want {
			t.Errorf("from %q to %q it is %d, want %d", tt.a, tt.b, got, tt.want)
		}
	}
	for word, want := range map[string]string{"provder": "provider", "MODE": "mode", "xyz": "", "": "", strings.Repeat("m", 100): ""} {
		hint := ""
		if want != "" {
			hint = ` (did you mean "` + want + `"?)`
		}
		if got := mean(word, []string{"url", "mode", "provider"}); got != hint {
			t.Errorf("%q: %q, want %q", word, got, hint)
		}
	}
}
