package config

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
)

const plain = "[credentials.finam]\nprovider = \"finam\"\nsecret = { file = \"@DIR@/secret\" }\n"

// watching runs a watch until the test ends, one that does not look by itself before
// it is told. Each call of changed loads the file and sends its sum, the zero one for
// a file that has problems.
func watching(t *testing.T, l *Loader) <-chan [32]byte {
	t.Helper()
	w := &watch{
		Loader: l, start: fsnotify.NewWatcher, quiet: quiet, patience: patience, poll: time.Hour, patrol: time.Hour,
	}
	mounts, stop := mountChanges()
	w.mounts = mounts
	t.Cleanup(stop)
	return running(t, l, func(ctx context.Context, changed func()) error {
		defer w.close()
		w.run(ctx, changed)
		return nil
	})
}

// running runs a Watch until the test ends.
func running(t *testing.T, l *Loader, watch func(context.Context, func()) error) <-chan [32]byte {
	sums := make(chan [32]byte, 1000)
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex // changed is called by one goroutine at a time
	wg.Go(func() {
		err := watch(ctx, func() {
			if !mu.TryLock() {
				t.Error("changed is called twice at once")
				return
			}
			defer mu.Unlock()
			f, err := l.Load(ctx)
			if err != nil {
				f = &File{}
			}
			sums <- f.Sum
		})
		if err != nil {
			t.Errorf("Watch: %v", err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return sums
}

// until waits for a load that found what is there now.
func until(t *testing.T, sums <-chan [32]byte, what string, l *Loader) {
	t.Helper()
	fresh := testLoader(l.path)
	f, err := fresh.Load(t.Context())
	if err != nil {
		f = &File{}
	}
	for {
		select {
		case sum := <-sums:
			if sum == f.Sum {
				return
			}
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s was not noticed", what)
		}
	}
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

func TestWatch(t *testing.T) {
	d := filepath.Join(t.TempDir(), "etc")
	must(t, os.Mkdir(d, 0o700))
	secret := filepath.Join(d, "secrets", "finam")
	must(t, os.Mkdir(filepath.Dir(secret), 0o700))
	write(t, secret, "hush-1")
	text := strings.ReplaceAll(plain, "@DIR@/secret", secret)
	l := loader(t, d, text)
	load(t, l)
	sums := watching(t, l)
	for _, step := range []struct {
		what string
		do   func()
	}{
		{"a write", func() { write(t, l.path, text+"# 2\n") }},
		{"a secret", func() { write(t, secret, "hush-2") }},
		{"a rename", func() {
			write(t, l.path+".new", text+"# 3\n")
			must(t, os.Rename(l.path+".new", l.path))
		}},
		{"a secret's rename", func() {
			write(t, secret+".new", "hush-3")
			must(t, os.Rename(secret+".new", secret))
		}},
		{"a bad file", func() { write(t, l.path, "[credentials") }},
		{"a good file after the bad one", func() { write(t, l.path, text+"# 4\n") }},
		{"a bad mode", func() { must(t, os.Chmod(secret, 0o644)) }},
		{"a good mode", func() { must(t, os.Chmod(secret, 0o600)) }},
		{"a removal", func() { must(t, os.Remove(l.path)) }},
		{"a return", func() { write(t, l.path, text+"# 5\n") }},
		{"a directory above leaving", func() { must(t, os.Rename(d, d+"~")) }},
		{"its return", func() { must(t, os.Rename(d+"~", d)) }},
		{"the secret's directory leaving", func() { must(t, os.Rename(filepath.Dir(secret), d+"/old")) }},
		{"another in its place", func() {
			must(t, os.Mkdir(filepath.Dir(secret), 0o700))
			write(t, secret, "hush-4")
		}},
		{"a write after that", func() { write(t, secret, "hush-5") }},
		{"everything going away", func() { must(t, os.RemoveAll(d)) }},
		{"everything coming back", func() {
			must(t, os.MkdirAll(filepath.Dir(secret), 0o700))
			write(t, secret, "hush-6")
			write(t, l.path, text+"# 6\n")
		}},
		{"a write after that", func() { write(t, l.path, text+"# 7\n") }},
	} {
		step.do()
		until(t, sums, step.what, l)
	}
}

// TestWatch_swap is what Kubernetes does to a mounted secret: credentials.toml →
// ..data/credentials.toml, and ..data → a directory that is replaced.
func TestWatch_swap(t *testing.T) {
	d := t.TempDir()
	version := func(name, text string) {
		must(t, os.Mkdir(filepath.Join(d, name), 0o700))
		write(t, filepath.Join(d, name, "credentials.toml"), strings.ReplaceAll(plain, "@DIR@", d)+text)
		write(t, filepath.Join(d, name, "secret"), "hush-"+name)
		must(t, os.Symlink(name, filepath.Join(d, "..tmp")), os.Rename(filepath.Join(d, "..tmp"), filepath.Join(d, "..data")))
	}
	version("..1", "# 1\n")
	far := filepath.Join(t.TempDir(), "link.toml")
	must(t,
		os.Symlink("..data/secret", filepath.Join(d, "secret")),
		os.Symlink("..data/credentials.toml", filepath.Join(d, "credentials.toml")),
		os.Symlink(filepath.Join(d, "..data/../credentials.toml"), far))
	l := testLoader(far)
	load(t, l)
	sums := watching(t, l)
	version("..2", "# 2\n")
	until(t, sums, "the first swap", l)
	must(t, os.RemoveAll(filepath.Join(d, "..1")))
	version("..3", "# 3\n")
	until(t, sums, "the second swap", l)
	write(t, filepath.Join(d, "..3", "secret"), "hush-x")
	until(t, sums, "a write behind the links", l)
	must(t, os.Remove(far), os.Symlink(filepath.Join(d, "..2", "credentials.toml"), far))
	until(t, sums, "the outermost link", l)
}

// TestWatch_meanwhile: what happens between a Load and the first watch is found.
func TestWatch_meanwhile(t *testing.T) {
	l := loader(t, dir(t), plain)
	load(t, l)
	write(t, l.path, "[credentials]\n")
	until(t, running(t, l, l.Watch), "the change", l)
}

// TestWatch_newSecret: a Load that nobody here asked for brings a new directory.
func TestWatch_newSecret(t *testing.T) {
	d, other := dir(t), filepath.Join(t.TempDir(), "secret")
	write(t, other, "hush-1")
	l := loader(t, d, plain)
	load(t, l)
	sums := watching(t, l)
	write(t, l.path, strings.ReplaceAll(plain, "@DIR@/secret", other))
	load(t, l)
	write(t, other, "hush-2")
	until(t, sums, "the new secret", l)
}

// TestWatch_afterAbort: a Load that was broken off leaves the watches as they are.
func TestWatch_afterAbort(t *testing.T) {
	d := dir(t)
	l := loader(t, d, plain)
	load(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := l.Load(ctx); err == nil {
		t.Fatal("the Load was not broken off")
	}
	sums := watching(t, l)
	write(t, filepath.Join(d, "secret"), "hush-2")
	until(t, sums, "the secret", l)
}
