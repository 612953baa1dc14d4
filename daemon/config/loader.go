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
// Secrets are read from their sources along with the file. Keys that are late are
// another matter: late.go makes a func of each that asks its source when a login
// needs it, with command.go and totp.go for sources that are no files.
//
// A file that has problems changes nothing: Load returns either all credentials or
// an *Invalid. Every file is opened once, and what is checked is what was opened.
//
// Watch follows directories rather than files, since files are replaced by renames
// and by swapped symbolic links; where the kernel cannot help, it looks for itself
// every two seconds.
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

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
)

// Options are the settings of a Loader.
type Options struct {
	Path string       // of the credentials file
	Log  *slog.Logger // nil: slog.Default()
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
}

// Loader reads one credentials file, again and again. It may be used by several
// goroutines.
type Loader struct {
	path       string // as given, for messages
	abs        string
	log        *slog.Logger
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

// Check reads the file at path as Load does, for whoever wants to know whether the
// daemon would take it. When root asks, files of other owners and groups are
// warnings: the daemon may run as one of them.
func Check(ctx context.Context, path string) (problems, warnings []api.Problem) {
	return NewLoader(Options{Path: path}).check(ctx)
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
	files := &reader{uid: l.uid, gids: l.gids, lenient: l.lenient}
	r := &report{file: l.path}
	f, err := l.read(ctx, r, files)
	if err := ctx.Err(); err != nil {
		return nil, r, fmt.Errorf("reading credentials: %w", err) // and Watch keeps to what was seen last
	}
	l.remember(files.signatures())
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
		report: r, kinds: l.kinds, files: files, names: new(access.Names), transports: l.transports, bench: l.bench,
	}
	f := check.file(ctx, root)
	if err := r.invalid(); err != nil {
		return nil, err
	}
	slices.SortFunc(f.Credentials, func(a, b *keeper.Credential) int { return strings.Compare(a.Name, b.Name) })
	f.Sum = files.sum()
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
