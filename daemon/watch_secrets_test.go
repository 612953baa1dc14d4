package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers/sandbox"
	"github.com/tokend-project/tokend/store"
)

// finamWith is a credential whose secret comes from somewhere.
func (w *watched) finamWith(name, source string) string {
	return fmt.Sprintf("[credentials.%s]\nprovider = \"finam\"\nurl = %q\nsecret = %s\n", name, w.url, source)
}

func fileSource(path string) string { return fmt.Sprintf("{ file = %q }", path) }

// Secrets in files of their own, wherever they are, are watched like the file: by
// file and by credential, behind links, and one for two credentials.
func TestWatchedSecretFiles(t *testing.T) {
	w := newWatched(t)
	var all []string
	for n := range 40 {
		all = append(all, fmt.Sprint("secret-", n))
	}
	w.finam.Set(func(k *sandboxFinam) { k.Secrets = all })
	far, creds, vault := filepath.Join(w.dir, "far"), filepath.Join(w.dir, "creds"), filepath.Join(w.dir, "vault")
	check(t, os.Mkdir(far, 0o700), os.Mkdir(creds, 0o700), os.Mkdir(vault, 0o700))
	t.Setenv("CREDENTIALS_DIRECTORY", creds)
	put(t, far+"/shared", "secret-0")
	put(t, creds+"/finam", "secret-1")
	put(t, vault+"/one", "secret-2")
	check(t, os.Symlink("../vault", far+"/to"), os.Symlink("to/one", far+"/link"))
	put(t, w.cfg.Credentials, w.finamWith("a", fileSource(far+"/shared"))+w.finamWith("b", fileSource(far+"/shared"))+
		w.finamWith("c", `{ credential = "finam" }`)+w.finamWith("d", fileSource(far+"/link")))
	w.start()
	tokens := map[string]string{}
	for _, name := range []string{"a", "b", "c", "d"} {
		tokens[name] = w.fresh(name).Fingerprint
	}
	for i, step := range []struct {
		what, changes string // names of the credentials
		do            func(secret string)
	}{
		{"the file of two", "ab", func(s string) { put(t, far+"/shared", s) }},
		{"the credential", "c", func(s string) { put(t, creds+"/.new", s); check(t, os.Rename(creds+"/.new", creds+"/finam")) }},
		{"the file behind the links", "d", func(s string) { put(t, vault+"/one", s) }},
		{"the inner link", "d", func(s string) {
			put(t, vault+"/two", s)
			check(t, os.Symlink("to/two", far+"/.l"), os.Rename(far+"/.l", far+"/link"))
		}},
		{"the outer link", "d", func(s string) {
			check(t, os.Mkdir(w.dir+"/vault2", 0o700))
			put(t, w.dir+"/vault2/two", s)
			check(t, os.Symlink(w.dir+"/vault2", far+"/.l"), os.Rename(far+"/.l", far+"/to"))
		}},
		{"the directory", "ab", func(s string) {
			check(t, os.Mkdir(far+"2", 0o700), os.Symlink("../vault2", far+"2/to"), os.Symlink("to/two", far+"2/link"))
			put(t, far+"2/shared", s)
			check(t, os.Rename(far, far+"1"), os.Rename(far+"2", far))
		}},
	} {
		step.do(fmt.Sprint("secret-", 10+i))
		for name, before := range tokens {
			if strings.Contains(step.changes, name) {
				w.until(step.what+": a new token of "+name, func() bool { return w.fresh(name).Fingerprint != before })
				tokens[name] = w.fresh(name).Fingerprint
			}
		}
		for name, before := range tokens {
			if w.fresh(name).Fingerprint != before {
				t.Errorf("%s: %s has a new token too", step.what, name)
			}
		}
	}
}

// A new content's files are watched from then on.
func TestWatchedNewSecretFile(t *testing.T) {
	w := newWatched(t)
	w.finam.Set(func(k *sandboxFinam) { k.Secrets = []string{"one", "two", "three"} })
	first, second := filepath.Join(w.dir, "first"), filepath.Join(w.dir, "a", "b", "second")
	put(t, first, "one")
	put(t, w.cfg.Credentials, w.finamWith("finam", fileSource(first))+w.sign(1))
	w.start()
	last := w.fresh("finam").Fingerprint
	check(t, os.MkdirAll(filepath.Dir(second), 0o700))
	put(t, second, "two")
	put(t, w.cfg.Credentials, w.finamWith("finam", fileSource(second))+w.sign(2))
	w.inForce("the other file", 2)
	w.until("a login with two", func() bool { return w.fresh("finam").Fingerprint != last })
	last = w.fresh("finam").Fingerprint
	put(t, second, "three")
	w.until("a login with three", func() bool { return w.fresh("finam").Fingerprint != last })
	check(t, os.Remove(second))
	w.until("the file is missed", func() bool { return strings.Contains(w.healthError(), second) })
	check(t, os.Remove(first))
	put(t, second, "three")
	w.until("all is well", func() bool { return w.healthError() == "" })
	if tried, _ := w.finam.Logins(); tried != 3 {
		t.Errorf("%d logins, want 3", tried)
	}
}

