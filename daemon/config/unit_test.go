package config

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tokend-project/tokend/daemon/access"
)

// units is a file with a rule about a unit in each table.
const units = `
[defaults]
operate = ["unit:ops.service"]

[credentials.finam]
provider = "finam"
secret   = "hush-1"
allow    = ["user:1", 'unit:dev\x2dshop@.service']
`

func TestLoad_units(t *testing.T) {
	f := load(t, loader(t, dir(t), units))
	peer := access.Peer{UID: 7, Unit: func() (string, error) { return `dev\x2dshop@1.service`, nil }}
	if ok, why := find(t, f, "finam").Rules.Decide(peer, access.Read); !ok {
		t.Error(why)
	}
	if ok, why := f.Daemon.Decide(peer, access.Operate); ok {
		t.Errorf("granted by %s", why)
	}
}

func TestLoad_unitsOfUser(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.toml")
	write(t, path, units)
	const detail = "in a user's daemon unit: is an error, for units are those of the system manager; use user:NAME or group:NAME"
	want := path + `:3:12: defaults.operate: bad rule "unit:ops.service": ` + detail + "\n" +
		path + `:8:23: credentials.finam.allow: bad rule "unit:dev\\x2dshop@.service": ` + detail + "\n"
	if _, err := NewLoader(Options{Path: path}).Load(t.Context()); problemsOf(err, "\n") != want {
		t.Errorf("got:\n%swant:\n%s", problemsOf(err, "\n"), want)
	}
	if problems, _ := Check(t.Context(), Options{Path: path}); len(problems) != 2 {
		t.Errorf("a check for a user's daemon: %v", problems)
	}
	if problems, _ := Check(t.Context(), Options{Path: path, Service: true}); len(problems) != 0 {
		t.Errorf("a check for a service: %v", problems)
	}
}

// TestLoad_unmapped reads a file in a user namespace such as PrivateUsers=identity makes.
func TestLoad_unmapped(t *testing.T) {
	const child = "TOKEND_TEST_UNMAPPED"
	if path := os.Getenv(child); path != "" {
		f, err := NewLoader(Options{Path: path, Service: true}).Load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range f.Warnings {
			t.Log("WARNED", w.Line, w.Column, w.Key, w.Detail)
		}
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED, NOT TESTED: needs root to make a user namespace of 65536 numbers")
	}
	path := filepath.Join(dir(t), "credentials.toml")
	write(t, path, "[defaults]\nallow = [\"user:65535\", \"group:65536\"]\n[credentials]\n")
	cmd := exec.Command(os.Args[0], "-test.run=^TestLoad_unmapped$", "-test.v")
	cmd.Env = append(os.Environ(), child+"="+path)
	same := []syscall.SysProcIDMap{{Size: 65536}}
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUSER, UidMappings: same, GidMappings: same}
	out, err := cmd.CombinedOutput()
	if err != nil || strings.Count(string(out), "WARNED") != 1 || !strings.Contains(string(out), "WARNED 2 24 defaults.allow group:65536 fits nobody: ") {
		t.Errorf("%v:\n%s", err, out)
	}
}
