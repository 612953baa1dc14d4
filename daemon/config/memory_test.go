package config

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/keeper"
)

// pass is a command that notes that it was run, and prints what a file holds.
func pass(name string) string {
	return `{ command = ["/bin/sh", "-c", "echo ` + name + ` >>@DIR@/runs; cat @DIR@/` + name + `"] }`
}

// runs are the commands that were run so far.
func runs(t *testing.T, d string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(d, "runs"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return strings.ReplaceAll(strings.TrimSpace(string(data)), "\n", " ")
}

// vault is a directory with what commands give, and a Loader there.
func vault(t *testing.T) (d string, l *Loader) {
	d = dir(t)
	write(t, filepath.Join(d, "pw"), marker+"pw1\n")
	write(t, filepath.Join(d, "key"), marker+"key1\n")
	write(t, filepath.Join(d, "gone"), marker+"gone\n")
	l = loader(t, d, "")
	return d, l
}

// rewritten loads another text, and returns the broker of it.
func rewritten(t *testing.T, l *Loader, text string) *keeper.Credential {
	t.Helper()
	write(t, l.path, strings.ReplaceAll(text, "@DIR@", filepath.Dir(l.path)))
	return find(t, load(t, l), "broker")
}

// again rereads the credential, and expects it complete.
func again(t *testing.T, c *keeper.Credential) *keeper.Credential {
	t.Helper()
	whole, err := c.Reread(t.Context())
	if err != nil || whole.Unread || whole.Provider == nil {
		t.Fatalf("Reread: %+v, %v", whole, err)
	}
	return whole
}

func etna(appKey, password, more string) string {
	return "[credentials.broker]\nprovider = \"etna\"\nurl = \"https://api.example.com\"\napp_key = " + appKey +
		"\nusername = \"alice\"\npassword = " + password + "\n" + more
}

func password(t *testing.T, c *keeper.Credential) string {
	t.Helper()
	return made(t, c.Provider).Secrets["password"].Reveal()
}

// TestAhead: a load runs no command; what is to come comes by Reread, and stays.
func TestAhead(t *testing.T) {
	d, l := vault(t)
	text := etna(`"hush-1"`, pass("pw"), "")
	c := rewritten(t, l, text)
	if !c.Unread || c.Provider != nil || c.Secrets != [32]byte{} || c.Identity == [32]byte{} || len(c.Headers) != 2 || runs(t, d) != "" {
		t.Fatalf("the first load: %+v, runs %q", c, runs(t, d))
	}
	whole := again(t, c)
	if password(t, whole) != "hush-pw1" || whole.Identity != c.Identity || whole.Table != c.Table || whole.Headers[1].Format != "hush-1" || runs(t, d) != "pw" {
		t.Errorf("the reading: %+v, runs %q", whole, runs(t, d))
	}
	next := rewritten(t, l, "# a comment\n"+text)
	if next.Unread || next.Secrets != whole.Secrets || next.Table != c.Table || runs(t, d) != "pw" {
		t.Errorf("the next load: %+v, runs %q", next, runs(t, d))
	}
	write(t, filepath.Join(d, "pw"), "hush-pw2")
	if rotated := again(t, next); password(t, rotated) != "hush-pw2" || rotated.Secrets == next.Secrets || !rotated.Read.After(next.Read) {
		t.Errorf("the second reading: %+v", rotated)
	}
	if last := rewritten(t, l, text); password(t, last) != "hush-pw2" || runs(t, d) != "pw pw" {
		t.Errorf("the load after that: %q, runs %q", password(t, last), runs(t, d))
	}
}

// TestAhead_identity: nobody knows whose credential it is before its key is read.
func TestAhead_identity(t *testing.T) {
	d, l := vault(t)
	c := rewritten(t, l, etna(pass("key"), pass("pw"), ""))
	if !c.Unread || c.Provider != nil || c.Identity != [32]byte{} || c.Headers != nil {
		t.Errorf("the load: %+v", c)
	}
	whole := again(t, c)
	inline := rewritten(t, loader(t, dir(t), ""), etna(`"hush-key1"`, `"hush-pw1"`, ""))
	if whole.Identity != inline.Identity || whole.Secrets != inline.Secrets || whole.Headers[1] != inline.Headers[1] {
		t.Errorf("%+v is not %+v", whole, inline)
	}
	write(t, filepath.Join(d, "key"), "hush-\tkey")
	if _, err := whole.Reread(t.Context()); err != nil {
		t.Errorf("a key with a tab: %v", err)
	}
	write(t, filepath.Join(d, "key"), "hush-\nkey")
	if _, err := whole.Reread(t.Context()); err == nil || !strings.HasPrefix(err.Error(), "secrets that cannot be used: app_key: callers send it in a header") || strings.Contains(err.Error(), marker) {
		t.Errorf("a key that no header can hold: %v", err)
	}
}

// TestReread_identity: a key that decides about the identity may be rotated too.
func TestReread_identity(t *testing.T) {
	d := dir(t)
	c := find(t, load(t, loader(t, d, good)), "broker")
	write(t, filepath.Join(d, "other"), "hush-rotated")
	whole := again(t, c)
	if whole.Identity == c.Identity || whole.Headers[1].Format != "hush-rotated" || c.Headers[1].Format != "hush-other" {
		t.Errorf("%+v", whole)
	}
}

// TestAhead_changed: what changes the table has the commands run again; until they
// give something the old secrets work on, but for nobody and nowhere else.
func TestAhead_changed(t *testing.T) {
	fails := `{ command = ["/bin/false"] }`
	for _, tt := range []struct {
		name, first, then, kept string // kept: the password, "" for no provider
	}{
		{"the command", etna(`"hush-1"`, pass("pw"), ""), etna(`"hush-1"`, fails, ""), "hush-pw1"},
		{"another key", etna(`"hush-1"`, pass("pw"), ""), etna(`"hush-1"`, pass("pw"), "timeout = \"1s\""), "hush-pw1"},
		{"from the file itself", etna(`"hush-1"`, `"hush-2"`, ""), etna(`"hush-1"`, fails, ""), "hush-2"},
		{"from a file", etna(`"hush-1"`, `{ file = "@DIR@/secret" }`, ""), etna(`"hush-1"`, fails, ""), "hush-file"},
		{"the identity's key", etna(`"hush-1"`, `"hush-2"`, ""), etna(fails, `"hush-2"`, ""), "hush-2"},
		{"both", etna(`"hush-1"`, `"hush-2"`, ""), etna(fails, fails, ""), "hush-2"},
		{"the identity's key, and back", etna(pass("key"), `"hush-2"`, ""), etna(`"hush-key1"`, fails, ""), "hush-2"},
		{"the identity's key is another", etna(`"hush-1"`, pass("pw"), ""), etna(`"hush-3"`, pass("pw"), ""), ""},
		{"the url", etna(`"hush-1"`, pass("pw"), ""), strings.Replace(etna(`"hush-1"`, pass("pw"), ""), "api.", "evil.", 1), ""},
		{"the user", etna(`"hush-1"`, pass("pw"), ""), strings.Replace(etna(`"hush-1"`, pass("pw"), ""), "alice", "bob", 1), ""},
		{"the provider", etna(`"hush-1"`, pass("pw"), ""), "[credentials.broker]\nprovider = \"simplejwt\"\nurl = \"https://api.example.com\"\nusername = \"alice\"\npassword = " + fails, ""},
		{"one more secret", etna(`"hush-1"`, pass("pw"), ""), etna(`"hush-1"`, pass("pw"), "pin = "+fails), ""},
		{"the name", strings.Replace(etna(`"hush-1"`, pass("pw"), ""), "broker", "b2", 1), etna(`"hush-1"`, pass("pw"), ""), ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d, l := vault(t)
			write(t, l.path, strings.ReplaceAll(tt.first, "@DIR@", d))
			if c := load(t, l).Credentials[0]; c.Unread {
				again(t, c)
			}
			for range 3 {
				c := rewritten(t, l, tt.then)
				if !c.Unread || (c.Provider == nil) != (tt.kept == "") {
					t.Fatalf("%+v", c)
				}
				if tt.kept != "" && password(t, c) != tt.kept {
					t.Errorf("kept: %q, want %q", password(t, c), tt.kept)
				}
			}
		})
	}
}

