package config

import (
	"path/filepath"
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
