package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/tokend-project/tokend/daemon/api"
)

// spoiling is something that takes the file away, and what brings it back.
type spoiling struct {
	spoil, mend func(w *watched)
	want        string // in what everybody is told
}

// unlink has the file replaced by what put makes of its path.
func unlink(put func(path string) error) func(*watched) {
	return func(w *watched) { check(w.t, os.RemoveAll(w.cfg.Credentials), put(w.cfg.Credentials)) }
}

// remake puts a file in order where there was something else.
func remake(w *watched) {
	check(w.t, os.RemoveAll(w.cfg.Credentials))
	put(w.t, w.cfg.Credentials, w.text(1))
}

func spoilings(w *watched) map[string]spoiling {
	file, etc := w.cfg.Credentials, w.etc
	above := filepath.Dir(etc)
	move := func(from, to string) func(*watched) {
		return func(w *watched) { check(w.t, os.Rename(from, to)) }
	}
	all := map[string]spoiling{
		"deleted":  {unlink(func(string) error { return nil }), remake, "no such file"},
		"away":     {move(file, file+"~"), move(file+"~", file), "no such file"},
		"bad":      {func(w *watched) { put(w.t, file, "[credentials") }, remake, ":1:"},
		"empty":    {func(w *watched) { put(w.t, file, "") }, remake, "[credentials]"},
		"pipe":     {unlink(func(p string) error { return syscall.Mkfifo(p, 0o600) }), remake, "named pipe"},
		"folder":   {unlink(func(p string) error { return os.Mkdir(p, 0o700) }), remake, "directory"},
		"dangling": {unlink(func(p string) error { return os.Symlink("gone/deep/down", p) }), remake, "no such file"},
		"mended behind the link": {
			unlink(func(p string) error {
				return errors.Join(os.RemoveAll(filepath.Join(etc, "gone")), os.Symlink("gone/deep/down", p))
			}),
			func(w *watched) {
				check(w.t, os.MkdirAll(filepath.Join(etc, "gone", "deep"), 0o700))
				put(w.t, filepath.Join(etc, "gone", "deep", "down"), w.text(1))
			}, "no such file",
		},
		"circle": {
			unlink(func(p string) error { return os.Symlink(filepath.Base(p), p) }), remake, "circle",
		},
		"open to others": {
			func(w *watched) { check(w.t, os.Chmod(file, 0o604)) },
			func(w *watched) { check(w.t, os.Chmod(file, 0o600)) }, "chmod 0600 " + file,
		},
		"directory away":   {move(etc, etc+"~"), move(etc+"~", etc), "no such file"},
		"grandparent away": {move(above, above+"~"), move(above+"~", above), "no such file"},
		"everything removed": {
			func(w *watched) { check(w.t, os.RemoveAll(above)) },
			func(w *watched) { check(w.t, os.MkdirAll(etc, 0o700)); put(w.t, file, w.text(1)) }, "no such file",
		},
		"a file above": {
			func(w *watched) { check(w.t, os.RemoveAll(above)); put(w.t, above, "") },
			func(w *watched) {
				check(w.t, os.Remove(above), os.MkdirAll(etc, 0o700))
				put(w.t, file, w.text(1))
			}, "not a directory",
		},
	}
	if os.Getuid() == 0 {
		all["another's"] = spoiling{
			func(w *watched) { check(w.t, os.Chown(file, 65533, -1)) },
			func(w *watched) { check(w.t, os.Chown(file, 0, -1)) }, "chown 0 " + file,
		}
	} else {
		w.t.Log("SKIPPED, NOT TESTED: a file that is given to another user, which only root can do")
	}
	return all
}

