package daemon

import (
	"errors"
	"fmt"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers/sandbox"
)

type (
	sandboxFinam = sandbox.Finam
	sandboxJWT   = sandbox.SimpleJWT
)

// tokenNow takes whatever token comes.
var tokenNow = api.TokenOptions{}

// watched is a house whose daemon is told nothing but by its files.
type watched struct {
	*house
	etc    string // where the credentials file is
	status string // the last that systemd heard
}

func newWatched(t *testing.T) *watched {
	t.Helper()
	w := &watched{house: newHouse(t)}
	w.etc = filepath.Join(w.dir, "above", "etc")
	w.cfg.Credentials = filepath.Join(w.etc, "credentials.toml")
	check(t, os.MkdirAll(w.etc, 0o700))
	return w
}

// text is a credentials file with finam, and with another credential by which it is
// known: one that nobody asks for, and so is never logged in.
func (w *watched) text(version int) string {
	return strings.ReplaceAll(good, "{url}", w.url) + w.sign(version)
}

func (w *watched) sign(version int) string {
	return fmt.Sprintf("[credentials.v%d]\nprovider = \"finam\"\nurl = %q\nsecret = \"none\"\nmode = \"lazy\"\n", version, w.url)
}

// put writes a file that only its owner reads.
func put(t *testing.T, path, text string) {
	t.Helper()
	check(t, os.WriteFile(path, []byte(text), 0o600))
}

// names are the credentials in force.
func (w *watched) names() []string {
	w.t.Helper()
	all, err := w.api.Credentials(w.t.Context())
	check(w.t, err)
	names := map[string]bool{}
	for _, s := range all {
		names[s.Name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

// inForce waits until the version is, and prints how long that took.
func (w *watched) inForce(what string, version int) {
	w.t.Helper()
	begun := time.Now()
	want := []string{"finam", fmt.Sprintf("v%d", version)}
	w.until(what+" is in force", func() bool { return slices.Equal(w.names(), want) })
	w.t.Logf("%s was in force after %d ms", what, time.Since(begun).Milliseconds())
}

// until waits for something, and listens for what systemd hears meanwhile.
func (w *watched) until(what string, ok func() bool) {
	w.t.Helper()
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	deadline := time.After(2 * time.Minute) // for a machine that is busy with other things
	for !ok() {
		select {
		case said := <-w.told:
			for line := range strings.Lines(said) {
				if text, found := strings.CutPrefix(strings.TrimSuffix(line, "\n"), "STATUS="); found {
					w.status = text
				}
			}
		case <-look.C:
		case <-deadline:
			w.t.Fatalf("never: %s\nin force: %v, health %q, status %q\n%s", what, w.names(), w.healthError(), w.status, w.log)
		}
	}
}

// fresh waits until the credential's token is there and its renewal well, and returns it.
func (w *watched) fresh(name string) api.Status {
	w.t.Helper()
	var s api.Status
	w.until(name+" is fresh", func() bool {
		got, err := w.api.Credential(w.t.Context(), name)
		if err == nil {
			s = *got
		}
		return err == nil && s.State == api.StateFresh
	})
	return s
}

// reloads counts how often the daemon read the file and found nothing wrong, and how
// often that changed something.
func (w *watched) reloads() (all, changes int) {
	text := w.log.String()
	changes = strings.Count(text, "credentials file in force: ")
	return changes + strings.Count(text, "credentials file read again; nothing changed"), changes
}

// exchanger is a look-alike of SimpleJWT that knows these people; the tokens last.
func (w *watched) exchanger(passwords map[string]string) (*sandbox.Server[sandbox.SimpleJWT], string) {
	users := map[string]sandbox.SimpleJWTUser{}
	for name, password := range passwords {
		users[name] = sandbox.SimpleJWTUser{Password: password}
	}
	s := sandbox.New(sandbox.SimpleJWT{Users: users, AccessTTL: time.Hour})
	upstream := httptest.NewServer(s)
	w.t.Cleanup(upstream.Close)
	return s, upstream.URL
}

// codeOf is the code of an answer's error; empty: it is none.
func codeOf(err error) api.Code {
	if problem, ok := errors.AsType[*api.Error](err); ok {
		return problem.Code
	}
	return ""
}