// TestAhead_forgotten: a credential that was removed is a new one, and a file with
// problems is none at all.
func TestAhead_forgotten(t *testing.T) {
	d, l := vault(t)
	text := etna(`"hush-1"`, pass("pw"), "")
	whole := again(t, rewritten(t, l, text))
	write(t, l.path, "[credentials]\nbroker = 1\n")
	if _, err := l.Load(t.Context()); err == nil {
		t.Fatal("it loads")
	}
	if c := rewritten(t, l, text); c.Unread {
		t.Error("forgotten after a bad file")
	}
	write(t, l.path, "[credentials]\n")
	load(t, l)
	again(t, whole) // for nobody any more
	if c := rewritten(t, l, text); !c.Unread || c.Provider != nil || runs(t, d) != "pw pw" {
		t.Errorf("after the removal: %+v", c)
	}
}

// TestAhead_files: a file that changes has no command run.
func TestAhead_files(t *testing.T) {
	d, l := vault(t)
	text := etna(`"hush-1"`, `{ file = "@DIR@/secret" }`, "pin = "+pass("pw"))
	first := again(t, rewritten(t, l, text))
	write(t, filepath.Join(d, "secret"), "hush-rotated")
	c := rewritten(t, l, text)
	if c.Unread || c.Secrets == first.Secrets || password(t, c) != "hush-rotated" || made(t, c.Provider).Secrets["pin"].Reveal() != "hush-pw1" || runs(t, d) != "pw" {
		t.Errorf("%+v, runs %q", c, runs(t, d))
	}
	write(t, filepath.Join(d, "secret"), "hush-once more")
	if whole := again(t, c); password(t, whole) != "hush-once more" || runs(t, d) != "pw pw" {
		t.Errorf("%+v, runs %q", whole, runs(t, d))
	}
}

