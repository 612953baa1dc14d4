package config

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"golang.org/x/sys/unix"
)

// TestWatch_random does to files, links and directories whatever comes to its mind,
// and asserts after each bout that the watch has the daemon know what is there in the
// end. Nothing looks by itself in time: each change is to be noticed.
// TOKEND_WATCH_SEED and TOKEND_WATCH_RUNS have it do other things, and more.
func TestWatch_random(t *testing.T) {
	seed, runs := number(t, "TOKEND_WATCH_SEED", 1), number(t, "TOKEND_WATCH_RUNS", 60)
	for name, w := range map[string]*watch{
		"kernel": {start: fsnotify.NewWatcher, quiet: 5 * time.Millisecond, patience: patience, poll: time.Hour, patrol: time.Hour},
		"poll": {
			start: func() (*fsnotify.Watcher, error) { return nil, syscall.ENOSYS },
			quiet: 5 * time.Millisecond, patience: patience, poll: 5 * time.Millisecond, patrol: time.Hour,
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := &mischief{t: t, rand: rand.New(rand.NewPCG(uint64(seed), 0)), dir: t.TempDir()}
			t.Setenv("CREDENTIALS_DIRECTORY", m.dir+"/c/b")
			w.Loader = testLoader(m.dir + "/a/b/f")
			m.repair()
			known := m.follow(w)
			for range runs {
				m.bout()
				m.await(known, w)
			}
		})
	}
}

func number(t *testing.T, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// mischief makes changes in a directory: three levels of a, b and c, where a file is
// f, g or h.
type mischief struct {
	t    *testing.T
	rand *rand.Rand
	dir  string
	made int      // so that no two contents are the same
	did  []string // since the last time all was known
}

// known is the outcome of the watch's last load.
type known struct {
	mu      sync.Mutex
	outcome string
	changed chan struct{}
}

// outcomeOf is what a load came to, as one text.
func outcomeOf(ctx context.Context, l *Loader) string {
	f, err := l.Load(ctx)
	if err != nil {
		return problemsOf(err, "\n")
	}
	return fmt.Sprintf("%x", f.Sum)
}

// follow runs the watch until the test ends.
func (m *mischief) follow(w *watch) *known {
	k := &known{changed: make(chan struct{}, 1), outcome: outcomeOf(m.t.Context(), w.Loader)}
	m.bout() // before anybody watches
	ctx, cancel := context.WithCancel(context.Background())
	mounts, stop := mountChanges()
	w.mounts = mounts
	var wg sync.WaitGroup
	wg.Go(func() {
		defer w.close()
		w.run(ctx, func() {
			outcome := outcomeOf(ctx, w.Loader)
			k.mu.Lock()
			k.outcome = outcome
			k.mu.Unlock()
			select {
			case k.changed <- struct{}{}:
			default:
			}
		})
	})
	m.t.Cleanup(func() { cancel(); wg.Wait(); stop() })
	return k
}

// await waits until the watch knows what is there.
func (m *mischief) await(k *known, w *watch) {
	m.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		want := outcomeOf(m.t.Context(), testLoader(w.path))
		k.mu.Lock()
		got := k.outcome
		k.mu.Unlock()
		if got == want {
			m.did = nil
			return
		}
		select {
		case <-k.changed:
		case <-deadline:
			m.t.Fatalf("not noticed:\n%s\nthe watch knows %s\nthere is %s", strings.Join(m.did, "\n"), got, want)
		}
	}
}

// bout makes some changes; every other time it then mends what matters.
func (m *mischief) bout() {
	for range 1 + m.rand.IntN(8) {
		m.prank()
	}
	if m.rand.IntN(2) == 0 {
		m.repair()
	}
}

// repair has files in order where the credentials lead to.
func (m *mischief) repair() {
	for _, dir := range []string{"/a", "/a/b", "/b", "/b/c", "/c", "/c/b"} {
		if fi, err := os.Stat(m.dir + dir); err != nil || !fi.IsDir() {
			os.RemoveAll(m.dir + dir)
			os.Mkdir(m.dir+dir, 0o700)
		}
		os.Chmod(m.dir+dir, 0o700)
	}
	for _, file := range []string{"/b/c/g", "/c/b/h", "/a/b/f"} {
		if fi, err := os.Stat(m.dir + file); err != nil || !fi.Mode().IsRegular() {
			os.RemoveAll(m.dir + file)
		}
		os.Chmod(m.dir+file, 0o600)
		m.write(m.dir + file)
	}
	m.did = append(m.did, "repair")
}

