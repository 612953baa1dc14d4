package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/lmittmann/tint"
	"golang.org/x/term"
)

// newLog makes the log in the format: auto is the journal's own under systemd,
// coloured text on a terminal, and JSON otherwise.
func newLog(level, format string, getenv func(string) string, w io.Writer) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("unknown log level %q: use debug, info, warn or error", level)
	}
	if format == "auto" {
		format = naturalFormat(w)
	}
	switch format {
	case "journal":
		if !journal.Enabled() {
			return nil, errors.New("no journal is here for log format journal: use auto, text or json")
		}
		h := &journalHandler{level: l, send: journal.Send, stream: w, settled: new(atomic.Bool)}
		return slog.New(h), nil
	case "text":
		return slog.New(tint.NewTextHandler(w, &tint.Options{
			Level: l, TimeFormat: time.DateTime, NoColor: !isTerminal(w) || getenv("NO_COLOR") != "",
		})), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: l})), nil
	}
	return nil, fmt.Errorf("unknown log format %q: use auto, journal, text or json", format)
}

// naturalFormat is what fits the place that the log goes to. A unit with a root
// directory of its own may have the journal's stream without its socket.
func naturalFormat(w io.Writer) string {
	if ours, err := journal.StderrIsJournalStream(); err == nil && ours && w == os.Stderr && journal.Enabled() {
		return "journal"
	}
	if isTerminal(w) {
		return "text"
	}
	return "json"
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// journalHandler writes records to the journal with a field of their own for each
// attribute, TOKEND_ and its name, so that `journalctl TOKEND_CREDENTIAL=x` works.
//
// Until it is settled it writes to standard error instead, of which systemd knows whose
// it is. Of a message with fields the journal finds out by the process, and what
// `journalctl -u tokend` is asked for most are the words of one that ended at once.
type journalHandler struct {
	level   slog.Level
	attrs   []slog.Attr
	send    func(message string, priority journal.Priority, fields map[string]string) error
	stream  io.Writer    // standard error; a line may begin with its priority (sd-daemon(3))
	settled *atomic.Bool // shared with the handlers made from this one
}

// settle has records written with their fields from here on: tokend is here to stay.
func (h *journalHandler) settle() { h.settled.Store(true) }

// Enabled reports whether the level is logged.
func (h *journalHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

// Handle sends the record.
func (h *journalHandler) Handle(_ context.Context, r slog.Record) error {
	fields := map[string]string{"SYSLOG_IDENTIFIER": "tokend"} // for journalctl -t, as the lines of stderr have it
	text := r.Message
	add := func(a slog.Attr) bool {
		value := a.Value.Resolve().String()
		fields["TOKEND_"+strings.ToUpper(a.Key)] = value
		text += " " + a.Key + "=" + value
		return true
	}
	for _, a := range h.attrs {
		add(a)
	}
	r.Attrs(add)
	if h.settled.Load() {
		return h.send(text, priority(r.Level), fields)
	}
	_, err := fmt.Fprintf(h.stream, "<%d>%s\n", priority(r.Level), strings.ReplaceAll(text, "\n", "; "))
	return err
}

// WithAttrs returns a handler that adds the attributes to every record.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(h.attrs[:len(h.attrs):len(h.attrs)], attrs...)
	return &with
}

// WithGroup returns the handler itself: our attributes have no groups.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

func priority(l slog.Level) journal.Priority {
	switch {
	case l >= slog.LevelError:
		return journal.PriErr
	case l >= slog.LevelWarn:
		return journal.PriWarning
	case l >= slog.LevelInfo:
		return journal.PriInfo
	}
	return journal.PriDebug
}