// TestAhead_overtaken: a Load that began before a reading ended, and the other way
// round.
func TestAhead_overtaken(t *testing.T) {
	d, l := vault(t)
	text := etna(`"hush-1"`, pass("pw"), "")
	first, second := rewritten(t, l, text), rewritten(t, l, text)
	whole := again(t, first)
	if other := again(t, second); other.Secrets != whole.Secrets || !other.Read.Equal(whole.Read) || runs(t, d) != "pw" {
		t.Errorf("what was read meanwhile is read again: runs %q", runs(t, d))
	}
	old := l.bench.memory.of("broker")
	write(t, filepath.Join(d, "pw"), "hush-pw2")
	again(t, whole)
	l.bench.memory.keep(map[string]memo{"broker": old}) // as a slow Load would
	if c := rewritten(t, l, text); c.Unread || password(t, c) != "hush-pw2" {
		t.Errorf("the older secret is back: %+v", c)
	}
	third := rewritten(t, l, etna(`"hush-1"`, pass("gone"), ""))
	write(t, filepath.Join(d, "pw"), "hush-pw3")
	again(t, whole) // of a table that is gone
	if c := rewritten(t, l, etna(`"hush-1"`, pass("gone"), "")); !c.Unread || password(t, c) != "hush-pw2" {
		t.Errorf("it has the secrets of another table: %+v", c)
	}
	if password(t, again(t, third)) != "hush-gone" {
		t.Error("the new table's are not read")
	}
}

// TestAhead_fails: errors say which key, and not what was printed.
func TestAhead_fails(t *testing.T) {
	for source, want := range map[string]string{
		`{ command = ["/bin/sh", "-c", "echo hush-1; echo no such entry >&2; exit 3"] }`: `reading password: /bin/sh: exit status 3: "no such entry"`,
		`{ command = ["/nowhere/hush"] }`:                                                "reading password: /nowhere/hush: there is no such program",
		`{ command = ["hush-1"] }`:                                                       "reading password: the program is in no directory of tokend's PATH: give its absolute path",
		`{ command = ["/bin/true"] }`:                                                    "reading password: /bin/true: what it printed cannot be used: the secret is empty",
	} {
		_, l := vault(t)
		c := rewritten(t, l, etna(`"hush-1"`, source, ""))
		if _, err := c.Reread(t.Context()); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", source, err, want)
		}
	}
}

// TestAhead_check: a check runs nothing, and checks all else.
func TestAhead_check(t *testing.T) {
	d, l := vault(t)
	write(t, l.path, strings.ReplaceAll(etna(pass("key"), pass("pw"), "pin = { command = [\"/nowhere/x\"] }"), "@DIR@", d))
	problems, warnings := l.check(t.Context())
	if len(problems) != 0 || len(warnings) != 1 || warnings[0].Key != "credentials.broker.pin.command" || runs(t, d) != "" {
		t.Errorf("problems %v, warnings %v, runs %q", problems, warnings, runs(t, d))
	}
}

// TestAhead_eight: so many commands run at a time, whoever asks.
func TestAhead_eight(t *testing.T) {
	d, l := vault(t)
	var text strings.Builder
	for i := range 12 {
		wait := `{ command = ["/bin/sh", "-c", "echo x >>@DIR@/runs; until [ -e @DIR@/go ]; do sleep 0.01; done; echo hush-1"] }`
		text.WriteString(strings.Replace(etna(`"hush-1"`, wait, ""), "broker", fmt.Sprintf("b%d", i), 1))
	}
	write(t, l.path, strings.ReplaceAll(text.String(), "@DIR@", d))
	var all sync.WaitGroup
	for _, c := range load(t, l).Credentials {
		all.Go(func() { again(t, c) })
	}
	for len(strings.Fields(runs(t, d))) < 8 {
		time.Sleep(time.Millisecond)
	}
	if n, taken := len(strings.Fields(runs(t, d))), len(l.bench.commands.slots); n != 8 || taken != 8 {
		t.Errorf("%d run, %d places are taken", n, taken)
	}
	write(t, filepath.Join(d, "go"), "")
	all.Wait()
	if n := len(strings.Fields(runs(t, d))); n != 12 {
		t.Errorf("%d have run", n)
	}
}

// TestSum: a table is the same as long as it says the same.
func TestSum(t *testing.T) {
	sum := func(text string) [32]byte { return parse(&report{data: []byte(text)}).sum() }
	same := sum("a = 'x'\nb = [1, 2]\nc = { d = true }")
	if sum("# it\nb = [ 1, # one\n 2 ]\nc.d = true\n\"a\" = \"\\u0078\"") != same {
		t.Error("another notation is another table")
	}
	for _, text := range []string{
		"a = 'y'\nb = [1, 2]\nc = { d = true }", "a = 'x'\nb = [2, 1]\nc = { d = true }", "a = 'x'\nb = [12]\nc = { d = true }",
		"a = 'x'\nb = [1, 2]\nc = { d = 'true' }", "a = 'x'\nb = [1, 2]\nc = { e = true }", "a = 'x'\nb = [1, 2]\nc = { d = true }\nd = 1", "a = 'x'\nb = [1, 2]",
	} {
		if sum(text) == same {
			t.Errorf("%q is the same", text)
		}
	}
}
