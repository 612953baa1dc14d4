package config

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/tokend-project/tokend/providers"
)

var update = flag.Bool("update", false, "write the .want files anew (and then read them)")

// marker begins every secret in these tests: no message and no printed value may
// hold it.
const marker = "hush-"

// fake is a provider that keeps what it was made from.
type fake struct{ providers.Settings }

func (fake) Login(context.Context, *providers.Answer) (providers.Token, error) {
	return providers.Token{}, errors.New("no test logs in")
}

// newFake refuses line breaks, is careless with secrets, and names the key in one of
// several ways.
func newFake(s providers.Settings) (providers.Provider, error) {
	for name, value := range s.Values {
		how, _, found := strings.Cut(value, "\n")
		if !found {
			continue
		}
		err := fmt.Errorf("holds a line break (the password was %s)", s.Secrets["password"].Reveal())
		switch how {
		case "typed":
			return nil, &providers.KeyError{Key: name, Err: err}
		case "absent":
			return nil, &providers.KeyError{Key: "username", Err: err}
		case "named":
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return nil, fmt.Errorf("%s %w", name, err)
	}
	return fake{s}, nil
}

// testKinds have the keys of real providers.
func testKinds() []*providers.Kind {
	bearer := providers.Header{Name: "Authorization", Format: "Bearer {token}"}
	password := providers.Key{Name: "password", Help: "of the account", Secret: true, Required: true}
	return []*providers.Kind{
		{
			Name: "etna", RenewAt: 0.8, New: newFake,
			Headers: []providers.Header{bearer, {Name: "Et-App-Key", Format: "{app_key}"}},
			Keys: []providers.Key{
				{Name: "app_key", Secret: true, Identity: true, Required: true},
				{Name: "username", Identity: true, Required: true},
				password,
				{Name: "pin", Secret: true},
				{Name: "code", Late: true},
			},
			Person: "code",
		},
		{
			Name: "finam", URL: "https://api.finam.example", RenewAt: 0.75, New: newFake,
			Headers: []providers.Header{{Name: "Authorization", Format: "{token}"}},
			Keys:    []providers.Key{{Name: "secret", Secret: true, Required: true}},
		},
		{
			Name: "simplejwt", RenewAt: 0.6, New: newFake, Headers: []providers.Header{bearer},
			Keys: []providers.Key{
				{Name: "email", Identity: true, Group: "login"},
				{Name: "username", Identity: true, Group: "login"},
				{Name: "username_field", Default: "login"},
				password,
			},
		},
	}
}

// dir is a directory with the files that the corpus names.
func dir(t *testing.T) string {
	t.Helper()
	d := t.TempDir()
	ca, err := os.ReadFile("testdata/ca.pem")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"secret": marker + "file\n", "other": marker + "other\r\n", "empty": "", "newline": "\n",
		"latin1": marker + "\xe9", "bom": "\ufeff" + marker + "bom", "blank": marker + "blank \n",
		"open": marker + "open", "big": strings.Repeat(marker, maxSecret/len(marker)+1),
		"ca.pem": string(ca), "bad.pem": "-----BEGIN CERTIFICATE-----\naHVzaA==\n-----END CERTIFICATE-----\n",
	} {
		write(t, filepath.Join(d, name), text)
	}
	surroundings(t, d)
	if err := errors.Join(
		os.Chmod(filepath.Join(d, "open"), 0o644),
		os.Mkdir(filepath.Join(d, "dir"), 0o700),
		os.Symlink("circle", filepath.Join(d, "circle")),
		syscall.Mkfifo(filepath.Join(d, "fifo"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	return d
}

// seed is a key for one-time codes, which are not to be shown either.
const seed = "HUSHHUSHHUSHHUSHHUSHHUSHHUSHHUSH"

// surroundings are the credentials and the environment that the corpus names.
func surroundings(t testing.TB, d string) {
	t.Helper()
	creds := filepath.Join(d, "creds")
	if err := os.Mkdir(creds, 0o700); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"secret": marker + "cred1\n", "empty": "\n", "open": marker + "open", "seed": seed + "\n", "blank": marker + "cred ",
	} {
		write(t, filepath.Join(creds, name), text)
	}
	if err := os.Chmod(filepath.Join(creds, "open"), 0o644); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d, "seed"), seed+"\n")
	for name, value := range map[string]string{
		"CREDENTIALS_DIRECTORY": creds, "TOKEND_TEST": marker + "env1", "TOKEND_SEED": seed, "TOKEND_EMPTY": "", "TOKEND_NEWLINE": "\n",
		"PATH": "/usr/local/bin:/usr/bin:/bin", "HTTPS_PROXY": "", "https_proxy": "", "ALL_PROXY": "", "all_proxy": "",
	} {
		t.Setenv(name, value)
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// loader is one for the text, with @DIR@ replaced by the directory it is in.
func loader(t *testing.T, d, text string) *Loader {
	t.Helper()
	path := filepath.Join(d, "credentials.toml")
	write(t, path, strings.ReplaceAll(text, "@DIR@", d))
	return testLoader(path)
}

func testLoader(path string) *Loader {
	l := NewLoader(Options{Path: path, Service: true})
	l.kinds = testKinds()
	return l
}

// load expects no problems.
func load(t *testing.T, l *Loader) *File {
	t.Helper()
	f, err := l.Load(t.Context())
	if err != nil {
		t.Fatalf("Load: %v", problemsOf(err, "\n"))
	}
	return f
}

// problemsOf is every problem of the error, as users see them.
func problemsOf(err error, end string) string {
	invalid, ok := errors.AsType[*Invalid](err)
	if !ok {
		return fmt.Sprint(err)
	}
	var b strings.Builder
	for _, p := range invalid.Problems {
		b.WriteString(p.String() + end)
	}
	return b.String()
}

// TestBad reads every file of testdata/bad, each of which has in NAME.want exactly
// what is wrong with it.
func TestBad(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.toml")
	if err != nil || len(files) < 130 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	d := dir(t)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".toml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			l := loader(t, d, string(text))
			f, err := l.Load(t.Context())
			if f != nil || err == nil {
				t.Fatalf("Load: %v, %v; want an error", f, err)
			}
			got := strings.ReplaceAll(problemsOf(err, "\n"), d+"/credentials.toml", "FILE")
			got = strings.ReplaceAll(got, d, "@DIR@")
			for _, text := range []string{got, err.Error(), fmt.Sprintf("%+v %#v", err, err), fmt.Sprintf("%+v", l)} {
				if strings.Contains(text, marker) || strings.Contains(text, seed[:8]) {
					t.Errorf("a secret is shown: %s", text)
				}
			}
			checked(t, l, err)
			compare(t, strings.TrimSuffix(file, ".toml")+".want", got)
		})
	}
}

