package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"regexp"
	"sync/atomic"
	"testing"

	"github.com/coreos/go-systemd/v22/journal"
)

func env(pairs map[string]string) func(string) string {
	return func(name string) string { return pairs[name] }
}

// What is no terminal and no journal gets JSON, a line each.
func TestLogJSON(t *testing.T) {
	for _, format := range []string{"auto", "json"} {
		var b bytes.Buffer
		log, err := newLog("info", format, env(nil), &b)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("unseen")
		log.Warn("seen", "credential", "broker", "err", errors.New("a\nb"))
		var line map[string]string
		if err := json.Unmarshal(b.Bytes(), &line); err != nil {
			t.Fatalf("%s: %q: %v", format, b.String(), err)
		}
		delete(line, "time")
		if want := map[string]string{"level": "WARN", "msg": "seen", "credential": "broker", "err": "a\nb"}; !maps.Equal(line, want) {
			t.Errorf("%s: got %v, want %v", format, line, want)
		}
	}
}

// Text has no colour where it is no terminal.
func TestLogText(t *testing.T) {
	var b bytes.Buffer
	log, err := newLog("debug", "text", env(nil), &b)
	if err != nil {
		t.Fatal(err)
	}
	log.Debug("seen", "credential", "broker", "err", "a\x1b[31m\nb")
	if want := regexp.MustCompile(`^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d DBG seen credential=broker err="a\\nb"\n$`); !want.MatchString(b.String()) {
		t.Errorf("%q", b.String())
	}
}

func TestLogLevels(t *testing.T) {
	for level, want := range map[string]int{"debug": 4, "info": 3, "warn": 2, "error": 1, "INFO": 3} {
		var b bytes.Buffer
		log, err := newLog(level, "json", env(nil), &b)
		if err != nil {
			t.Fatal(err)
		}
		log.Debug("")
		log.Info("")
		log.Warn("")
		log.Error("")
		if got := bytes.Count(b.Bytes(), []byte("\n")); got != want {
			t.Errorf("%s: %d lines, want %d", level, got, want)
		}
	}
}

func TestLogUnknown(t *testing.T) {
	for _, row := range []struct{ level, format, want string }{
		{"loud", "json", `unknown log level "loud": use debug, info, warn or error`},
		{"", "json", `unknown log level "": use debug, info, warn or error`},
		{"info", "xml", `unknown log format "xml": use auto, journal, text or json`},
		{"info", "", `unknown log format "": use auto, journal, text or json`},
	} {
		if _, err := newLog(row.level, row.format, env(nil), new(bytes.Buffer)); err == nil || err.Error() != row.want {
			t.Errorf("%q %q: %v, want %s", row.level, row.format, err, row.want)
		}
	}
	if !journal.Enabled() {
		if _, err := newLog("info", "journal", env(nil), new(bytes.Buffer)); err == nil {
			t.Error("a log to a journal that is not there")
		}
	}
}

// The journal gets a field for each attribute, and the level as the priority that
// syslog(3) gives it.
func TestLogJournal(t *testing.T) {
	type entry struct {
		text     string
		priority journal.Priority
		fields   map[string]string
	}
	var got []entry
	var early bytes.Buffer
	h := &journalHandler{level: slog.LevelDebug, stream: &early, settled: new(atomic.Bool), send: func(text string, p journal.Priority, fields map[string]string) error {
		got = append(got, entry{text, p, fields})
		return nil
	}}
	log := slog.New(h)
	log.With("credential", "broker").Error("not yet", "err", "a\nb")
	if want := "<3>not yet credential=broker err=a; b\n"; early.String() != want || len(got) > 0 {
		t.Errorf("before it is settled: %q and %v, want %q", early.String(), got, want)
	}
	early.Reset()
	h.settle()
	broker := log.With("credential", "broker")
	other := log.With("credential", "other")
	broker.Debug("a")
	broker.With("uid", 1001).Info("b", "outcome", "login")
	other.Warn("c", "err", errors.New("down"))
	broker.Error("d")
	log.Log(t.Context(), slog.LevelError+4, "e")
	want := []entry{
		{"a credential=broker", journal.PriDebug, map[string]string{"TOKEND_CREDENTIAL": "broker"}},
		{"b credential=broker uid=1001 outcome=login", journal.PriInfo, map[string]string{"TOKEND_CREDENTIAL": "broker", "TOKEND_UID": "1001", "TOKEND_OUTCOME": "login"}},
		{"c credential=other err=down", journal.PriWarning, map[string]string{"TOKEND_CREDENTIAL": "other", "TOKEND_ERR": "down"}},
		{"d credential=broker", journal.PriErr, map[string]string{"TOKEND_CREDENTIAL": "broker"}},
		{"e", journal.PriErr, map[string]string{}},
	}
	if len(got) != len(want) {
		t.Fatalf("%d entries, want %d", len(got), len(want))
	}
	for i, w := range want {
		w.fields["SYSLOG_IDENTIFIER"] = "tokend"
		if g := got[i]; g.text != w.text || g.priority != w.priority || !maps.Equal(g.fields, w.fields) {
			t.Errorf("got %v, want %v", g, w)
		}
	}
	if early.Len() > 0 {
		t.Errorf("written to the stream: %q", early.String())
	}
	quiet := slog.New(&journalHandler{level: slog.LevelWarn, send: func(string, journal.Priority, map[string]string) error {
		t.Error("a line below the level")
		return nil
	}})
	quiet.Info("unseen")
	quiet.With("credential", "broker").Info("unseen")
}
