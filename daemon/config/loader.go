// Package config reads the credentials file and the files that its secrets are in,
// and watches them.
//
// The file is read strictly, and everything that is wrong with it is reported at
// once, each problem at its line and column. The data goes
//
//	bytes → tree.go, a TOML tree with positions → credential.go, one keeper.Credential per table
//
// The tree stands on the expression parser of go-toml, whose own decoder is
// quadratic in the number of tables and stops at the first wrong type. Messages
// never repeat a line of the file or the value of anything that may hold a secret:
// urls, proxies and headers included.
//
// Secrets are read from their sources along with the file, but for two kinds. Keys
// that are late: late.go makes a func of each that asks its source when a login needs
// it, with command.go and totp.go for sources that are no files. And what commands
// give: a Load runs none, so that it takes no longer than its files. It returns the
// credential as one whose secrets are to come, and blueprint.go makes the whole of it
// when the keeper has them read.
//
// memory.go keeps what was read for as long as the credential's table says the same,
// whatever else changes; so commands run once for each table. Until those of a new
// table have given something, the old secrets stay in use, unless provider, url or
// an identity key changed beside them: an old secret goes to no other url, and in
// nobody else's name.
//
// A file that has problems changes nothing: Load returns either all credentials or
// an *Invalid. Every file is opened once, and what is checked is what was opened.
//
// # What is noticed
//
// Watch follows each path as the kernel does (trail.go), through symbolic links, and
// watches every directory on the way: files are replaced by renames, links by other
// links, and directories may be moved at any level. It watches a file itself only
// where its directory does not see every write: a file with another hard link, or one
// that is mounted by itself, as in containers. A change is read once nothing happened
// for 200 ms, so that only the end of a burst is; after 5 s of unrest it is read as it
// is, since one restless file must not hold back all others. Contents decide, not
// times: a file that says what it said before changes nothing.
//
// Events are hints. What counts is that a look, after the watches stand, finds what
// the last Load saw: so nothing is missed before the first watch, between old watches
// and new ones, or when the kernel's queue ran over. A file that was read so soon after
// its last change that its times could not show another is read once more. A Load
// whose files changed while it read them reads them again, up to three times: half of
// one version and half of the next may send one's secret under another's name.
//
// Where the kernel refuses to watch (the limits of inotify, a directory that may be
// passed through but not read), and on file systems that change without it (those of
// other hosts, FUSE, proc), Watch looks for itself every two seconds. It cannot see
// what the server has not told this host yet: NFS keeps attributes for up to a minute
// (nfs(5), actimeo). Mounting and unmounting is told by /proc/self/mountinfo. What
// else tells nobody is found within 30 s: writes through a mapping (inotify(7)), and
// the move of a directory whose parent tokend may not read. A file system whose times
// neither change nor can be told apart is beyond that: SIGHUP is for it.
package config

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
)

// Options are the settings of a Loader.
type Options struct {
	Path string       // of the credentials file
	Log  *slog.Logger // nil: slog.Default()
	// Service says that tokend runs for the whole host, so that rules may name units.
	Service bool
}

// File is a credentials file without problems.
type File struct {
	Credentials []*keeper.Credential // sorted by name
	// Daemon are the rights that belong to no credential, from [defaults]: Operate
	// is the right to reload, Observe that to the metrics.
	Daemon access.Rules
	// Sum is a SHA-256 of the file and of every file that it names: as long as it
	// stays, loading again changes nothing. It is not for showing, since it is one of
	// secrets.
	Sum      [32]byte
	Warnings []api.Problem // what is allowed but hardly meant

	memos map[string]memo // by name, of every credential
}

// Loader reads one credentials file, again and again. It may be used by several
// goroutines.
type Loader struct {
	path       string // as given, for messages
	abs        string
	log        *slog.Logger
	service    bool
	kinds      []*providers.Kind
	uid        uint32
	gids       []uint32
	lenient    bool // see reader
	transports *providers.Transports
	bench      *bench

	loading sync.Mutex    // one Load at a time
	loaded  chan struct{} // holds an element when Watch has to look at seen again

	mu   sync.Mutex // guards seen
	seen map[string]signature
}