// I6, by the watch alone: while the file is gone or no good, what was in force stays,
// and everybody is told; when it is back, so is everything.
func TestWatchedGoneAndBack(t *testing.T) {
	for name := range spoilings(newWatched(t)) {
		t.Run(name, func(t *testing.T) {
			w := newWatched(t)
			put(t, w.cfg.Credentials, w.text(1))
			w.start()
			before := w.fresh("finam").Fingerprint
			s := spoilings(w)[name]
			for round := range 2 { // the second time, the watches are others
				s.spoil(w)
				w.until("everybody is told", func() bool {
					return strings.Contains(w.healthError(), s.want) && strings.Contains(w.metrics(), "tokend_config_last_reload_successful 0") &&
						strings.Contains(w.status, "credentials file not in force: ") && strings.Contains(w.status, s.want) &&
						strings.Contains(w.log.String(), s.want)
				})
				if names := strings.Join(w.names(), " "); names != "finam v1" {
					t.Errorf("round %d: in force is %s", round, names)
				}
				if api.Fingerprint(w.token()) != before {
					t.Errorf("round %d: another token", round)
				}
				s.mend(w)
				w.until("all is well again", func() bool {
					return w.healthError() == "" && strings.Contains(w.metrics(), "tokend_config_last_reload_successful 1") &&
						!strings.Contains(w.status, "not in force") &&
						strings.Count(w.log.String(), "credentials file in order again") >= round+1
				})
			}
			put(t, w.cfg.Credentials, w.text(2))
			w.inForce("a change after all that", 2)
			if after := w.fresh("finam").Fingerprint; after != before {
				t.Error("finam has another token")
			}
			if tried, _ := w.finam.Logins(); tried != 1 {
				t.Errorf("%d logins, want 1", tried)
			}
		})
	}
}

// A new content behind a bad mode waits for the mode.
func TestWatchedModeHoldsBack(t *testing.T) {
	w := newWatched(t)
	put(t, w.cfg.Credentials, w.text(1))
	w.start()
	put(t, w.cfg.Credentials+".new", w.text(2))
	check(t, os.Chmod(w.cfg.Credentials+".new", 0o644), os.Rename(w.cfg.Credentials+".new", w.cfg.Credentials))
	w.until("it is refused", func() bool { return strings.Contains(w.healthError(), "run chmod 0640 "+w.cfg.Credentials) })
	if names := strings.Join(w.names(), " "); names != "finam v1" {
		t.Errorf("in force is %s", names)
	}
	check(t, os.Chmod(w.cfg.Credentials, 0o640))
	w.inForce("the new content", 2)
}

// What Kubernetes does to a mounted secret: all of its files change in one step, the
// rename of a symbolic link to a directory.
func TestWatchedKubernetes(t *testing.T) {
	w := newWatched(t)
	w.finam.Set(func(k *sandboxFinam) { k.Secrets = []string{"secret-1", "secret-2", "secret-3"} })
	text := strings.Replace(good, `"your-api-secret-key"`, fmt.Sprintf("{ file = %q }", w.etc+"/secret"), 1)
	version := func(n int) {
		dir := filepath.Join(w.etc, fmt.Sprintf("..2025_0%d", n))
		check(t, os.Mkdir(dir, 0o700))
		put(t, filepath.Join(dir, "credentials.toml"), strings.ReplaceAll(text, "{url}", w.url)+w.sign(n))
		put(t, filepath.Join(dir, "secret"), fmt.Sprint("secret-", n))
		check(t, os.Symlink(filepath.Base(dir), w.etc+"/..data_tmp"), os.Rename(w.etc+"/..data_tmp", w.etc+"/..data"))
		if n > 1 {
			check(t, os.RemoveAll(filepath.Join(w.etc, fmt.Sprintf("..2025_0%d", n-1))))
		}
	}
	version(1)
	check(t, os.Symlink("..data/secret", w.etc+"/secret"), os.Symlink("..data/credentials.toml", w.cfg.Credentials))
	w.start()
	last := w.fresh("finam").Fingerprint
	for n := 2; n <= 3; n++ {
		version(n)
		w.inForce(fmt.Sprint("version ", n), n)
		w.until("a login with the new secret", func() bool { return w.fresh("finam").Fingerprint != last })
		last = w.fresh("finam").Fingerprint
	}
	if tried, granted := w.finam.Logins(); tried != 3 || granted != 3 {
		t.Errorf("%d logins, %d granted, want 3", tried, granted)
	}
}
