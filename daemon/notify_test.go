package daemon

import (
	"errors"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"
)

func TestOneLine(t *testing.T) {
	for given, want := range map[string]string{
		"1 fresh":                  "1 fresh",
		"a\nWATCHDOG=1\x00\x1b[0m": "a WATCHDOG=1  [0m",
		"caf\xff":                  "caf�",
	} {
		if got := oneLine(given); got != want {
			t.Errorf("%q became %q, want %q", given, got, want)
		}
	}
	for _, long := range []string{strings.Repeat("é", 5000), strings.Repeat("\xff\n", 5000)} {
		if got := oneLine(long); len(got) > longestStatus+len("…") || !utf8.ValidString(got) || !strings.HasSuffix(got, "…") {
			t.Errorf("%d bytes became %d: %q", len(long), len(got), got)
		}
	}
}

// systemd drops a message over 4,096 bytes whole: whatever is wrong, READY=1 arrives.
func TestReadyWhateverIsWrong(t *testing.T) {
	e := newEar(t)
	d := e.daemon(t)
	d.inForce.err = errors.New(strings.Repeat("wrong\nSTOPPING=1\n", 1000))
	d.tellReady()
	got := e.heard()
	if len(got) != 1 || len(got[0]) >= 4096 {
		t.Fatalf("heard %q", got)
	}
	lines := strings.Split(got[0], "\n")
	if len(lines) != 2 || lines[0] != "READY=1" || !strings.HasPrefix(lines[1], "STATUS=credentials file not in force: wrong") {
		t.Errorf("heard %q", lines)
	}
}

// A stop asks for the time that draining may take, and nothing takes it back.
func TestStoppingIsFinal(t *testing.T) {
	e := newEar(t)
	d := e.daemon(t)
	d.tellStopping()
	d.tellReloading() // one that was under way
	d.tellReady()
	got := e.heard()
	if len(got) != 1 || !strings.HasPrefix(got[0], "STOPPING=1\nEXTEND_TIMEOUT_USEC=15000000\nSTATUS=stopping") {
		t.Errorf("heard %q", got)
	}
}

// Reading the file may take longer than systemd waits by itself.
func TestReadingTakesItsTime(t *testing.T) {
	e := newEar(t)
	synctest.Test(t, func(t *testing.T) {
		d := e.daemon(t)
		d.unhurried(func() { time.Sleep(9 * time.Second) })
		if got := e.heard(); len(got) > 0 {
			t.Errorf("after 9s: heard %q", got)
		}
		d.unhurried(func() { time.Sleep(35 * time.Second) })
		if got := e.heard(); len(got) != 3 || got[0] != "EXTEND_TIMEOUT_USEC=30000000" {
			t.Errorf("after 35s: heard %q", got)
		}
		all := 0
		d.unhurried(func() {
			for range 60 {
				time.Sleep(time.Minute)
				all += len(e.heard())
			}
		})
		if all != 60 {
			t.Errorf("after an hour: heard %d messages, want those of ten minutes", all)
		}
	})
}

// Every reload is told from its begin to its end, a failed one too.
func TestSystemdIsToldOfReloads(t *testing.T) {
	h := newHouse(t)
	h.write(good)
	h.start()
	h.await("STATUS=1 fresh")
	for _, row := range []struct{ file, want string }{
		{good + "sekret = \"hush\"\n", "READY=1\nSTATUS=credentials file not in force: "},
		{good, "READY=1\nSTATUS=1 fresh"},
	} {
		h.write(row.file)
		if _, err := h.api.Reload(t.Context()); (err == nil) != (row.file == good) {
			t.Fatal(err)
		}
		h.await("RELOADING=1\nMONOTONIC_USEC=")
		if got := h.await("READY=1"); !strings.HasPrefix(got, row.want) {
			t.Errorf("the end of the reload is %q, want %q", got, row.want)
		}
	}
}

// The status line is about what is wrong now, the newest first.
func TestStatusTellsTheNewestProblem(t *testing.T) {
	h := newHouse(t)
	early := strings.NewReplacer("credentials.finam", "credentials.early", "your-api-secret-key", "wrong").Replace(good)
	h.write(good + early)
	h.start()
	h.await("STATUS=1 fresh, 1 refused; early: ")
	h.write(strings.Replace(good, "your-api-secret-key", "as wrong", 1) + early)
	h.await("STATUS=2 refused; finam: ")
	h.write(good + early)
	h.await("STATUS=1 fresh, 1 refused; early: ")
	h.write(good)
	for got := h.await("STATUS="); !strings.HasSuffix(got, "STATUS=1 fresh"); {
		got = h.await("STATUS=")
	}
}

// What ended tokend is the unit's last status line.
func TestSystemdIsToldOfTheEnd(t *testing.T) {
	h := newHouse(t)
	h.write("[credentials.a]\n")
	if err := Run(t.Context(), h.cfg); err == nil {
		t.Fatal("started")
	}
	h.await("STATUS=not started: " + h.cfg.Credentials + ":1:1: ")
	h.write(good)
	check(t, os.MkdirAll(h.cfg.Store, 0o700))
	if err := Run(t.Context(), h.cfg); err == nil {
		t.Fatal("started")
	}
	h.await(h.cfg.Store)
}