// NewLoader makes a Loader for the file. It reads nothing yet.
func NewLoader(o Options) *Loader {
	l := &Loader{
		path:       o.Path,
		abs:        o.Path,
		log:        o.Log,
		service:    o.Service,
		kinds:      providers.Kinds(),
		uid:        uint32(os.Geteuid()),
		gids:       []uint32{uint32(os.Getegid())},
		transports: new(providers.Transports),
		bench:      newBench(),
		loaded:     make(chan struct{}, 1),
	}
	if l.log == nil {
		l.log = slog.Default()
	}
	if abs, err := filepath.Abs(o.Path); err == nil {
		l.abs = abs
	}
	groups, err := os.Getgroups()
	if err != nil {
		groups = nil // then its own group has to do
	}
	for _, g := range groups {
		l.gids = append(l.gids, uint32(g))
	}
	l.seen = map[string]signature{l.abs: {}}
	return l
}

// Check reads the file as Load does, for whoever wants to know whether the daemon
// would take it. When root asks, files of other owners and groups are warnings: the
// daemon may run as one of them.
func Check(ctx context.Context, o Options) (problems, warnings []api.Problem) {
	return NewLoader(o).check(ctx)
}

func (l *Loader) check(ctx context.Context) (problems, warnings []api.Problem) {
	l.lenient = true
	_, r, err := l.load(ctx)
	if invalid, ok := errors.AsType[*Invalid](err); ok {
		problems = invalid.Problems
	} else if err != nil {
		problems = []api.Problem{{File: l.path, Detail: err.Error()}}
	}
	return problems, r.place(r.warnings)
}

// Load reads the file and all that it names. Its error is an *Invalid, or that of
// ctx.
func (l *Loader) Load(ctx context.Context) (*File, error) {
	f, r, err := l.load(ctx)
	if err != nil {
		return nil, err
	}
	f.Warnings = r.place(r.warnings)
	l.transports.Prune()
	return f, nil
}

func (l *Loader) load(ctx context.Context) (*File, *report, error) {
	l.loading.Lock()
	defer l.loading.Unlock()
	var f *File
	var r *report
	var files *reader
	var err error
	// Files that change while they are read are read again: half of the old ones and
	// half of the new would pass for a whole, and send one's secret under another's
	// name. Where that never ends, Watch sees to it.
	for tries := 3; tries > 0; tries-- {
		files = &reader{uid: l.uid, gids: l.gids, lenient: l.lenient}
		r = &report{file: l.path}
		f, err = l.read(ctx, r, files)
		if ctx.Err() != nil || !files.moved() {
			break
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, r, fmt.Errorf("reading credentials: %w", err) // and Watch keeps to what was seen last
	}
	l.remember(files.signatures())
	if err == nil {
		l.bench.memory.keep(f.memos)
	}
	return f, r, err
}

func (l *Loader) read(ctx context.Context, r *report, files *reader) (*File, error) {
	c := files.read(l.abs, maxFile, true)
	switch {
	case errors.Is(c.err, errNoFile):
		r.problem(nowhere, "", "%v: write one (an empty [credentials] table means none), or name another with --credentials", c.err)
	case c.err != nil:
		r.problem(nowhere, "", "%v", c.err)
	}
	if c.err != nil {
		return nil, r.invalid()
	}
	if c.foreign != "" {
		r.warn(nowhere, "", "%s", c.foreign)
	}
	r.data = withoutBOM(c.data)
	root := parseText(r)
	if root == nil {
		return nil, r.invalid()
	}
	check := &checker{
		report: r, kinds: l.kinds, files: files, names: &access.Names{NoUnits: !l.service}, transports: l.transports, bench: l.bench,
		began: time.Now(), memos: map[string]memo{},
	}
	f := check.file(ctx, root)
	if err := r.invalid(); err != nil {
		return nil, err
	}
	slices.SortFunc(f.Credentials, func(a, b *keeper.Credential) int { return strings.Compare(a.Name, b.Name) })
	f.Sum, f.memos = files.sum(), check.memos
	return f, nil
}

// remember tells Watch what was seen.
func (l *Loader) remember(seen map[string]signature) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen = seen
	select {
	case l.loaded <- struct{}{}:
	default: // Watch has not taken note of the last one yet
	}
}

// withoutBOM drops the mark that some editors put before UTF-8 text.
func withoutBOM(data []byte) []byte {
	if len(data) >= 3 && string(data[:3]) == "\xef\xbb\xbf" {
		return data[3:]
	}
	return data
}

// parseText is parse with a better word for what a certain editor saves.
func parseText(r *report) *node {
	if len(r.data) >= 2 && (string(r.data[:2]) == "\xff\xfe" || string(r.data[:2]) == "\xfe\xff") {
		r.problem(0, "", "the file is UTF-16: save it as UTF-8")
		return nil
	}
	return parse(r)
}
