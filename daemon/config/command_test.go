package config

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sh runs a script with that limit, which most tests never come near.
func sh(t *testing.T, limit time.Duration, script string, args ...string) (string, error) {
	t.Helper()
	c := commands{slots: make(chan struct{}, 1), limit: limit}
	secret, err := c.run(t.Context(), append([]string{"/bin/sh", "-c", script, "sh"}, args...))
	return secret.Reveal(), err
}

func TestCommand(t *testing.T) {
	t.Setenv("LC_ALL", "C")
	for _, tt := range []struct{ name, script, want, err string }{
		{"one newline goes", `printf 'hush-1\n\n'`, "hush-1\n", ""},
		{"no shell but this one", `printf '%s' "$*"`, "$HOME *", ""},
		{"no input", `cat; echo hush-1`, "hush-1", ""},
		{"the directory", `pwd`, "/", ""},
		{"a session of its own", `set -- $(cat /proc/$$/stat); [ $1 = $5 ] && [ $1 = $6 ] && echo hush-1`, "hush-1", ""},
		{"no terminal", `(echo x >/dev/tty) 2>/dev/null || echo hush-1`, "hush-1", ""},
		{"as much as there may be", `head -c 65536 /dev/zero | tr '\0' x`, strings.Repeat("x", maxSecret), ""},
		{"more", `head -c 65537 /dev/zero | tr '\0' x`, "", "it printed more than 64 KiB"},
		{"without end", `yes hush-1`, "", "it printed more than 64 KiB"},
		{"complaints without a failure", `head -c 1000000 /dev/zero >&2; echo hush-1`, "hush-1", ""},
		{"a failure", `echo hush-1; exit 3`, "", "exit status 3"},
		{"a complaint", `echo >&2; echo ' no such  entry ' >&2; echo more >&2; exit 3`, "", `exit status 3: "no such entry"`},
		{"a complaint with the secret", `echo hush-1; echo x; echo "x: got 'hush-1'" >&2; exit 3`, "", `exit status 3: "[withheld: it repeats a secret]"`},
		{"one with the secret in base64", `echo hush-hush-1; echo hush-hush-1 | base64 >&2; exit 3`, "", `exit status 3: "[withheld: it repeats a secret]"`},
		{"a complaint in colour", `printf '\033[31mno\033[0m \377\n' >&2; exit 3`, "", `exit status 3: "[31mno[0m ?"`},
		{"a long complaint", `head -c 300 /dev/zero | tr '\0' x >&2; exit 3`, "", `exit status 3: "` + strings.Repeat("x", 200) + `…"`},
		{"a death", `kill -9 $$`, "", "signal: killed"},
		{"nothing", `:`, "", "what it printed cannot be used: the secret is empty"},
		{"a newline", `echo; echo 'not found' >&2`, "", `what it printed cannot be used: the secret is empty: "not found"`},
		{"no text", `printf 'hush-\377'`, "", "what it printed cannot be used: the secret is not UTF-8 text"},
		{"what it leaves behind", `(sleep 0.1; echo hush-1) &`, "hush-1", ""},
	} {
		got, err := sh(t, time.Minute, tt.script, "$HOME", "*")
		if got != tt.want {
			t.Errorf("%s: %.80q, want %.80q", tt.name, got, tt.want)
		}
		if err != nil && err.Error() != "/bin/sh: "+tt.err || err == nil && tt.err != "" {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.err)
		}
	}
}

