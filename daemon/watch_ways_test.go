package daemon

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// ways to write a file, as programs and people have them. $0 is the file, $1 a file
// with what is to be in it, beside which others may be made.
var ways = []struct {
	name, program, script string
}{
	{"redirection", "cat", `cat "$1" > "$0"`},
	{"cp", "cp", `cp "$1" "$0"`},
	{"cp -f", "cp", `cp -f --remove-destination "$1" "$0"`},
	{"tee", "tee", `tee "$0" < "$1" > /dev/null`},
	{"dd", "dd", `dd if="$1" of="$0" bs=7 conv=notrunc status=none; truncate -s "$(stat -c %s "$1")" "$0"`},
	{"install", "install", `install -m 600 "$1" "$0"`},
	{"mv", "mv", `cp -p "$1" "$0.new" && mv "$0.new" "$0"`},
	{"mv from elsewhere", "mv", `cp -p "$1" "$1.copy" && mv "$1.copy" "$0"`},
	{"mv -b", "mv", `cp -p "$1" "$0.new" && mv -b "$0.new" "$0"`},
	{"sed -i", "sed", `sed -i "s/credentials.v[0-9]*/$(grep -o 'credentials.v[0-9]*' "$1")/" "$0"`},
	{"patch by ed", "ed", `printf '%s\n' 1,\$d "r $1" w q | ed -s "$0"`},
	{"vim", "vim", `vim -u NONE -n -es -c "1,\$d|0r $1|wq" "$0"`},
	{"vim, backup by rename", "vim", `vim -u NONE -n -es -c "set backup writebackup backupcopy=no|1,\$d|0r $1|wq" "$0"`},
	{"vim, backup by copy", "vim", `vim -u NONE -n -es -c "set backup writebackup backupcopy=yes|1,\$d|0r $1|wq" "$0"`},
	{"emacs", "sh", `cp -p "$0" "$0~" && ln -sf "me@host.1" "${0%/*}/.#credentials.toml" && cat "$1" > "$0" && rm "${0%/*}/.#credentials.toml"`},
	{"gedit", "sh", `cat "$1" > "$0.goutputstream" && ln -f "$0" "$0~" && mv "$0.goutputstream" "$0"`},
	{"rsync", "sh", `cp -p "$1" "${0%/*}/.credentials.toml.x7" && touch -r "$0" "${0%/*}/.credentials.toml.x7" && mv "${0%/*}/.credentials.toml.x7" "$0"`},
	{"remove and write", "rm", `rm "$0"; cat "$1" > "$0"`},
	{"a symbolic link to it", "ln", `ln -sf "$1" "$0.link" && mv -T "$0.link" "$0"`},
	{"a write behind the link", "cat", `cat "$1" > "$0"`},
	{"a file again", "cp", `cp "$1" "$0.new" && mv -T "$0.new" "$0"`},
	{"the same text by a hard link", "ln", `ln -f "$1" "$0"`},
	{"a write by the other name", "sh", `cat "$1" > "${1%/*}/other.name"; ln -f "${1%/*}/other.name" "$0"; echo '# more' >> "${1%/*}/other.name"`},
}

// Whatever writes the file, the daemon goes by what is there in the end, and keeps
// the tokens of what stayed.
func TestWatchedWays(t *testing.T) {
	w := newWatched(t)
	put(t, w.cfg.Credentials, w.text(0))
	w.start()
	before := w.fresh("finam")
	for i, way := range ways {
		if _, err := exec.LookPath(way.program); err != nil {
			t.Logf("SKIPPED, NOT TESTED: %s, since there is no %s here", way.name, way.program)
			continue
		}
		source := filepath.Join(w.dir, fmt.Sprintf("source%d", i))
		put(t, source, w.text(i+1))
		cmd := exec.CommandContext(t.Context(), "sh", "-c", "umask 077; "+way.script, w.cfg.Credentials, source)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", way.name, err, out)
		}
		w.inForce(way.name, i+1)
	}
	if after := w.fresh("finam"); after.Fingerprint != before.Fingerprint || !after.RenewAt.Equal(before.RenewAt) {
		t.Errorf("finam was %+v, and is %+v", before, after)
	}
	if tried, _ := w.finam.Logins(); tried != 1 {
		t.Errorf("%d logins, want 1", tried)
	}
}

