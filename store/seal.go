package store

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"unicode/utf8"
)

// schema is the version of everything below the header. A store with a higher one
// is not opened.
const schema = 1

// What a derived key is for. Purposes keep apart what would otherwise be one key.
const (
	forRecord = "tokend record"
	forHash   = "tokend hash root"
	forHashes = "tokend keyed hashes"
	forKeyID  = "tokend key id"
)

const (
	keySize   = 32
	saltSize  = 16
	idSize    = 16
	maxRecord = 16 << 20 // bytes of a record's JSON; tokens come in answers of at most 1 MiB
)

// keys seals and opens under keys derived from the store's key.
type keys struct {
	master, salt []byte
}

// newKeys starts with a salt of its own.
func newKeys(master []byte) keys {
	return keys{master: master, salt: random(saltSize)}
}

// random returns n random bytes. crypto/rand never fails: it ends the process.
func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

// derive makes n bytes for a purpose and a name. The purpose ends with a zero byte,
// so that no purpose and name can read as another pair.
func (k keys) derive(purpose, name string, n int) []byte {
	b, err := hkdf.Key(sha256.New, k.master, k.salt, purpose+"\x00"+name, n)
	if err != nil {
		panic(fmt.Sprintf("deriving %d bytes: %v", n, err)) // only for n over 8160
	}
	return b
}

// id names the key without giving it away.
func (k keys) id() string { return hex.EncodeToString(k.derive(forKeyID, "", idSize)) }

// aead is AES-256-GCM under the key for a purpose and a name.
func (k keys) aead(purpose, name string) cipher.AEAD {
	block, err := aes.NewCipher(k.derive(purpose, name, keySize))
	if err != nil {
		panic(err) // only for another key size
	}
	gcm, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		panic(err) // only for another cipher
	}
	return gcm
}

// associated binds what is sealed to its purpose, its name and the schema.
func associated(purpose, name string) []byte {
	aad := append([]byte(purpose), 0)
	aad = binary.BigEndian.AppendUint32(aad, schema)
	return append(aad, name...)
}

func (k keys) seal(purpose, name string, plain []byte) []byte {
	return k.aead(purpose, name).Seal(nil, nil, plain, associated(purpose, name))
}

func (k keys) open(purpose, name string, sealed []byte) ([]byte, error) {
	plain, err := k.aead(purpose, name).Open(nil, nil, sealed, associated(purpose, name))
	if err != nil {
		return nil, errors.New("damaged, or sealed for another name or store")
	}
	return plain, nil
}

// encodeRecord is the JSON of a record. What JSON would change without a word is an
// error: a token that comes back different is worse than one that is not saved.
func encodeRecord(r Record) ([]byte, error) {
	if !utf8.ValidString(r.Token) || !utf8.ValidString(r.Refresh) {
		return nil, errors.New("encoding the record: a token is not UTF-8")
	}
	b, err := json.Marshal(r)
	switch {
	case err != nil:
		return nil, fmt.Errorf("encoding the record: %w", err)
	case len(b) > maxRecord:
		return nil, fmt.Errorf("encoding the record: %d bytes, more than %d", len(b), maxRecord)
	}
	return b, nil
}

// decodeRecord reads the JSON of a record. The error holds none of it.
func decodeRecord(b []byte) (Record, error) {
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return Record{}, errors.New("its content is not a record") // err may quote a value
	}
	return r, nil
}

// header says, to any version of tokend and without a key, what a file is.
type header struct {
	Schema    int    `json:"schema"`
	Version   string `json:"version"`    // of the tokend that opened it last
	KeySource string `json:"key_source"` // sourceOwn or sourceGiven
	KeyName   string `json:"key_name"`   // what to call the key in messages
	KeyID     string `json:"key_id"`
	Salt      []byte `json:"salt"`
}

const (
	sourceOwn   = "own"   // store.key, made by the store
	sourceGiven = "given" // a key that somebody named
)

func (h header) encode() []byte {
	b, err := json.Marshal(h)
	if err != nil {
		panic(err) // strings, an int and bytes always marshal
	}
	sum := sha256.Sum256(b)
	return append(sum[:], b...)
}

func decodeHeader(b []byte) (header, error) {
	if len(b) < sha256.Size {
		return header{}, fmt.Errorf("header of %d bytes", len(b))
	}
	body := b[sha256.Size:]
	if sum := sha256.Sum256(body); !bytes.Equal(sum[:], b[:sha256.Size]) {
		return header{}, errors.New("header with a wrong checksum")
	}
	var h header
	if err := json.Unmarshal(body, &h); err != nil {
		return header{}, fmt.Errorf("decoding the header: %w", err)
	}
	if h.Schema < 1 {
		return header{}, fmt.Errorf("header with schema %d", h.Schema)
	}
	return h, nil
}
