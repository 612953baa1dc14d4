package config

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers"
)

// broker is a credential that has the code from there.
func broker(code string) string {
	return "[credentials.broker]\nprovider = \"etna\"\nurl = \"https://api.example.com\"\napp_key = \"hush-1\"\n" +
		"username = \"alice\"\npassword = { credential = \"secret\" }\n" + code + "\n"
}

// at is when the codes of these tests are made.
var at = time.Unix(1111111109, 0)

// codeOf loads the credential and gets its code.
func codeOf(t *testing.T, l *Loader) (string, error) {
	t.Helper()
	source := made(t, find(t, load(t, l), "broker").Provider).Late["code"]
	if source == nil {
		t.Fatal("there is no source")
	}
	secret, err := source(t.Context(), at)
	return secret.Reveal(), err
}

func TestLate(t *testing.T) {
	const sha1 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ" // of RFC 6238, as is the time
	d := dir(t)
	write(t, filepath.Join(d, "typed"), "gezd gnbv gy3t-qojq gezd gnbv gy3t qojq\r\n")
	write(t, filepath.Join(d, "uri"), "otpauth://totp/B:a?issuer=B&digits=8&secret="+sha1+"\n")
	t.Setenv("TOKEND_SEED", sha1)
	for _, tt := range []struct{ code, want string }{
		{`code = "hush-1\n"`, "hush-1"},
		{`code = { file = "@DIR@/secret" }`, "hush-file"},
		{`code = { credential = "secret" }`, "hush-cred1"},
		{`code = { env = "TOKEND_TEST" }`, "hush-env1"},
		{`code = { command = ["/bin/echo", "hush-2"] }`, "hush-2"},
		{`code = { command = ["echo", "-n", "hush-2"] }`, "hush-2"},
		{`code = { totp = "` + sha1 + `" }`, "081804"},
		{`code = { totp = " otpauth://TOTP/B?period=30&algorithm=sha1&digits=6&secret=` + sha1 + `" }`, "081804"},
		{`code = { totp = { file = "@DIR@/typed" } }`, "081804"},
		{`code = { totp = { file = "@DIR@/uri" } }`, "07081804"},
		{`code.totp.env = "TOKEND_SEED"`, "081804"},
		{`code = { totp = { command = ["/bin/echo", "` + sha1 + `"] } }`, "081804"},
		{"[credentials.broker.code]\ntotp = \"" + sha1 + "====\"", "081804"},
	} {
		got, err := codeOf(t, loader(t, d, broker(tt.code)))
		if got != tt.want || err != nil {
			t.Errorf("%s: %q, %v, want %q", tt.code, got, err, tt.want)
		}
	}
}

// TestAdvice: what an operator is told of a refusal depends on where the secrets are.
func TestAdvice(t *testing.T) {
	d := dir(t)
	for _, tt := range []struct{ secret, code, want string }{
		{`"hush"`, `"1"`, ""},
		{`{ env = "TOKEND_TEST" }`, `"1"`, ""},
		{`{ credential = "secret" }`, `"1"`, "restart of tokend"},
		{`"hush"`, `{ totp = { credential = "seed" } }`, "restart of tokend"},
	} {
		text := strings.Replace(broker("code = "+tt.code), `{ credential = "secret" }`, tt.secret, 1)
		if got := find(t, load(t, loader(t, d, text)), "broker").Advice; (got != "") != (tt.want != "") || !strings.Contains(got, tt.want) {
			t.Errorf("secret %s, code %s: %q, want %q", tt.secret, tt.code, got, tt.want)
		}
	}
}

// TestLate_rotated: what is got is what is there when it is needed.
func TestLate_rotated(t *testing.T) {
	d := dir(t)
	write(t, filepath.Join(d, "code"), "") // nothing yet
	l := loader(t, d, broker(`code = { file = "@DIR@/code" }`))
	c := find(t, load(t, l), "broker")
	source := made(t, c.Provider).Late["code"]
	if _, err := source(t.Context(), at); err == nil || err.Error() != filepath.Join(d, "code")+": the secret is empty" {
		t.Errorf("without a code: %v", err)
	}
	write(t, filepath.Join(d, "code"), "hush-new")
	if s, err := source(t.Context(), at); err != nil || s.Reveal() != "hush-new" {
		t.Errorf("with one: %v", err)
	}
	if same, err := c.Reread(t.Context()); err != nil || same.Secrets != c.Secrets {
		t.Errorf("a code came, and the secrets changed: %+v, %v", same, err)
	}
	if again := find(t, load(t, l), "broker"); again.Secrets != c.Secrets {
		t.Error("a code came, and the secrets of the file changed")
	}
	if err := os.Remove(filepath.Join(d, "code")); err != nil {
		t.Fatal(err)
	}
	if _, err := source(t.Context(), at); err == nil || !strings.HasSuffix(err.Error(), "there is no such file") {
		t.Errorf("without a file: %v", err)
	}
}

