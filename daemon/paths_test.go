package daemon

import "testing"

func TestDefaultPaths(t *testing.T) {
	const user = 1000
	for _, row := range []struct {
		name string
		euid int
		env  map[string]string
		want Paths
	}{
		{"root", 0, map[string]string{"HOME": "/root"}, Paths{
			Credentials: "/etc/tokend/credentials.toml", Socket: "/run/tokend/tokend.sock", Store: "/root/.local/state/tokend/tokens.db",
		}},
		{"a unit with a user of its own", 990, map[string]string{"STATE_DIRECTORY": "/var/lib/tokend:/var/lib/more", "HOME": "/"}, Paths{
			Credentials: "/etc/tokend/credentials.toml", Socket: "/run/tokend/tokend.sock", Store: "/var/lib/tokend/tokens.db",
		}},
		{"RUNTIME_DIRECTORY alone", 990, map[string]string{"RUNTIME_DIRECTORY": "/run/tokend", "HOME": "/home/t"}, Paths{
			Credentials: "/etc/tokend/credentials.toml", Socket: "/run/tokend/tokend.sock", Store: "/home/t/.local/state/tokend/tokens.db",
		}},
		{"a user", user, map[string]string{"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/1000"}, Paths{
			Credentials: "/home/u/.config/tokend/credentials.toml", Socket: "/run/user/1000/tokend/tokend.sock", Store: "/home/u/.local/state/tokend/tokens.db",
		}},
		{"a user with other places", user, map[string]string{"HOME": "/home/u", "XDG_CONFIG_HOME": "/c", "XDG_STATE_HOME": "/s", "XDG_RUNTIME_DIR": "/r"}, Paths{
			Credentials: "/c/tokend/credentials.toml", Socket: "/r/tokend/tokend.sock", Store: "/s/tokend/tokens.db",
		}},
		{"relative places do not count", user, map[string]string{"HOME": "/home/u", "XDG_CONFIG_HOME": "c", "XDG_STATE_HOME": "s"}, Paths{
			Credentials: "/home/u/.config/tokend/credentials.toml", Store: "/home/u/.local/state/tokend/tokens.db",
		}},
		{"nothing known", user, nil, Paths{}},
		{"no key among the unit's credentials", user, map[string]string{"CREDENTIALS_DIRECTORY": "/nonexistent"}, Paths{}},
	} {
		t.Run(row.name, func(t *testing.T) {
			if got := DefaultPaths(row.euid, func(name string) string { return row.env[name] }); got != row.want {
				t.Errorf("got %+v\nwant %+v", got, row.want)
			}
		})
	}
}
