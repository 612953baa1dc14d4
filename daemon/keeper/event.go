package keeper

import (
	"time"

	"github.com/tokend-project/tokend/daemon/api"
)

// EventKind says what happened.
type EventKind string

// What can happen. Each is one line in the log.
const (
	EventRenewed   EventKind = "renewed"   // a new token is there
	EventFailed    EventKind = "failed"    // a renewal failed; it is tried again at Due
	EventRefused   EventKind = "refused"   // and this one is not
	EventChallenge EventKind = "challenge" // a person must answer
	EventState     EventKind = "state"     // the state changed by the clock or a command alone
	EventReported  EventKind = "reported"  // a reader says that the API rejected the token
	EventDropped   EventKind = "dropped"   // an operator dropped the token
	EventDiscarded EventKind = "discarded" // the result of a renewal that no longer counts (I4)
	EventUnsaved   EventKind = "unsaved"   // the store does not hold the newest state
	EventSaved     EventKind = "saved"     // and now it does again
	EventSkew      EventKind = "skew"      // the clocks of this host and the provider differ by over 30 s
	EventUnread    EventKind = "unread"    // the secrets could not be read from their sources, which is tried again at Due
	EventRead      EventKind = "read"      // and now they could
)

// Event is one thing that happened to one credential. It holds no secret.
type Event struct {
	Kind       EventKind
	Credential string
	Provider   string
	State      api.State // after it
	Outcome    string    // of a renewal: "login", "refresh" or the class of its error
	Err        error
	Due        time.Time // next renewal, next try, or next reading
	Skew       time.Duration
}