// TestLate_watched: the files of all sources are watched, and commands are none.
func TestLate_watched(t *testing.T) {
	d := dir(t)
	l := loader(t, d, broker("pin = { file = \"@DIR@/other\" }\ncode = { totp = { file = \"@DIR@/seed\" } }")+
		strings.Replace(broker(`code = { file = "@DIR@/blank" }`), "credentials.broker", "credentials.b2", 1)+
		strings.Replace(broker(`code = { command = ["/bin/echo"] }`), "credentials.broker", "credentials.b3", 1))
	load(t, l)
	got := slices.Sorted(maps.Keys(l.lastSeen()))
	want := []string{"blank", "credentials.toml", "creds/secret", "other", "seed"}
	for i := range want {
		want[i] = filepath.Join(d, want[i])
	}
	if !slices.Equal(got, want) {
		t.Errorf("it watches %q, want %q", got, want)
	}
}

func TestLate_fails(t *testing.T) {
	for _, tt := range []struct{ code, want string }{
		{`code = { command = ["/bin/sh", "-c", "exit 3"] }`, "/bin/sh: exit status 3"},
		{`code = { command = ["/nowhere/hush"] }`, "/nowhere/hush: there is no such program"},
		{`code = { totp = { command = ["/bin/echo", "hush-1"] } }`, "/bin/echo: the key is neither base32 (letters and 2 to 7) nor an otpauth: URI"},
		{`code = { totp = { command = ["/bin/sh", "-c", "exit 3"] } }`, "/bin/sh: exit status 3"},
	} {
		if _, err := codeOf(t, loader(t, dir(t), broker(tt.code))); err == nil || err.Error() != tt.want {
			t.Errorf("%s: %v, want %s", tt.code, err, tt.want)
		}
	}
}

// TestLate_sums: what changes the secrets is another key of codes, or another table.
func TestLate_sums(t *testing.T) {
	d := dir(t)
	write(t, filepath.Join(d, "uri"), "otpauth://totp/B?digits=8&secret="+seed)
	sums := map[[32]byte]string{}
	for _, codes := range [][]string{
		{""},
		{`code = "hush-1"`},
		{`code = "hush-2"`},
		{`code = { file = "@DIR@/seed" }`},
		{`code = { file = "@DIR@/secret" }`},
		{`code = { env = "TOKEND_SEED" }`},
		{`code = { command = ["a", "b"] }`},
		{`code = { command = ["ab"] }`},
		{`code = { totp = { command = ["ab"] } }`},
		{
			`code = { totp = "` + seed + `" }`, `code = { totp = { file = "@DIR@/seed" } }`, `code = { totp = { credential = "seed" } }`,
			`code = { totp = { env = "TOKEND_SEED" } }`, `code = { totp = "otpauth://totp/X:a?issuer=X&secret=` + strings.ToLower(seed) + `" }`,
		},
		{`code = { totp = { file = "@DIR@/uri" } }`},
		{`code = { totp = "otpauth://totp/X?period=60&secret=` + seed + `" }`},
		{`code = { totp = "otpauth://totp/X?algorithm=SHA256&secret=` + seed + `" }`},
		{`code = { totp = "` + seed[:24] + `" }`},
	} {
		for i, code := range codes {
			c := find(t, load(t, loader(t, d, broker(code))), "broker")
			if c.Asks != (code == "") {
				t.Errorf("%q: a person is asked: %v", code, c.Asks)
			}
			if other, known := sums[c.Secrets]; known != (i > 0) || known && other != codes[0] {
				t.Errorf("%q has the sum of %q", code, other)
			}
			sums[c.Secrets] = codes[0]
		}
	}
}

// TestLate_reread: another key in the file may be what a refusal was about.
func TestLate_reread(t *testing.T) {
	d := dir(t)
	c := find(t, load(t, loader(t, d, broker(`code = { totp = { file = "@DIR@/seed" } }`))), "broker")
	if same, err := c.Reread(t.Context()); err != nil || same.Secrets != c.Secrets {
		t.Errorf("nothing changed: %+v, %v", same, err)
	}
	write(t, filepath.Join(d, "seed"), seed[:24])
	again, err := c.Reread(t.Context())
	if err != nil || again.Secrets == c.Secrets || len(made(t, again.Provider).Late) != 1 || made(t, again.Provider).Secrets["code"] != (providers.Secret{}) {
		t.Errorf("the key changed: %+v, %v", again, err)
	}
	write(t, filepath.Join(d, "seed"), "hush-1")
	want := "reading code from " + filepath.Join(d, "seed") + ": the key is neither base32 (letters and 2 to 7) nor an otpauth: URI"
	if _, err := c.Reread(t.Context()); err == nil || err.Error() != want {
		t.Errorf("the key is bad: %v", err)
	}
	write(t, filepath.Join(d, "seed"), seed)
	write(t, filepath.Join(d, "creds/secret"), "hush-cred2")
	again, err = c.Reread(t.Context())
	if err != nil || again.Secrets == c.Secrets || made(t, again.Provider).Secrets["password"].Reveal() != "hush-cred2" {
		t.Errorf("the credential changed: %+v, %v", again, err)
	}
}

