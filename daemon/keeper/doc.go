// Package keeper is the heart of tokend: it keeps one token per credential fresh,
// decides whether a request with secrets may be sent at all, and shows readers what
// there is.
//
// # Shape
//
// One goroutine, Run, owns every credential's state. It takes a closure, a timer or
// the end of its context, and then starts whatever is due. A renewal runs in a
// goroutine of its own (a flight) and reports back as a closure; so do the readings of
// secrets, the store's writer and the commands of operators. Nothing in the loop
// waits: not for the network, not for the disk.
//
// Readers do not ask the loop. A map that only a reload replaces holds a Cell for
// each credential, and each Cell an atomic pointer to its view: the answer, encoded
// already, with its expiry, its state and a channel that is closed when the next
// view is there. Who has to wait selects on that channel. (Cloning a map of 100,000
// for each renewal costs 4.4 ms; replacing a view 0.3 µs.)
//
//	Apply ─► entry ─► launch ─► attempt durable ─► provider ─► land
//	             ▲                                               │
//	             └── view ◄── arrive ◄── token durable ◄── bring ┘
//
// # Secrets that are to come
//
// The secrets of some credentials are not there when Apply brings them
// (Credential.Unread). They are read at once, also for a lazy credential, so that
// whoever wrote the table sees what is wrong with it. A reading sends nothing: it has
// no place at a host, costs no login and leaves no attempt behind; it goes on beside a
// renewal, and its failures and back-off (that of transient ones) are its own. What it
// brings takes the credential's place as if a reload had brought it.
//
// Until then the credential may have older secrets, which work on. A login waits for a
// reading that is under way, but no more than 30 s; when that fails, it is made with
// the old ones. Without any, nothing can be sent: state pending, or stale as long as a
// token serves that is known to be the credential's own. Where a secret decides about
// the identity, nobody knows that before: a stored token waits for it, neither served
// nor forgotten. A reload ends a reading when it brings another table or the secrets,
// and one that a reading has overtaken does not bring the older secrets back.
//
// A refusal has the secrets read once more before it is final, and is in the store
// before that. If they cannot be read then, they are asked again by and by, and the
// refusal stands until they are others; Retry asks them first. A stop waits for no
// reading.
//
// # Clocks
//
// A token is usable only while the wall clock and the monotonic clock both say so.
// The wall clock sees the machine suspended, the monotonic one sees the wall clock
// stepped back; with the wall clock alone, a step back of an hour keeps a dead token
// alive. All comparisons go through until, waits are cut into pieces of at most
// 30 s, and when the clocks part by more than 2 s every entry is looked at again.
//
// # Outcomes
//
//	refused, misconfigured   never tried again by itself     refused
//	  by a refresh           as refresh refused              as before
//	throttled                Retry-After, else 60 s          stale, or pending
//	transient                Retry-After, else 1 s doubling  stale, or pending
//	                         to 60 s (5 min without a
//	                         token), full jitter
//	blocked                  5 min doubling to 1 h           stale, or pending
//	malformed                60 s, after three 5 min         stale, or pending
//	refresh refused, absent  a login, at once                as before
//	a challenge              never by itself                 challenge
//	  by an answer           wrong: the question stays       challenge
//	ticket gone              never by itself                 challenge
//
// An answer that may not have arrived leaves its question open and counts as no
// failure. What waits longer has a tenth of jitter on top.
//
// # Challenges
//
// Where logins may ask a person for a code (Credential.Asks), each login may send
// one, and codes that nobody asked for teach people to ignore them. So only the very
// first login of an identity is made by itself. From the first challenge on, and as
// long as no login came through without one, a login is an operator's to order
// (Retry, Renew, Drop), a minute after the last at the earliest; timers, readers,
// reloads and restarts only lead to the state challenge: when no token is usable, when
// a token's renewal is due, when the secrets changed. A first login of which nobody
// knows how it ended (no answer or one without sense, a crash, a reload that removed
// it) counts as one that asked. The record remembers that a person is needed and when the last code was
// asked for; the question itself and its ticket stay in memory, and end with their
// time, with the provider's word, with other secrets, or with tokend. An answer costs
// a login out of the budget but does not wait for it: tickets do not last.
//
// # Lazy credentials
//
// They are renewed by themselves only if somebody read since the token came. The
// stamp of a read is the reader's to set; the first since the token came has the
// owner plan the renewal.
//
// # Invariants
//
//   - I1: only the owner goroutine changes a credential's state.
//   - I2: at most one renewal per credential is in flight, from its first byte to the
//     publication of its result; and at most one reading of its secrets.
//   - I3: a token is durable before any caller sees it, unless the write fails or takes
//     over 2 s; then it is served all the same, the write is tried again, and status
//     and events say so: a full disk is not an outage.
//   - I4: the result of a renewal is dropped when its credential was removed or its
//     identity changed meanwhile. After a change of secrets alone it is kept (a rotated
//     refresh token would be lost) and a login follows.
//   - I5: a stored token is used after a restart or reload only for the same identity.
//   - I6: a bad credentials file changes nothing: what does not load is never applied.
//   - I7: stopping lets renewals in flight finish for a grace period; readings end at
//     once.
//   - I8: what was refused is never sent again by itself, not after a restart either, and
//     not under another name; once more only if the store or its key was lost.
//   - I9: a usable token is served until its expiry, whatever else fails; removal, a new
//     identity, Drop and the clocks end it.
//
// # The governor
//
// Its memory is the record in the store, so that a restart, a crash loop or a reload
// replays nothing. Before each renewal the record durably gets an attempt; found
// after a crash, it counts as a failure for back-off, its login has been taken out of
// the budget already, and a refresh token that was on its way to a server that
// rotates them is spent; so it is after a failure that may have come too late, such
// as no answer or one that makes no sense. Refusals are remembered by a keyed hash of
// identity and secrets (and of the other settings, where the request itself was at
// fault); every record whose credential met with one has it, and with the last of
// these records it is forgotten. Logins have a budget per account, renewals places
// per host and in all, and a start with many due credentials is spread. Once secrets
// changed, or refreshTries refreshes failed in a row, a login is due until one is
// through, whatever could be refreshed.
//
// A removed credential's record loses its token at once and goes after a day, counted
// on over restarts. Both are tried again until the store has done them.
package keeper
