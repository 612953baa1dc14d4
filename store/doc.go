// Package store keeps a record per credential on disk, sealed, in one bbolt file.
//
// # On disk
//
// A directory (0700 when the store makes it) with at most these files, all 0600:
//
//	tokens.db                  the store, locked with flock(2) while it is open
//	tokens.db.new              its successor while one is being built
//	tokens.db.corrupt-TIME     a store that was damaged, moved aside
//	tokens.db.sealed-TIME      a store whose own key was lost, moved aside
//	store.key                  32 random bytes, unless a key is given
//	store.key.NUMBER           a store.key being made
//	store.key.damaged-TIME     a store.key that was no key
//
// The file has two buckets:
//
//	meta
//	  header  SHA-256(JSON) || JSON {schema, version, key_source, key_name, key_id, salt}
//	  hash    seal(32 random bytes): what keyed hashes are derived from
//	credentials
//	  NAME    seal(JSON of the Record)
//
//	seal(x) = nonce (12) || AES-256-GCM(key, nonce, x, aad) || tag (16)
//	key     = HKDF-SHA-256(store's key, salt, purpose and name)
//	aad     = purpose, name and schema version
//	key_id  = HKDF-SHA-256(store's key, salt, "key id"), 16 bytes in hex
//
// The header is readable without the key and its form never changes, so that any
// tokend can say which version wrote a file and which key it wants. Its checksum
// tells a damaged header from another key: the first is moved aside, the second
// may refuse the start.
//
// A name and the schema version are bound to each record, so a record that was
// moved to another name is not read. A record that does not open is a miss: it is
// logged and deleted. The salt is the store's own: records of two stores that share
// a given key cannot be exchanged.
//
// # Keys
//
// A given key (a file that somebody named, or a systemd credential) is never made
// and never guessed: a store that was sealed with one does not open without it, and
// the file stays untouched. Without a given key the store makes store.key. When that
// is lost the records are lost too; the file is moved aside and the store starts
// empty. When a key is given to a store that was sealed with store.key, a new file
// is sealed with the given key and renamed over the old one: a crash leaves either.
// The hash root moves along, so that hashes in the records stay valid: otherwise
// every token would be dropped and every refusal forgotten because a key moved.
// store.key stays where it is, since backups may need it; the log says so.
//
// # One writer
//
// Put and Delete queue and return. Run, the only goroutine that writes, commits all
// that is queued in one transaction and then calls the done functions. If the
// goroutine that renewed a token wrote it itself, a record that was removed
// meanwhile could come back; if the owner of the credentials wrote, a slow fsync
// would stall all of them. bbolt's Batch is no help: it makes a lone writer wait for
// company, 10.9 ms against 0.15 ms.
//
// # Damage
//
// bbolt maps its file and trusts it. Of 440 damaged files its Open refused none;
// later accesses panicked in 84 and died of SIGBUS or SIGSEGV in 21. Hence two nets:
//
// First, before bbolt sees a file, checkPages reads it with plain reads and follows
// every page as bbolt would. This is for what no recover can catch: a page that is
// its own ancestor (the stack or a slice grows until the process dies), a free list
// that claims 2^40 entries (the allocation is fatal), and a header without a free
// list (bbolt then scans the file in a goroutine of its own, where a fault cannot be
// recovered).
//
// Second, whatever touches bbolt runs under debug.SetPanicOnFault and recover: a bad
// sector or a file that shrinks while it is mapped is a SIGBUS at any time.
//
// A file that is found damaged when opening is moved aside and the store starts
// empty. Damage that is found while writing, the trial write of Open included, costs
// nothing: the sealed records are in memory, and a new file is built from them. The
// same happens when fdatasync failed, because the kernel then forgets which pages
// never reached the disk, and when somebody deleted the file. A full disk is none of
// this: the error goes to the done function, and the file stays as it was.
//
// New files are built beside the old one, synced, locked and then renamed over it,
// so that the path always names a whole store. Who gets the lock on the old inode
// finds that the path names another one now, and starts over.
package store