func TestCommand_environment(t *testing.T) {
	for _, name := range []string{"HUSH", "TOKEND_KEY_FILE", "LD_PRELOAD_NOT", "NOTIFY_SOCKET", "LISTEN_FDS"} {
		t.Setenv(name, "hush-")
	}
	t.Setenv("PATH", "/usr/bin:/bin")
	t.Setenv("HOME", "/hush home")
	t.Setenv("LANG", "")
	t.Setenv("TZ", "UTC")
	t.Setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
	c := newBench().commands
	env := func() []string {
		secret, err := c.run(t.Context(), []string{"env"})
		if err != nil {
			t.Fatal(err)
		}
		return slices.Sorted(strings.SplitSeq(secret.Reveal(), "\n"))
	}
	if got, want := env(), []string{"CREDENTIALS_DIRECTORY=/run/credentials/x", "HOME=/hush home", "LANG=", "PATH=/usr/bin:/bin", "TZ=UTC"}; !slices.Equal(got, want) {
		t.Errorf("it has %q, want %q", got, want)
	}
	for _, name := range []string{"HOME", "LANG", "TZ", "CREDENTIALS_DIRECTORY"} {
		if err := os.Unsetenv(name); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := env(), []string{"PATH=/usr/bin:/bin"}; !slices.Equal(got, want) {
		t.Errorf("it has %q, want %q", got, want)
	}
	if err := os.Unsetenv("PATH"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.run(t.Context(), []string{"env"}); err == nil || !strings.Contains(err.Error(), "PATH") {
		t.Errorf("without a PATH: %v", err)
	}
	if got, err := c.run(t.Context(), []string{"/usr/bin/env"}); err == nil || !strings.HasSuffix(err.Error(), "the secret is empty") {
		t.Errorf("without any it has %q, %v", got.Reveal(), err)
	}
}

// TestCommand_descriptors: not even one that whoever started tokend left open.
func TestCommand_descriptors(t *testing.T) {
	fd, err := syscall.Open("/dev/null", syscall.O_RDONLY, 0) // to be inherited
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Close(fd)
	if got, err := sh(t, time.Minute, `ls /proc/$$/fd; :`); got != "0\n1\n2" || err != nil {
		t.Errorf("it has %q, %v", got, err)
	}
}

// TestCommand_slow: when the time is over, nothing of the group is left, whoever has
// the output open.
func TestCommand_slow(t *testing.T) {
	for name, script := range map[string]string{
		"the program itself":         `exec 3<>"$1"; exec sleep 1000`,
		"its child":                  `exec 3<>"$1"; sleep 1000; :`,
		"what it left behind":        `exec 3<>"$1"; sleep 1000 & exit 0`,
		"one that hears no signal":   `trap '' TERM INT HUP; exec 3<>"$1"; while :; do sleep 1000; done`,
		"one that closed its output": `exec 3<>"$1" >/dev/null 2>&1; sleep 1000`,
		"one with a complaint":       `exec 3<>"$1"; echo waiting for a key >&2; sleep 1000`,
	} {
		fifo, open := held(t)
		_, err := sh(t, 300*time.Millisecond, script, fifo)
		want := "/bin/sh: it was not done within 300ms"
		if strings.Contains(script, "waiting") {
			want += `: "waiting for a key"`
		}
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		released(t, name, open)
	}
}

// held is a named pipe of which the test reads the one end.
func held(t *testing.T) (fifo string, open *os.File) {
	t.Helper()
	fifo = filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	open, err := os.OpenFile(fifo, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { open.Close() })
	return fifo, open
}

// released waits until nobody has the other end of the pipe open.
func released(t *testing.T, name string, open *os.File) {
	t.Helper()
	if err := open.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := open.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("%s is alive: %v", name, err)
	}
}

// TestCommand_done: when the program is done, its group is not left running either.
func TestCommand_done(t *testing.T) {
	fifo, open := held(t)
	got, err := sh(t, time.Minute, `(exec 3<>"$1" >/dev/null 2>&1; echo x >&3; exec sleep 1000) & read x <"$1"; echo hush-1`, fifo)
	if got != "hush-1" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	released(t, "what it left behind", open)
}

// TestCommand_left: who leaves the group is not ours to kill, and not waited for.
func TestCommand_left(t *testing.T) {
	fifo, _ := held(t)
	_, err := sh(t, 300*time.Millisecond, `setsid sh -c 'read x <"$1"' sh "$1" & exit 0`, fifo)
	if err == nil || !strings.Contains(err.Error(), "not done within") {
		t.Errorf("with its output open: %v", err)
	}
	end, err := os.OpenFile(fifo, os.O_RDWR|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer end.Close()
	if _, err := end.WriteString("x\n"); err != nil { // it may go
		t.Fatal(err)
	}
}

func TestCommand_ended(t *testing.T) {
	fifo, open := held(t)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		_, _ = open.Read(make([]byte, 1)) // it has begun
		cancel()
	}()
	c := newBench().commands
	_, err := c.run(ctx, []string{"/bin/sh", "-c", `exec 3<>"$1"; echo >"$1"; sleep 1000`, "sh", fifo})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("ended: %v", err)
	}
}

// TestCommand_slots: eight at a time, and the ninth waits for its turn.
func TestCommand_slots(t *testing.T) {
	c := newBench().commands
	if cap(c.slots) != 8 || c.limit != 10*time.Second {
		t.Errorf("%d at a time, for %v", cap(c.slots), c.limit)
	}
	for range 8 {
		c.slots <- struct{}{}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := c.run(ctx, []string{"/bin/true"}); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "waiting for other") {
		t.Errorf("the ninth: %v", err)
	}
	<-c.slots
	for range 2 { // it gives its slot back
		if got, err := c.run(t.Context(), []string{"/bin/echo", "hush-1"}); got.Reveal() != "hush-1" || err != nil {
			t.Errorf("the eighth: %v", err)
		}
	}
	if len(c.slots) != 7 {
		t.Errorf("%d are taken", len(c.slots))
	}
}

func TestProgram(t *testing.T) {
	d := t.TempDir()
	write(t, filepath.Join(d, "plain"), "#!/bin/sh\n")
	write(t, filepath.Join(d, "broken"), "#!/nowhere\n")
	if err := errors.Join(os.Chmod(filepath.Join(d, "broken"), 0o700), os.Mkdir(filepath.Join(d, "dir"), 0o700)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "/bin:.:"+d)
	t.Chdir(d)
	c := newBench().commands
	for name, want := range map[string]string{
		"/nowhere":    "/nowhere: there is no such program",
		d + "/plain":  d + "/plain: permission denied",
		d + "/dir":    d + "/dir: is a directory",
		d + "/broken": d + "/broken: no such file or directory",
		"hush-1":      "the program is in no directory of tokend's PATH: give its absolute path",
		"plain":       "the program is in no directory of tokend's PATH: give its absolute path",
		"":            "the program is in no directory of tokend's PATH: give its absolute path",
		"broken":      "the program is in no directory of tokend's PATH: give its absolute path", // first found where tokend was started
	} {
		if _, err := c.run(t.Context(), []string{name}); err == nil || err.Error() != want {
			t.Errorf("%q: %v, want %s", name, err, want)
		}
	}
}
