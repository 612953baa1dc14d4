// Package server answers local programs over the unix socket: who is calling, what
// the rules grant, what the keeper has. It decides nothing about tokens and holds
// no state but its connections.
//
// A request goes this way. The door (door.go) asks the kernel who connected, once
// per connection, and keeps any one uid from taking all connections. The path is
// checked as it came, byte by byte, before anything interprets it (routes.go):
// nothing is cleaned, unescaped or redirected, so that one credential has one
// address. Then come parameters and body (call.go), the decision and the answer
// (calls.go, answer.go). The caller's systemd unit is looked up in between, if the
// decision depends on it; nothing else of a caller is asked for later.
//
// # Limits
//
// A caller may stall, vanish or flood; it harms nobody but itself.
//
//   - 4 KiB of request line and headers; net/http reads up to 8 KiB.
//   - 64 KiB of body, for calls that take one.
//   - 10 s for a whole request from its first byte, and for a new connection's first
//     byte; 2 min of silence between two requests. Waiting for a token is not limited
//     by these.
//   - 30 s for each write, those of a watch included.
//   - 4,096 connections of one uid, 16,384 in all, less with a low limit on open
//     files; 64 of them are kept for root and the uid that runs tokend. Over its
//     limit, a uid's longest idle connection is closed; if none is idle, the new one
//     is answered with 503 and Retry-After: 1.
//
// # The end
//
// When Run's context ends, no connection is accepted any more, watches end, and so do
// connections that are between two requests. Calls in flight have the grace. What was
// accepted and has not asked yet, or not all of it, has a second: a caller that
// connected just before a restart is answered all the same, and nobody can hold one up
// with half a request.
//
// # Decisions about HTTP
//
// What net/http cannot read never becomes a call. Its own plain answer to that is
// made a problem on its way out (conn.go), so that clients have one kind of error to
// read; a head that does not come whole in time may get none.
//
// A caller who closes its sending side alone, as socat and nc do at the end of their
// input, is waited with. net/http would take it for gone, so the connection tells the
// two apart (conn.go).
//
// A chunked request is the last on its connection: it may have had a length too,
// which net/http drops without a word, and the sender may go by that.
//
// HEAD is no call and answered like any other wrong method: with 400. A GET takes
// no body. `Accept: text/plain` answers with the bare token when it is preferred to
// JSON; errors are always problems in JSON. Answers of the socket are never stored
// by a cache (no-store), but a client may keep a token and ask with If-None-Match
// whether there is another.
//
// # Watches
//
// A watch is one goroutine. The keeper wakes it with the names of credentials that
// changed, a set and not a queue; for each of them it looks at how things stand by
// now, asks the rules again, and writes a line if that is news to its caller, of which
// it keeps a hash. So a slow caller holds up nobody, costs no memory, and finds the
// newest status of each name when it reads on; and the renewal of one of 10,000
// credentials costs each of 100 watches one look at that one. Only a reload, which may
// change everybody's rights, has them look at everything.
//
// A name asked for that is not there, or not for this caller, is said to be removed,
// and appears when it comes. If that is so of all names asked for at the beginning,
// it is more likely a mistake, and the call is refused with the problem of the first.
package server
