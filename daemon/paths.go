package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Paths are the files that tokend works with.
type Paths struct {
	Credentials string // the credentials file
	Socket      string
	Store       string
	KeyFile     string // of the store; empty: the one beside it, made on first start
}

// DefaultPaths are those of a service if tokend is one, that is, if euid is 0 or
// systemd set STATE_DIRECTORY or RUNTIME_DIRECTORY; else those of a user. A path is
// empty if the environment does not say where it is.
func DefaultPaths(euid int, getenv func(string) string) Paths {
	var p Paths
	if Service(euid, getenv) {
		p.Credentials, p.Socket = "/etc/tokend/credentials.toml", "/run/tokend/tokend.sock"
	} else {
		p.Credentials = below(base(getenv, "XDG_CONFIG_HOME", ".config"), "tokend/credentials.toml")
		p.Socket = below(getenv("XDG_RUNTIME_DIR"), "tokend/tokend.sock")
	}
	// Both may be lists; the first is the unit's first StateDirectory=.
	if dir, _, _ := strings.Cut(getenv("STATE_DIRECTORY"), ":"); dir != "" {
		p.Store = filepath.Join(dir, "tokens.db")
	} else {
		p.Store = below(base(getenv, "XDG_STATE_HOME", ".local/state"), "tokend/tokens.db")
	}
	if key := below(getenv("CREDENTIALS_DIRECTORY"), "tokend.key"); key != "" {
		if _, err := os.Lstat(key); err == nil {
			p.KeyFile = key
		}
	}
	return p
}

// Service says whether tokend runs for the whole host rather than for one user.
func Service(euid int, getenv func(string) string) bool {
	return euid == 0 || getenv("STATE_DIRECTORY") != "" || getenv("RUNTIME_DIRECTORY") != ""
}

// base is an XDG base directory, or its default below the home directory.
func base(getenv func(string) string, variable, fallback string) string {
	if dir := getenv(variable); filepath.IsAbs(dir) {
		return dir
	}
	return below(getenv("HOME"), fallback)
}

func below(dir, name string) string {
	if dir == "" {
		return ""
	}
	return filepath.Join(dir, name)
}

// check says which path is not known and how to give it.
func (p Paths) check(inherited bool) error {
	var errs []error
	missing := func(path, what, flag, variable string) {
		if path == "" {
			errs = append(errs, fmt.Errorf("no place for %s is known: give --%s, or set %s", what, flag, variable))
		}
	}
	missing(p.Credentials, "the credentials file", "credentials", "HOME")
	missing(p.Store, "the store", "store", "HOME")
	if !inherited {
		missing(p.Socket, "the socket", "socket", "XDG_RUNTIME_DIR")
	}
	if len(errs) == 0 {
		return nil
	}
	return errs[0] // one sentence; the next start says the next
}