// text is a file's content: each is in order as credentials and as a secret.
func (m *mischief) text() string {
	m.made++
	secrets := []string{`{ file = "` + m.dir + `/b/c/g" }`, `{ credential = "h" }`, `{ file = "` + m.dir + `/a/c/g" }`, `"hush"`, `{ file = "` + m.dir + `/b/a/../c/g" }`}
	return fmt.Sprintf("# %d\n[credentials.a]\nprovider = \"finam\"\nsecret = %s\n[credentials.b]\nprovider = \"finam\"\nsecret = %s\n",
		m.made, secrets[m.rand.IntN(2)], secrets[m.rand.IntN(len(secrets))])
}

// path is one of few places, so that changes meet.
func (m *mischief) path(depth int) string {
	path := m.dir
	for range depth {
		path += "/" + string(rune('a'+m.rand.IntN(3)))
	}
	return path
}

func (m *mischief) file() string {
	return m.path(2) + "/" + string(rune('f'+m.rand.IntN(3)))
}

// write writes a file in one of the ways there are.
func (m *mischief) write(path string) {
	text := m.text()
	switch m.rand.IntN(4) {
	case 0:
		os.WriteFile(path, []byte(text), 0o600)
	case 1: // in pieces
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NONBLOCK, 0o600)
		if err != nil {
			return
		}
		for piece := range strings.Lines(text) {
			f.WriteString(piece)
		}
		f.Close()
	case 2:
		os.WriteFile(m.dir+"/new", []byte(text), 0o600)
		os.Rename(m.dir+"/new", path)
	case 3: // as vim does
		os.Rename(path, path+"~")
		os.WriteFile(path, []byte(text), 0o600)
		os.Remove(path + "~")
	}
}

// prank is one change. Many are impossible when they come, which is as good.
func (m *mischief) prank() {
	one, two := m.path(1+m.rand.IntN(2)), m.path(1+m.rand.IntN(2))
	file, other := m.file(), m.file()
	pranks := []struct {
		what string
		do   func()
	}{
		{"write " + file, func() { m.write(file) }},
		{"write " + other, func() { m.write(other) }},
		{"remove " + file, func() { os.RemoveAll(file) }},
		{"touch " + file, func() { os.Chtimes(file, time.Time{}, time.Now()) }},
		{"mkdir " + one, func() { os.MkdirAll(one, 0o700) }},
		{"mkdir " + file, func() { os.MkdirAll(file, 0o700) }},
		{"remove " + one, func() { os.RemoveAll(one) }},
		{"rename " + one + " " + two, func() { os.Rename(one, two) }},
		{"rename and back " + one, func() { os.Rename(one, m.dir+"/away"); os.Rename(m.dir+"/away", one) }},
		{"replace " + one + " by " + two, func() { os.Rename(one, m.dir+"/old"+strconv.Itoa(m.made)); os.Rename(two, one) }},
		{"exchange " + one + " " + two, func() { exchange(one, two) }},
		{"exchange " + file + " " + other, func() { exchange(file, other) }},
		{"rename " + file + " " + other, func() { os.Rename(file, other) }},
		{"link " + file + " " + other, func() { os.Remove(other); os.Link(file, other) }},
		{"symlink " + file + " " + other, func() { m.symlink(file, other) }},
		{"symlink " + one + " " + two, func() { m.symlink(one, two) }},
		{"symlink up " + one, func() { m.symlink(one+"/../"+filepath.Base(two), one) }},
		{"chmod " + file, func() { os.Chmod(file, []os.FileMode{0o600, 0o644, 0o400}[m.rand.IntN(3)]) }},
		{"chmod " + one, func() { os.Chmod(one, []os.FileMode{0o700, 0o755, 0o500}[m.rand.IntN(3)]) }},
		{"fifo " + file, func() { os.Remove(file); syscall.Mkfifo(file, 0o600) }},
	}
	p := pranks[m.rand.IntN(len(pranks))]
	m.did = append(m.did, p.what)
	p.do()
}

func exchange(one, two string) {
	unix.Renameat2(unix.AT_FDCWD, one, unix.AT_FDCWD, two, unix.RENAME_EXCHANGE)
}

// symlink replaces what is at a path by a symbolic link, in one step if it can be.
func (m *mischief) symlink(target, path string) {
	if m.rand.IntN(2) == 0 {
		if rel, err := filepath.Rel(filepath.Dir(path), target); err == nil {
			target = rel
		}
	}
	os.Symlink(target, m.dir+"/link")
	if os.Rename(m.dir+"/link", path) != nil { // a directory
		os.RemoveAll(path)
		os.Rename(m.dir+"/link", path)
	}
}