// checked asserts that a check finds what Load finds, and that it takes for a mere
// warning what only the daemon's surroundings can tell.
func checked(t *testing.T, l *Loader, loaded error) {
	t.Helper()
	invalid, _ := errors.AsType[*Invalid](loaded)
	problems, warnings := l.check(t.Context())
	l.lenient = false
	for _, p := range invalid.Problems {
		absent := strings.Contains(p.Detail, "tokend's environment") || strings.Contains(p.Detail, "LoadCredential= to")
		if slices.Contains(problems, p) == absent || slices.Contains(warnings, p) != absent {
			t.Errorf("check finds %v as a problem: %v, as a warning: %v", p, slices.Contains(problems, p), slices.Contains(warnings, p))
		}
	}
	for _, p := range problems {
		if !slices.Contains(invalid.Problems, p) {
			t.Errorf("only check finds %v", p)
		}
	}
}

func compare(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}

// TestBad_sorted asserts what scripts rely on: problems in the order of the file,
// each with its place.
func TestBad_sorted(t *testing.T) {
	place := regexp.MustCompile(`^FILE:([1-9]\d*):([1-9]\d*): `)
	wants, err := filepath.Glob("testdata/bad/*.want")
	if err != nil || len(wants) == 0 {
		t.Fatal(wants, err)
	}
	for _, file := range wants {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var places [][2]int
		for line := range strings.Lines(string(text)) {
			var p [2]int
			m := place.FindStringSubmatch(line)
			if m == nil {
				t.Errorf("%s: no place: %s", file, line)
				continue
			}
			fmt.Sscan(m[1], &p[0])
			fmt.Sscan(m[2], &p[1])
			places = append(places, p)
		}
		if !slices.IsSortedFunc(places, func(a, b [2]int) int { return slices.Compare(a[:], b[:]) }) {
			t.Errorf("%s is not in order: %v", file, places)
		}
	}
}
