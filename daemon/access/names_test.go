package access

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const passwdFile = `root:x:0:0:root:/root:/bin/sh
# a comment
+nis::::::
alice:x:1001:1001:Alice:/home/alice:/bin/sh
alice:x:1:1:a second entry:/:/bin/sh
1234:x:5:5:a name that is a number:/:/bin/sh
toor:x:0:0::/:/bin/sh
huge:x:4294967295:1::/:/bin/sh
short:x
`

const groupFile = `root:x:0:
trading:x:27:alice,bob
`

// script is a getent that counts its runs in the file beside it.
const script = `#!/bin/sh
echo "$1 $2" >>"$0.runs"
case "$1 $2" in
"passwd bob") echo 'bob:*:70001:70000:Bob:/home/bob:/bin/sh' ;;
"passwd 70001") echo 'bob:*:70001:70000:Bob:/home/bob:/bin/sh' ;;
"group domain users") echo 'domain users:*:70000:' ;;
"passwd odd") echo 'no entry at all' ;;
"passwd none") echo 'none:*:4294967295:1::/:/bin/sh' ;;
"passwd broken") exit 3 ;;
"passwd slow") exec sleep 60 ;;
*) exit 2 ;;
esac
`

// machine is a Names with files and a getent of its own.
func machine(t *testing.T) *Names {
	t.Helper()
	dir := t.TempDir()
	n := &Names{
		files: map[string]string{passwd: filepath.Join(dir, "passwd"), group: filepath.Join(dir, "group")},
		run:   filepath.Join(dir, "getent"),
	}
	for path, text := range map[string]string{n.files[passwd]: passwdFile, n.files[group]: groupFile, n.run: script} {
		if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func runs(t *testing.T, n *Names) string {
	t.Helper()
	data, err := os.ReadFile(n.run + ".runs")
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(data)
}

func TestParse(t *testing.T) {
	n := machine(t)
	for _, tt := range []struct {
		rule string
		kind ruleKind
		id   uint32
	}{
		{"everyone", ruleEveryone, 0},
		{"user:root", ruleUser, 0},
		{"user:toor", ruleUser, 0},
		{"user:alice", ruleUser, 1001},
		{"user:1001", ruleUser, 1001},
		{"user:1234", ruleUser, 1234}, // a number, whoever has that name
		{"user:0", ruleUser, 0},
		{"user:4294967294", ruleUser, 4294967294},
		{"user:bob", ruleUser, 70001},
		{"group:trading", ruleGroup, 27},
		{"group:27", ruleGroup, 27},
		{"group:domain users", ruleGroup, 70000},
	} {
		rule, err := n.Parse(tt.rule)
		if want := (Rule{tt.kind, tt.id, tt.rule}); err != nil || rule != want {
			t.Errorf("%s: got %#v, %v; want %#v", tt.rule, rule, err, want)
		}
		if rule.String() != tt.rule {
			t.Errorf("%s: String is %q", tt.rule, rule)
		}
	}
	if got, want := runs(t, n), "passwd bob\ngroup domain users\n"; got != want {
		t.Errorf("getent was asked for %q, want %q", got, want)
	}
}

func TestParse_errors(t *testing.T) {
	n := machine(t)
	const forms = ": a rule is user:NAME, user:UID, group:NAME, group:GID, unit:NAME.service or everyone"
	for rule, want := range map[string]string{
		"":                       `bad rule ""` + forms,
		"alice":                  `bad rule "alice"` + forms,
		"Everyone":               `bad rule "Everyone"` + forms,
		"everyone:":              `bad rule "everyone:"` + forms,
		" user:alice":            `bad rule " user:alice"` + forms,
		"users:alice":            `bad rule "users:alice"` + forms,
		"user":                   `bad rule "user:": the name or number is missing`,
		"user:":                  `bad rule "user:": the name or number is missing`,
		"group:":                 `bad rule "group:": the name or number is missing`,
		"user:4294967295":        `bad rule "user:4294967295": the number must be at most 4294967294`,
		"group:4294967296":       `bad rule "group:4294967296": the number must be at most 4294967294`,
		"user:99999999999999999": `bad rule "user:99999999999999999": the number must be at most 4294967294`,
		"user:+0":                `bad rule "user:+0": that is no user name`,
		"user: 0":                `bad rule "user: 0": that is no user name`,
		"user:-s":                `bad rule "user:-s": that is no user name`,
		"group:a:b":              `bad rule "group:a:b": that is no group name`,
		"user:a\nb":              `bad rule "user:a\nb": that is no user name`,
		"user:trading":           `unknown user "trading": use the number`,
		"group:alice":            `unknown group "alice": use the number`,
		"user:short":             `unknown user "short": use the number`,
		"user:huge":              `unknown user "huge": use the number`,
		"user:odd":               `looking up user "odd": reading the answer of getent: a line is not name:password:number:…; use the number`,
		"user:none":              `looking up user "none": reading the answer of getent: the number must be at most 4294967294; use the number`,
		"user:broken":            `looking up user "broken": running getent: exit status 3; use the number`,
		"unit":                   `bad rule "unit": the name of a service is missing`,
		"unit:":                  `bad rule "unit:": the name of a service is missing`,
		"unit:shop":              `bad rule "unit:shop": only services can be named, as unit:NAME.service`,
		"unit:a.scope":           `bad rule "unit:a.scope": only services can be named, as unit:NAME.service`,
		"unit:a@*.service":       `bad rule "unit:a@*.service": there are no patterns; unit:NAME@.service is for every instance of a template`,
		"unit:.service":          `bad rule "unit:.service": that is no name of a service`,
		"unit:@a.service":        `bad rule "unit:@a.service": that is no name of a service`,
		"unit:a/b.service":       `bad rule "unit:a/b.service": that is no name of a service`,
		"unit:a b.service":       `bad rule "unit:a b.service": that is no name of a service`,
	} {
		got, err := n.Parse(rule)
		if err == nil || err.Error() != want || got != (Rule{}) {
			t.Errorf("%q: got %v, %v\nwant %s", rule, got, err, want)
		}
	}
}

func TestParse_remembers(t *testing.T) {
	n := machine(t)
	for range 3 {
		if _, err := n.Parse("user:nobody-here"); err == nil {
			t.Error("an unknown user was accepted")
		}
		if _, err := n.Parse("user:bob"); err != nil {
			t.Error(err)
		}
	}
	if got, want := runs(t, n), "passwd nobody-here\npasswd bob\n"; got != want {
		t.Errorf("getent was asked for %q, want %q", got, want)
	}
}

// A directory service that hangs costs its limit once, not once for each name.
func TestParse_silentDirectory(t *testing.T) {
	n := machine(t)
	n.limit = 50 * time.Millisecond
	for _, name := range []string{"slow", "bob", "slow"} {
		_, err := n.Parse("user:" + name)
		if err == nil || !strings.HasSuffix(err.Error(), "getent did not answer within 50ms; use the number") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.Parse("user:alice"); err != nil {
		t.Errorf("a name of the file: %v", err)
	}
	if got := runs(t, n); got != "passwd slow\n" && got != "" { // empty: killed before its first line
		t.Errorf("getent was asked for %q", got)
	}
}

func TestUser(t *testing.T) {
	n := machine(t)
	for uid, want := range map[uint32]string{0: "root", 1001: "alice", 70001: "bob", 9: "", 4294967295: ""} {
		if got := n.User(uid); got != want {
			t.Errorf("uid %d: got %q, want %q", uid, got, want)
		}
	}
}

func TestNames_ofThisMachine(t *testing.T) {
	var n Names
	if rule, err := n.Parse("user:root"); err != nil || rule.id != 0 {
		t.Errorf("got %#v, %v", rule, err)
	}
	if got := n.User(0); got != "root" {
		t.Errorf("uid 0 is %q", got)
	}
	if _, err := n.Parse("user:no-such-user-as-this"); err == nil || !strings.HasSuffix(err.Error(), "use the number") {
		t.Errorf("an unknown user: %v", err)
	}
}
