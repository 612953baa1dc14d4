package daemon

import (
	"context"
	"log/slog"
	"time"

	"github.com/tokend-project/tokend/daemon/keeper"
)

// The attributes of the daemon's own log lines. The server's have uid, user, pid, unit,
// rule and method beside these; there are no others.
const (
	attrCredential = "credential"
	attrProvider   = "provider"
	attrState      = "state"
	attrErr        = "err"
	attrDue        = "due"     // time of the next renewal
	attrRetry      = "retry"   // time of the next try after a failure
	attrOutcome    = "outcome" // login, refresh, or the class of an error
	attrPath       = "path"
)

// line is how an event appears in the log. The level says who must act: error is
// an operator, now.
type line struct {
	level slog.Level
	text  string
}

var lines = map[keeper.EventKind]line{
	keeper.EventRenewed:   {slog.LevelInfo, "token renewed"},
	keeper.EventFailed:    {slog.LevelWarn, "renewal failed"},
	keeper.EventRefused:   {slog.LevelError, "refused by the provider; nothing is tried until the secrets change or an operator says retry"},
	keeper.EventChallenge: {slog.LevelError, "a person must answer"},
	keeper.EventState:     {slog.LevelInfo, "state changed"},
	keeper.EventReported:  {slog.LevelInfo, "a reader says that the token was rejected"},
	keeper.EventDropped:   {slog.LevelWarn, "token dropped by an operator"},
	keeper.EventDiscarded: {slog.LevelInfo, "result of a renewal discarded, since it was for another identity or a dropped token"},
	keeper.EventUnsaved:   {slog.LevelError, "the store does not hold the newest state; writing it is tried again"},
	keeper.EventSaved:     {slog.LevelInfo, "the store holds the newest state again"},
	keeper.EventSkew:      {slog.LevelWarn, "the clocks of this host and of the provider differ by over 30s: check NTP"},
	keeper.EventUnread:    {slog.LevelWarn, "secrets could not be read"},
	keeper.EventRead:      {slog.LevelInfo, "secrets could be read"},
}

// write writes the event's line.
func write(log *slog.Logger, e keeper.Event) {
	l := lines[e.Kind]
	attrs := []slog.Attr{slog.String(attrCredential, e.Credential)}
	add := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	add(attrProvider, e.Provider)
	add(attrState, string(e.State))
	add(attrOutcome, e.Outcome)
	if e.Err != nil {
		add(attrErr, e.Err.Error())
	}
	if !e.Due.IsZero() {
		name := attrDue
		if e.Kind == keeper.EventFailed || e.Kind == keeper.EventUnread {
			name = attrRetry
		}
		add(name, e.Due.UTC().Format(time.RFC3339))
	}
	text := l.text
	if e.Kind == keeper.EventSkew {
		text += " (theirs minus ours: " + e.Skew.Round(time.Second).String() + ")"
	}
	log.LogAttrs(context.Background(), l.level, text, attrs...)
}