// TestLate_warnings: whatever may be there by the time it is needed is no problem.
func TestLate_warnings(t *testing.T) {
	d := dir(t)
	t.Setenv("PATH", d+":.")
	write(t, filepath.Join(d, "plain"), "")
	for code, want := range map[string]string{
		`code = { command = ["/nowhere/x"] }`:            "8:20: credentials.broker.code.command: /nowhere/x: there is no such program",
		`code = { command = ["hush-1"] }`:                "8:20: credentials.broker.code.command: the program is in no directory of tokend's PATH: give its absolute path",
		`code = { totp = { command = ["@DIR@/plain"] }}`: "8:29: credentials.broker.code.totp.command: @DIR@/plain: permission denied",
		`code = { totp = "HUSHHUSH" }`:                   "8:17: credentials.broker.code.totp: the key is shorter than any in use: is it the whole one?",
		`code = { totp = { credential = "blank" } }`:     "8:32: credentials.broker.code.totp.credential: @DIR@/creds/blank: the key is shorter than any in use: is it the whole one?",
	} {
		l := loader(t, d, "# a line\n"+broker(code))
		var got []string
		for _, w := range load(t, l).Warnings {
			got = append(got, strings.ReplaceAll(strings.TrimPrefix(w.String(), l.path+":"), d, "@DIR@"))
		}
		if len(got) != 1 || got[0] != want {
			t.Errorf("%s: %q", code, got)
		}
	}
}

// TestCheck_foreign: root who checks is told whose files tokend would take.
func TestCheck_foreign(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: only root can make a file of others")
	}
	d := dir(t)
	for _, name := range []string{"secret", "seed", "creds/secret"} {
		if err := os.Chown(filepath.Join(d, name), 990, 0); err != nil {
			t.Fatal(err)
		}
	}
	for _, code := range []string{`code = { file = "@DIR@/secret" }`, `code = { totp = { file = "@DIR@/seed" } }`} {
		problems, warnings := loader(t, d, broker(code)).check(t.Context())
		if len(problems) != 0 || len(warnings) != 2 || !strings.Contains(warnings[1].Detail, "it belongs to uid 990") {
			t.Errorf("%s: problems %v, warnings %v", code, problems, warnings)
		}
	}
}

// TestCheck_absent: a check goes on without what only the daemon's surroundings have.
func TestCheck_absent(t *testing.T) {
	d := dir(t)
	for _, dir := range []string{"", "creds", filepath.Join(d, "dir")} {
		t.Setenv("CREDENTIALS_DIRECTORY", dir)
		l := loader(t, d, broker("code = { totp = { env = \"TOKEND_UNSET\" } }\npin = { env = \"TOKEND_UNSET\" }"))
		_, err := l.Load(t.Context())
		invalid, _ := errors.AsType[*Invalid](err)
		if invalid == nil || len(invalid.Problems) != 3 {
			t.Fatalf("Load finds %v", err)
		}
		if want := map[bool]string{true: "tokend has no credential of that name", false: "CREDENTIALS_DIRECTORY is not set"}[filepath.IsAbs(dir)]; !strings.Contains(err.Error(), want) {
			t.Errorf("with %q: %v, want %s", dir, err, want)
		}
		problems, warnings := l.check(t.Context())
		if len(problems) != 0 || len(warnings) != 3 {
			t.Errorf("check: problems %v, warnings %v", problems, warnings)
		}
	}
	l := loader(t, d, strings.Replace(broker(`pin = { env = "TOKEND_UNSET" }`), "alice", "typed\\n", 1))
	if problems, _ := l.check(t.Context()); len(problems) != 1 || problems[0].Key != "credentials.broker.username" {
		t.Errorf("the kind is not asked: %v", problems)
	}
}

func TestLate_ended(t *testing.T) {
	d := dir(t)
	l := loader(t, d, broker(`code = { command = ["/bin/sleep", "60"] }`))
	source := made(t, find(t, load(t, l), "broker").Provider).Late["code"]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := source(ctx, at); !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}