// A burst ends in exactly the last content.
func TestWatchedBurst(t *testing.T) {
	const writes = 1000
	w := newWatched(t)
	put(t, w.cfg.Credentials, w.text(0))
	w.start()
	for i := range writes {
		text := w.text(i + 1)
		if i%3 == 0 {
			put(t, w.cfg.Credentials+".new", text)
			check(t, os.Rename(w.cfg.Credentials+".new", w.cfg.Credentials))
			continue
		}
		put(t, w.cfg.Credentials, text)
	}
	w.inForce("the last write", writes)
	if all, _ := w.reloads(); all > writes/2 {
		t.Errorf("%d writes were read %d times", writes, all)
	}
}

// SIGHUP reads at once, in the midst of whatever is going on; the end is the same.
func TestWatchedHangups(t *testing.T) {
	const rounds = 30
	w := newWatched(t)
	put(t, w.cfg.Credentials, w.text(0))
	w.start()
	before := w.fresh("finam").Fingerprint
	for n := range rounds {
		text := w.text(n + 1)
		put(t, w.cfg.Credentials, text[:len(text)/2])
		w.until("the daemon takes a hangup", func() bool {
			select {
			case w.hangup <- syscall.SIGHUP:
				return true
			default:
				return false
			}
		})
		put(t, w.cfg.Credentials, text)
	}
	w.inForce("the last", rounds)
	w.until("all is well", func() bool { return w.healthError() == "" })
	if after := w.fresh("finam").Fingerprint; after != before {
		t.Error("finam has another token")
	}
}

// Who writes for ever does not keep a change from being noticed.
func TestWatchedRestlessFile(t *testing.T) {
	w := newWatched(t)
	restless := filepath.Join(w.dir, "restless")
	put(t, restless, "none")
	own := fmt.Sprintf("[credentials.restless]\nprovider = \"finam\"\nurl = %q\nsecret = { file = %q }\nmode = \"lazy\"\n", w.url, restless)
	put(t, w.cfg.Credentials, own)
	w.start()
	put(t, w.cfg.Credentials, own+w.sign(1))
	write := time.NewTicker(50 * time.Millisecond)
	defer write.Stop()
	n := 0
	w.until("what changed beside the restless file is in force", func() bool {
		select {
		case <-write.C:
			n++
			put(t, restless, fmt.Sprint("none ", n))
		default:
		}
		return strings.Contains(strings.Join(w.names(), " "), "v1")
	})
	put(t, restless, "the last")
	w.until("all is quiet", func() bool { return w.healthError() == "" })
}

// What is the same in the end is no change: no login, no new token, no line in the log.
func TestWatchedSameBytes(t *testing.T) {
	w := newWatched(t)
	text := strings.Replace(w.text(0), `"your-api-secret-key"`, fmt.Sprintf("{ file = %q }", w.etc+"/secret"), 1)
	put(t, w.cfg.Credentials, text)
	put(t, w.etc+"/secret", "your-api-secret-key")
	w.start()
	before := w.fresh("finam")
	for _, path := range []string{w.cfg.Credentials, w.etc + "/secret"} {
		content, err := os.ReadFile(path)
		check(t, err)
		for name, touch := range map[string]func(){
			"touch":         func() { check(t, os.Chtimes(path, time.Time{}, time.Now())) },
			"the same text": func() { put(t, path, string(content)) },
			"an equal file": func() { put(t, path+".new", string(content)); check(t, os.Rename(path+".new", path)) },
			"another mode":  func() { check(t, os.Chmod(path, 0o400), os.Chmod(path, 0o600)) },
			"away and back": func() { check(t, os.Rename(path, path+"~"), os.Rename(path+"~", path)) },
		} {
			all, changes := w.reloads()
			touch()
			w.until(name+" is noticed", func() bool { n, _ := w.reloads(); return n > all })
			if _, now := w.reloads(); now != changes {
				t.Errorf("%s of %s is a change: %s", name, path, w.log)
			}
		}
	}
	if after := w.fresh("finam"); after.Fingerprint != before.Fingerprint || !after.RenewAt.Equal(before.RenewAt) {
		t.Errorf("finam was %+v, and is %+v", before, after)
	}
	if tried, _ := w.finam.Logins(); tried != 1 {
		t.Errorf("%d logins, want 1", tried)
	}
	got, err := w.api.Reload(t.Context())
	if err != nil || got.Kept != 2 || got.Added+got.Changed+got.Removed != 0 {
		t.Errorf("a reload says %+v, %v", got, err)
	}
}