// Only secrets changed: the old token serves until the login with the new ones came
// through, even if that fails at first.
func TestWatchedSecretsAlone(t *testing.T) {
	w := newWatched(t)
	w.finam.Set(func(k *sandboxFinam) { k.Secrets = []string{"old", "new"} })
	put(t, w.cfg.Credentials, w.finamWith("finam", `"old"`)+w.sign(1))
	w.start()
	before := w.fresh("finam").Fingerprint
	hold := make(chan struct{})
	w.finam.Fail(1, sandbox.Fault{Hold: hold})
	put(t, w.cfg.Credentials, w.finamWith("finam", `"new"`)+w.sign(2))
	w.inForce("the new secret", 2)
	check(t, w.finam.Wait(t.Context(), 2))
	if api.Fingerprint(w.token()) != before {
		t.Error("the old token does not serve while the login is under way")
	}
	close(hold)
	w.until("the new token", func() bool { return api.Fingerprint(w.token()) != before })
	last := w.fresh("finam").Fingerprint
	put(t, w.cfg.Credentials, w.finamWith("finam", `"wrong"`)+w.sign(3))
	w.until("the wrong secret is refused", func() bool {
		s, err := w.api.Credential(t.Context(), "finam")
		return err == nil && s.State == api.StateRefused
	})
	if api.Fingerprint(w.token()) != last {
		t.Error("the token ended with the refusal")
	}
	put(t, w.cfg.Credentials, w.finamWith("finam", `"new"`)+w.sign(4))
	w.inForce("the right secret again", 4)
	w.fresh("finam")
	if tried, granted := w.finam.Logins(); tried > 4 || granted > 3 {
		t.Errorf("%d logins, %d granted", tried, granted)
	}
}

// Another identity: the old token goes at once.
func TestWatchedIdentity(t *testing.T) {
	w := newWatched(t)
	people, url := w.exchanger(map[string]string{"ann": "hush", "bob": "hush"})
	of := func(name string) string {
		return fmt.Sprintf("[credentials.x]\nprovider = \"simplejwt\"\nurl = %q\nusername_field = \"email\"\nusername = %q\npassword = \"hush\"\n", url, name)
	}
	put(t, w.cfg.Credentials, of("ann"))
	w.start()
	before := w.fresh("x").Fingerprint
	hold := make(chan struct{})
	people.Fail(1, sandbox.Fault{Hold: hold})
	put(t, w.cfg.Credentials, of("bob"))
	check(t, people.Wait(t.Context(), 2))
	_, err := w.api.Token(t.Context(), "x", api.TokenOptions{Wait: new(time.Duration)})
	if code := codeOf(err); code != api.CodePending {
		t.Errorf("while bob logs in, a reader gets %q (%v)", code, err)
	}
	close(hold)
	if after := w.fresh("x").Fingerprint; after == before {
		t.Error("bob has ann's token")
	}
}

// Removed: the token is gone at once, for readers and from the store; added again,
// the credential logs in anew. What was refused stays refused meanwhile.
func TestWatchedRemoval(t *testing.T) {
	w := newWatched(t)
	wrong := w.finamWith("wrong", `"no such secret"`)
	put(t, w.cfg.Credentials, w.text(1)+wrong)
	w.start()
	before := w.fresh("finam").Fingerprint
	refused := func() bool {
		s, err := w.api.Credential(t.Context(), "wrong")
		return err == nil && s.State == api.StateRefused
	}
	w.until("the wrong secret is refused", refused)
	put(t, w.cfg.Credentials, "[credentials]\n")
	w.until("nothing is in force", func() bool { return len(w.names()) == 0 })
	for _, name := range []string{"finam", "wrong"} {
		if _, err := w.api.Token(t.Context(), name, api.TokenOptions{}); codeOf(err) != api.CodeUnknown {
			t.Errorf("the token of %s after its removal: %v", name, err)
		}
	}
	check(t, w.stop())
	if rec := w.record("finam"); rec.Token != "" || rec.Removed.IsZero() {
		t.Errorf("the store has a token: %v, removed %v", rec.Token != "", rec.Removed)
	}
	w.start()
	put(t, w.cfg.Credentials, w.text(1)+wrong)
	w.until("the refusal is remembered", func() bool { return len(w.names()) == 3 && refused() })
	if after := w.fresh("finam").Fingerprint; after == before {
		t.Error("the removed token is back")
	}
	if tried, granted := w.finam.Logins(); tried != 3 || granted != 2 {
		t.Errorf("%d logins, %d granted, want 3 and 2: the refused one must not be tried again", tried, granted)
	}
}

// record is the store's, while no daemon runs.
func (w *watched) record(name string) store.Record {
	w.t.Helper()
	s, err := store.Open(store.Config{Path: w.cfg.Store, Version: "test", Log: w.cfg.Log})
	check(w.t, err)
	defer s.Close()
	rec, ok := s.Records()[name]
	if !ok {
		w.t.Errorf("the store has no record of %s", name)
	}
	return rec
}
