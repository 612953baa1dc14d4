package tokend_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/tokend-project/tokend"

// edges is the whole plan of who imports whom inside the module, tests apart. What
// is not in it is not allowed: data goes file → config → keeper → provider → store →
// view → server → client, and never back.
var edges = map[string][]string{
	"cmd/tokend":        {"daemon", "providers/sandbox"},
	"cmd/tokenctl":      {"daemon/api"},
	"daemon":            {"daemon/access", "daemon/api", "daemon/config", "daemon/keeper", "daemon/server", "store"},
	"daemon/server":     {"daemon/access", "daemon/api", "daemon/keeper"},
	"daemon/config":     {"daemon/access", "daemon/api", "daemon/keeper", "providers"}, // api: Problem is the one type of problems
	"daemon/keeper":     {"daemon/access", "daemon/api", "providers", "store"},
	"daemon/access":     {},
	"daemon/api":        {},
	"providers":         {},
	"providers/sandbox": {},

	"packaging/e2e/lookalikes": {"providers/sandbox"},
	"packaging/man":            {}, // for tests beside the tables that man pages show
	"store":                    {},
}

// homes says which packages may import a module that is not ours (with packages
// below a named one), and why no other. A new dependency is a new row: it has to
// earn its place.
var homes = []home{
	{"github.com/coreos/go-systemd", []string{"daemon", "cmd/tokend"}, "systemd ends at the daemon's door (notify, activation) and at the log handler (journal)"},
	{"github.com/fsnotify/fsnotify", []string{"daemon/config"}, "only the credentials file and its sources are watched"},
	{"github.com/pelletier/go-toml", []string{"daemon/config"}, "one reader of TOML, with positions, that never shows a neighbouring line"},
	{"go.etcd.io/bbolt", []string{"store"}, "the store is the only one that knows how records are kept"},
	{"github.com/golang-jwt/jwt", []string{"providers", "providers/sandbox"}, "only providers look into a token, and only their look-alikes make one"},
	{"github.com/lmittmann/tint", []string{"cmd/tokend"}, "colour is a matter of the command"},
	{"github.com/prometheus/client_golang", []string{"daemon"}, "the others report events, the daemon counts them"},
	{"github.com/pquerna/otp", []string{"daemon/config"}, "sources of secrets are evaluated where they are read"},
	{"golang.org/x/term", []string{"cmd/tokend", "cmd/tokenctl"}, "only commands have a terminal"},
	{"golang.org/x/sys", []string{"cmd/tokend", "cmd/tokenctl", "daemon", "daemon/access", "daemon/config", "store"}, "the kernel is asked where its answer is used"},
	{"golang.org/x/sync", []string{"daemon", "daemon/config", "daemon/keeper"}, "limits belong to those who start goroutines"},
	{"golang.org/x/time", []string{"daemon/keeper", "daemon/server"}, "rates belong to the governor and to the door"},
}

type home struct {
	module   string
	packages []string
	why      string
}

// heavy is what tokenctl must not link, not even through others: scripts pay for
// its start every time they ask for a token.
var heavy = []string{
	"net/http", "crypto/tls", "go.etcd.io/bbolt", "github.com/fsnotify/fsnotify",
	"github.com/pelletier/go-toml", "github.com/prometheus/", "github.com/coreos/go-systemd",
	module + "/providers", module + "/daemon/keeper", module + "/store",
}

// pkg is what go list says of a package.
type pkg struct {
	ImportPath, Name, Dir string
	GoFiles               []string
	Imports, Deps         []string
	Standard              bool
}

// rel is the import path below the module's.
func (p pkg) rel() string {
	return strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
}

// list runs go list.
func list(t *testing.T, args ...string) []pkg {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", append([]string{"list", "-json=ImportPath,Name,Dir,GoFiles,Imports,Deps,Standard"}, args...)...)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list %s: %v\n%s", strings.Join(args, " "), err, stderr.String())
	}
	var packages []pkg
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatalf("reading what go list says: %v", err)
		}
		packages = append(packages, p)
	}
}

// ours lists the module's packages that have code beside tests.
func ours(t *testing.T) []pkg {
	t.Helper()
	return slices.DeleteFunc(list(t, "./..."), func(p pkg) bool { return len(p.GoFiles) == 0 })
}

// under says whether path is prefix or below it.
func under(path, prefix string) bool {
	return path == prefix || strings.HasPrefix(path, strings.TrimSuffix(prefix, "/")+"/")
}

func TestEdges(t *testing.T) {
	for _, p := range ours(t) {
		allowed, planned := edges[p.rel()]
		if !planned {
			t.Errorf("%s: not in the plan of packages; add it to edges with what it may import, or put its code where it belongs", p.rel())
			continue
		}
		for _, imp := range p.Imports {
			if !under(imp, module) {
				continue
			}
			to := strings.TrimPrefix(imp, module+"/")
			if !slices.Contains(allowed, to) {
				t.Errorf("%s imports %s; it may import %q alone, so that data goes one way and every package can be read by itself", p.rel(), to, allowed)
			}
		}
	}
}

// external says whether the import is of a module that is not ours: those have a
// dot in their first element, the standard library has none.
func external(imp string) bool {
	first, _, _ := strings.Cut(imp, "/")
	return strings.Contains(first, ".") && !under(imp, module)
}

func TestDependencies(t *testing.T) {
	for _, p := range ours(t) {
		for _, imp := range p.Imports {
			if !external(imp) {
				continue
			}
			i := slices.IndexFunc(homes, func(h home) bool { return under(imp, h.module) })
			switch {
			case i < 0:
				t.Errorf("%s imports %s, which has no row in homes: a dependency has to earn its place", p.rel(), imp)
			case !slices.Contains(homes[i].packages, p.rel()):
				t.Errorf("%s imports %s; only %q may: %s", p.rel(), imp, homes[i].packages, homes[i].why)
			}
		}
	}
}

// TestLinks asserts what tokenctl, and the package that other programs import for
// it, do not link.
func TestLinks(t *testing.T) {
	for _, p := range ours(t) {
		if r := p.rel(); r != "cmd/tokenctl" && r != "daemon/api" {
			continue
		}
		for _, dep := range p.Deps {
			if slices.ContainsFunc(heavy, func(f string) bool { return under(dep, f) }) {
				t.Errorf("%s links %s: scripts pay for it at every call (go list -deps shows the way)", p.rel(), dep)
			}
			if p.rel() == "daemon/api" && external(dep) {
				t.Errorf("daemon/api links %s: it stays with the standard library, for the programs that import it", dep)
			}
		}
	}
}
