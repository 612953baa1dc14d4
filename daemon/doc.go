// Package daemon joins tokend's parts: it opens the store, reads the credentials
// file, listens, reports to systemd, reloads and stops.
//
// # The data path
//
//	credentials file ─► config ─► keeper ─► providers ─► keeper ─► store
//	                                           │
//	              client ◄─ server ◄─ view ◄───┘
//
// Package config turns the file and the sources of its secrets into credentials, or
// into a list of problems. Package keeper owns their state: it decides when to log
// in, and whether at all. Package providers speaks to the login endpoints. Package
// store keeps a sealed record per credential. Package server answers the socket from
// the keeper's views, after package access has decided whether this caller may have
// the answer. Package api is what crosses the socket.
//
// There are no cycles: a reload reaches the server as a func, re-reading a secret
// reaches the keeper as a func, and what happened leaves the keeper through one
// func(keeper.Event) that log and status line share.
//
// # Order
//
// A start reads the credentials file, locks the store, opens its key, then makes the
// socket; a stale socket is therefore removed only by the daemon that holds the
// store. A stop ends the keeper and the server together, so that a caller whose
// renewal is in flight still gets its token, then the store, which by then has
// everything queued.
//
// # Reload
//
// SIGHUP, the watch and the socket's reload call meet in one func under one lock. A
// file that does not load changes nothing, and log, caller, status line, health and
// metrics say so. A start with a bad file is an error, but for a socket that was
// inherited: systemd would give that up after a few failed starts. Then the daemon
// runs, answers with `invalid`, and goes on as soon as the file is mended.
//
// # systemd
//
// Ready is said once the store is open and the socket answers; nobody waits for a
// login. Every reload is told from begin to end, a failed one too: the status line
// says which it was. That line counts the states and names the newest problem there
// still is; it is one line below systemd's limit, since a message over that would be
// dropped with the READY=1 in it. Reading the file may take longer than systemd waits
// by itself, as may renewals that are under way at a stop: more time is asked for.
// After STOPPING=1 nothing takes it back. The watchdog is pinged only after the
// keeper's loop came round once more.
//
// A restart loses no call. systemd holds the socket, the old process answers what it
// accepted, what is asked on a new connection a moment later included (package server),
// and clients wait in the socket for the new one.
//
// The invariants that hold throughout are listed in package keeper.
package daemon
