package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/tokend-project/tokend/providers"
)

// swapped is a directory with credentials and secrets of one version, as Kubernetes
// mounts them, and a loader for it that calls meanwhile when it has read half.
func swapped(t *testing.T, meanwhile func(swap func(version string))) *Loader {
	t.Helper()
	d := t.TempDir()
	swap := func(version string) {
		dir := filepath.Join(d, "..", filepath.Base(d)+version)
		must(t, os.RemoveAll(dir), os.Mkdir(dir, 0o700))
		for name, text := range map[string]string{
			"one": "hush-" + version, "two": "hush-" + version,
			"credentials.toml": "# " + version + strings.NewReplacer("@DIR@", d).Replace("\n"+
				"[credentials.one]\nprovider = \"simplejwt\"\nurl = \"https://a.example\"\nemail = \"a\"\npassword = { file = \"@DIR@/..data/one\" }\n"+
				"[credentials.two]\nprovider = \"simplejwt\"\nurl = \"https://a.example\"\nemail = \""+version+"\"\npassword = { file = \"@DIR@/..data/two\" }\n"),
		} {
			write(t, filepath.Join(dir, name), text)
		}
		must(t, os.Symlink(dir, d+"/tmp"), os.Rename(d+"/tmp", d+"/..data"))
	}
	swap("v1")
	l := testLoader(d + "/..data/credentials.toml")
	i := slices.IndexFunc(l.kinds, func(k *providers.Kind) bool { return k.Name == "simplejwt" })
	l.kinds[i].New = func(s providers.Settings) (providers.Provider, error) {
		if s.Values["email"] == "a" { // the first of the two
			meanwhile(swap)
		}
		return newFake(s)
	}
	return l
}

// TestLoad_meanwhile: what is in force was there at one time, though the files change
// while they are read: nobody's secret is sent under another's name.
func TestLoad_meanwhile(t *testing.T) {
	swaps := 0
	l := swapped(t, func(swap func(string)) {
		if swaps++; swaps <= 2 {
			swap(fmt.Sprintf("v%d", swaps+1))
		}
	})
	f := load(t, l)
	for _, c := range f.Credentials {
		s := made(t, c.Provider)
		if got := s.Secrets["password"].Reveal(); got != "hush-v3" {
			t.Errorf("%s has the secret %s", c.Name, got)
		}
		if got := s.Values["email"]; c.Name == "two" && got != "v3" {
			t.Errorf("two is the credential of %s", got)
		}
	}
	if again := load(t, l); again.Sum != f.Sum {
		t.Error("what was loaded is not what is there")
	}
}

// TestLoad_restless: where files never stop changing, Load ends all the same, and
// Watch knows that it has to look again.
func TestLoad_restless(t *testing.T) {
	swaps := 0
	l := swapped(t, func(swap func(string)) { swaps++; swap(fmt.Sprintf("v%d", swaps+1)) })
	load(t, l)
	if swaps != 3 {
		t.Errorf("read %d times", swaps)
	}
	w := &watch{Loader: l, quiet: quiet, found: signatures(l.lastSeen())}
	if wait, differs := w.compare(l.lastSeen()); !differs || wait < quiet {
		t.Errorf("it is to be read in %v: %v", wait, differs)
	}
}

// TestRead_young: of what is read right after a change it is remembered that another
// could not be told from it.
func TestRead_young(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for range 1000 { // until there was no pause between the write and the look
		write(t, path, "hush-")
		before := time.Now()
		c := (&reader{uid: uint32(os.Getuid())}).read(path, maxSecret, true)
		must(t, c.err)
		changed := time.Unix(c.seen.ctime.Unix())
		switch ripe := c.seen.ripeAfter(); {
		case time.Since(changed) < ripe:
			if !c.seen.young {
				t.Errorf("changed at %v and read %v later, it is not young", changed, time.Since(changed))
			}
			return
		case before.Sub(changed) >= ripe && c.seen.young:
			t.Fatalf("changed at %v and read %v later, it is young", changed, before.Sub(changed))
		}
	}
	t.Error("this machine is too slow to see it")
}

// TestReader_moved: a file has moved when it is not what was read, whatever it is.
func TestReader_moved(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	for what, change := range map[string]func(){
		"another text": func() { write(t, path, "hush-2 and more") },
		"another mode": func() { must(t, os.Chmod(path, 0o400)) },
		"another file": func() { write(t, path+"2", "hush-"); must(t, os.Rename(path+"2", path)) },
		"no file":      func() { must(t, os.Remove(path)) },
		"a circle":     func() { must(t, os.Remove(path), os.Symlink("file", path)) },
	} {
		must(t, os.RemoveAll(path))
		write(t, path, "hush-")
		<-time.After(2 * tick) // then the same text and mode have other times
		r := &reader{uid: uint32(os.Getuid())}
		r.read(path, maxSecret, true)
		if r.moved() {
			t.Errorf("%s: moved before", what)
		}
		if change(); !r.moved() {
			t.Errorf("%s: not moved", what)
		}
	}
}

// BenchmarkLook is what a look costs with 10,000 files of secrets.
func BenchmarkLook(b *testing.B) {
	d := b.TempDir()
	l := testLoader(d + "/credentials.toml")
	seen := map[string]signature{}
	for i := range 10_000 {
		path := fmt.Sprintf("%s/secret%d", d, i)
		write(b, path, "hush-")
		seen[path] = signatureOf(path)
	}
	l.seen = seen
	w := &watch{Loader: l, start: fsnotify.NewWatcher, quiet: quiet, patrol: patrolInterval, poll: pollInterval}
	w.begin()
	defer w.close()
	for b.Loop() {
		w.look()
	}
	if !w.since.IsZero() {
		b.Error("something changed")
	}
}
