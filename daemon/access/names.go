package access

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
)

// lookupLimit bounds one run of getent, which may wait for a directory service.
const lookupLimit = 5 * time.Second

var (
	// errNoEntry says that a database does not have the key.
	errNoEntry = errors.New("no such entry")
	// errRange refuses what does not fit, and the largest number, which means "none"
	// to the kernel.
	errRange = errors.New("the number must be at most 4294967294")
)

// Names turns the names in rules into numbers, and a caller's uid into a name:
// by the passwd and group files, then by getent(1), which also asks LDAP, sssd and
// systemd-userdb. What it learned it keeps, so a Names is a snapshot: use a new one
// for each reading of the credentials file. The zero value is ready for use, by
// several goroutines at once.
type Names struct {
	// NoUnits refuses rules about units: the daemon is a user's own.
	NoUnits bool

	files map[string]string // database → file; nil: those of /etc
	run   string            // the getent program; empty: the one on the PATH
	limit time.Duration     // of one run of it; 0: lookupLimit

	mu     sync.Mutex // guards what follows, and lets one getent run at a time
	read   bool       // the files have been read
	known  map[entry]lookup
	silent error // set once getent did not answer in time; it is not asked again
}

// entry is a question: who is called key in the database, or has the id.
type entry struct{ database, key string }

// lookup is its answer.
type lookup struct {
	name string
	id   uint32
	err  error
}

// The databases, as getent names them.
const (
	passwd = "passwd"
	group  = "group"
)

// Parse reads one rule of the credentials file. Its errors are one line, and say
// what to write instead.
func (n *Names) Parse(rule string) (Rule, error) {
	if rule == "everyone" {
		return Rule{kind: ruleEveryone, text: rule}, nil
	}
	kind, name, _ := strings.Cut(rule, ":")
	switch kind {
	case "user":
		id, err := n.number(passwd, kind, name)
		if err != nil {
			return Rule{}, err
		}
		return Rule{kind: ruleUser, id: id, text: rule}, nil
	case "group":
		id, err := n.number(group, kind, name)
		if err != nil {
			return Rule{}, err
		}
		return Rule{kind: ruleGroup, id: id, text: rule}, nil
	case "unit":
		if n.NoUnits {
			return Rule{}, fmt.Errorf("bad rule %q: in a user's daemon unit: is an error, for units are those of the system manager; use user:NAME or group:NAME", rule)
		}
		return parseUnit(rule, name)
	}
	return Rule{}, fmt.Errorf("bad rule %q: a rule is user:NAME, user:UID, group:NAME, group:GID, unit:NAME.service or everyone", rule)
}

// User is the name of the uid, or empty if there is none.
func (n *Names) User(uid uint32) string {
	return n.find(entry{passwd, strconv.FormatUint(uint64(uid), 10)}).name
}

// number is the id behind the name of a rule. All digits are a number, even if
// somebody has that name: POSIX tools decide it by name, and a directory service
// could then change whom a rule of numbers means.
func (n *Names) number(database, kind, name string) (uint32, error) {
	if name == "" {
		return 0, fmt.Errorf("bad rule %q: the name or number is missing", kind+":")
	}
	if isDigits(name) {
		id, err := parseID(name)
		if err != nil {
			return 0, fmt.Errorf("bad rule %q: %w", kind+":"+name, err)
		}
		return id, nil
	}
	// getent reads "+0" and " 0" as numbers, and "-" begins an option.
	if strings.ContainsFunc(name, func(r rune) bool { return r == ':' || r == '/' || !unicode.IsPrint(r) }) ||
		strings.ContainsAny(name[:1], "+- ") {
		return 0, fmt.Errorf("bad rule %q: that is no %s name", kind+":"+name, kind)
	}
	found := n.find(entry{database, name})
	switch {
	case errors.Is(found.err, errNoEntry):
		return 0, fmt.Errorf("unknown %s %q: use the number", kind, name)
	case found.err != nil:
		return 0, fmt.Errorf("looking up %s %q: %w; use the number", kind, name, found.err)
	}
	return found.id, nil
}

func (n *Names) find(e entry) lookup {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.read {
		n.readFiles()
	}
	found, ok := n.known[e]
	if !ok {
		found = n.getent(e)
		n.known[e] = found
	}
	return found
}

// readFiles learns both files. One that is missing or unreadable teaches nothing:
// getent reads it again, and says the same.
func (n *Names) readFiles() {
	n.read, n.known = true, map[entry]lookup{}
	files := n.files
	if files == nil {
		files = map[string]string{passwd: "/etc/passwd", group: "/etc/group"}
	}
	for database, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for line := range bytes.Lines(data) {
			found, err := parseEntry(string(line))
			if err != nil {
				continue
			}
			// The first of several wins, as in getpwnam(3).
			for _, key := range [...]string{found.name, strconv.FormatUint(uint64(found.id), 10)} {
				if _, ok := n.known[entry{database, key}]; !ok {
					n.known[entry{database, key}] = found
				}
			}
		}
	}
}

// getent asks the system's databases. The caller holds mu.
func (n *Names) getent(e entry) lookup {
	if n.silent != nil {
		return lookup{err: n.silent}
	}
	program := n.run
	if program == "" {
		path, err := exec.LookPath("getent")
		if err != nil { // a system of files alone
			return lookup{err: errNoEntry}
		}
		program = path
	}
	limit := cmp.Or(n.limit, lookupLimit)
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, e.database, e.key)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.WaitDelay = time.Second // a child of a script may keep the pipe open
	out, err := cmd.Output()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		n.silent = fmt.Errorf("getent did not answer within %v", limit)
		return lookup{err: n.silent}
	case errors.As(err, &exit) && exit.ExitCode() == 2: // "one or more supplied key could not be found"
		return lookup{err: errNoEntry}
	case err != nil:
		return lookup{err: fmt.Errorf("running getent: %w", err)}
	}
	line, _, _ := strings.Cut(string(out), "\n")
	found, err := parseEntry(line)
	if err != nil {
		return lookup{err: fmt.Errorf("reading the answer of getent: %w", err)}
	}
	return found
}

// parseEntry reads a line of passwd(5) or group(5): name:password:id:…
func parseEntry(line string) (lookup, error) {
	fields := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 4)
	if len(fields) < 4 || fields[0] == "" || !isDigits(fields[2]) {
		return lookup{}, errors.New("a line is not name:password:number:…")
	}
	if strings.ContainsAny(fields[0][:1], "+-#") || isDigits(fields[0]) {
		return lookup{}, errors.New("that line is no entry") // NIS, a comment, a name that is a number
	}
	id, err := parseID(fields[2])
	return lookup{name: fields[0], id: id}, err
}

// parseID reads a uid or gid.
func parseID(s string) (uint32, error) {
	id, err := strconv.ParseUint(s, 10, 32)
	if err != nil || id == math.MaxUint32 {
		return 0, errRange
	}
	return uint32(id), nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
