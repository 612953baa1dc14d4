package store

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// Whatever bbolt writes must pass, or a sound store would be thrown away: two
// buckets that grow over inline, leaf and branch pages and shrink again, with
// values that need overflow pages, checked after every commit.
func TestCheckAcceptsWhatBoltWrites(t *testing.T) {
	for _, pageSize := range []int{1024, 4096, 16384} {
		t.Run(fmt.Sprint(pageSize), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "db")
			db, err := bolt.Open(path, 0o600, &bolt.Options{PageSize: pageSize, NoSync: true})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			rng := rand.New(rand.NewPCG(1, uint64(pageSize)))
			depth := 0
			for round := range 300 {
				err := db.Update(func(tx *bolt.Tx) error {
					depth = max(depth, churn(t, tx, rng, round))
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if err := checkFile(path); err != nil {
					t.Fatalf("round %d: %v", round, err)
				}
			}
			if depth < 2 {
				t.Errorf("the tree was %d deep, so that branches were not seen", depth)
			}
		})
	}
}

// churn writes and deletes at random, growing for 200 rounds and then shrinking.
func churn(t *testing.T, tx *bolt.Tx, rng *rand.Rand, round int) (depth int) {
	for _, name := range []string{"credentials", "meta"} {
		b, err := tx.CreateBucketIfNotExists([]byte(name))
		if err != nil {
			t.Fatal(err)
		}
		for range rng.IntN(20) {
			key := fmt.Appendf(nil, "%d-%s", rng.IntN(400), strings.Repeat("k", rng.IntN(40)))
			if round < 200 && rng.IntN(3) > 0 {
				err = b.Put(key, make([]byte, rng.IntN(100)*rng.IntN(100)))
			} else if k, _ := b.Cursor().Seek(key); k != nil {
				err = b.Delete(bytes.Clone(k))
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		depth = max(depth, b.Stats().Depth)
	}
	return depth
}

func checkFile(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	return checkPages(f, info.Size())
}

// file is a bbolt file in memory that can be damaged with a purpose.
type file []byte

const testPage = 4096

func (f file) page(id uint64) file { return f[id*testPage : (id+1)*testPage] }

// latest is the header in use.
func (f file) latest() (slot uint64, m meta) {
	m, err := readMeta(bytes.NewReader(f), int64(len(f)))
	if err != nil {
		panic(err)
	}
	return m.txid % 2, m
}

// resign changes a field of the header in use and makes its checksum right again;
// the other header is destroyed.
func (f file) resign(offset int, value uint64, size int) {
	slot, _ := f.latest()
	clear(f.page(1 - slot))
	b := f.page(slot)[pageHeader:]
	if size == 4 {
		boltOrder.PutUint32(b[offset:], uint32(value))
	} else {
		boltOrder.PutUint64(b[offset:], value)
	}
	sum := fnv.New64a()
	sum.Write(b[:metaSum])
	boltOrder.PutUint64(b[metaSum:], sum.Sum64())
}

// entry is the n-th element of a page.
func (f file) entry(id uint64, n int) file { return f.page(id)[pageHeader+n*elementSize:] }

func (f file) root() uint64 { _, m := f.latest(); return m.root }

// elements point into the file: what is changed in them is changed there.
func (f file) elements(id uint64) []element {
	page := f.page(id)
	elements, err := parseElements(page, boltOrder.Uint16(page[8:]) == leafPage)
	if err != nil {
		panic(err)
	}
	return elements
}

// branch is the branch page in use: the one that the credentials bucket names.
func (f file) branch() uint64 { return boltOrder.Uint64(f.elements(f.root())[0].value) }

// firstLeaf is the first page below the branch.
func (f file) firstLeaf() uint64 { return f.elements(f.branch())[0].page }

// freeInUse puts the first leaf on the free list, in its place.
func (f file) freeInUse() {
	l, used := f.freePage(), f.firstLeaf()
	ids := l[pageHeader : pageHeader+8*int(boltOrder.Uint16(l[10:]))]
	for i := 0; i < len(ids); i += 8 {
		if last := i+8 == len(ids); last || boltOrder.Uint64(ids[i+8:]) > used {
			boltOrder.PutUint64(ids[i:], used)
			return
		}
	}
}

// purposeful are the damages that hide best: each is a file whose checksums are
// right. Several would kill the process or hang it if bbolt saw them.
func purposeful() map[string]func(f file) {
	return map[string]func(f file){
		"root out of range":         func(f file) { f.resign(16, 1<<40, 8) },
		"root is a header":          func(f file) { f.resign(16, 1, 8) },
		"root is the free list":     func(f file) { _, m := f.latest(); f.resign(16, m.freelist, 8) },
		"no free list":              func(f file) { f.resign(32, ^uint64(0), 8) },
		"free list out of range":    func(f file) { f.resign(32, 1<<50, 8) },
		"free list is the root":     func(f file) { _, m := f.latest(); f.resign(32, m.root, 8) },
		"limit beyond the file":     func(f file) { f.resign(40, 1<<60, 8) },
		"limit too low":             func(f file) { f.resign(40, 3, 8) },
		"page size 0":               func(f file) { f.resign(8, 0, 4) },
		"page size 4 GiB":           func(f file) { f.resign(8, 1<<32-1, 4) },
		"page size 512 MiB":         func(f file) { f.resign(8, 1<<29, 4) },
		"page size 1024":            func(f file) { f.resign(8, 1024, 4) },
		"header's page number":      func(f file) { slot, _ := f.latest(); boltOrder.PutUint64(f.page(slot), 7) },
		"header's kind":             func(f file) { slot, _ := f.latest(); boltOrder.PutUint16(f.page(slot)[8:], leafPage) },
		"header in the wrong place": func(f file) { slot, _ := f.latest(); copy(f.page(1-slot), f.page(slot)) },
		"free list of 2^40":         func(f file) { f.freeCount(1 << 40) },
		"free list of 2^63":         func(f file) { f.freeCount(1 << 63) },
		"free list of 100000":       func(f file) { f.freeCount(100000) },
		"free page in use":          func(f file) { f.freeInUse() },
		"free page is a header":     func(f file) { boltOrder.PutUint64(f.freeList()[8:], 0) },
		"free page twice":           func(f file) { l := f.freeList(); copy(l[16:24], l[8:16]) },
		"free page out of range": func(f file) {
			l := f.freeList()
			n := boltOrder.Uint16(f.freePage()[10:])
			boltOrder.PutUint64(l[8*n:], 1<<50)
		},
		"branch is its own child": func(f file) { id := f.branch(); boltOrder.PutUint64(f.entry(id, 0)[8:], id) },
		"child is the root":       func(f file) { _, m := f.latest(); boltOrder.PutUint64(f.entry(f.branch(), 0)[8:], m.root) },
		"two entries, one child":  func(f file) { id := f.branch(); copy(f.entry(id, 1)[8:16], f.entry(id, 0)[8:16]) },
		"two buckets, one tree":   func(f file) { boltOrder.PutUint64(f.elements(f.root())[1].value, f.branch()) },
		"key out of order":        func(f file) { f.elements(f.firstLeaf())[1].key[0] = 'a' },
		"key of a later page":     func(f file) { f.elements(f.firstLeaf())[1].key[0] = 'z' },
		"children in wrong order": func(f file) { f.swapChildren(f.branch()) },
		"child out of range":      func(f file) { boltOrder.PutUint64(f.entry(f.branch(), 1)[8:], 1<<55) },
		"branch of 65535":         func(f file) { boltOrder.PutUint16(f.page(f.branch())[10:], 0xFFFF) },
		"branch of none":          func(f file) { boltOrder.PutUint16(f.page(f.branch())[10:], 0) },
		"endless overflow":        func(f file) { boltOrder.PutUint32(f.page(f.branch())[12:], 0xFFFFFFFF) },
		"overflow over others":    func(f file) { boltOrder.PutUint32(f.page(f.branch())[12:], 5) },
		"kind unknown":            func(f file) { boltOrder.PutUint16(f.page(f.branch())[8:], 0x40) },
		"two kinds":               func(f file) { boltOrder.PutUint16(f.page(f.branch())[8:], 3) },
		"branch as leaf":          func(f file) { boltOrder.PutUint16(f.page(f.branch())[8:], leafPage) },
		"first key not its own":   func(f file) { f.page(f.branch())[pageHeader+24*elementSize] ^= 1 },
		"key outside its page":    func(f file) { boltOrder.PutUint32(f.leaf()[4:], 0x7FFFFFFF) },
		"key over the entries":    func(f file) { boltOrder.PutUint32(f.leaf()[4:], 0) },
		"key of 4 GiB":            func(f file) { boltOrder.PutUint32(f.leaf()[8:], 0xFFFFFFFF) },
		"key of nothing":          func(f file) { boltOrder.PutUint32(f.leaf()[8:], 0) },
		"value of 4 GiB":          func(f file) { boltOrder.PutUint32(f.leaf()[12:], 0xFFFFFFFF) },
		"record as bucket":        func(f file) { boltOrder.PutUint32(f.leaf(), bucketLeaf) },
		"unknown flag":            func(f file) { boltOrder.PutUint32(f.leaf(), 2) },
	}
}

func (f file) freePage() file { _, m := f.latest(); return f.page(m.freelist) }

// freeList begins one entry early, where the count of a long list stands.
func (f file) freeList() file { return f.freePage()[pageHeader-8:] }

func (f file) freeCount(n uint64) {
	boltOrder.PutUint16(f.freePage()[10:], 0xFFFF)
	boltOrder.PutUint64(f.freePage()[pageHeader:], n)
}

// leaf is the first entry of the first leaf.
func (f file) leaf() file { return f.entry(f.firstLeaf(), 0) }

func (f file) swapChildren(branch uint64) {
	a, b := f.entry(branch, 0)[8:16], f.entry(branch, 1)[8:16]
	id := boltOrder.Uint64(a)
	copy(a, b)
	boltOrder.PutUint64(b, id)
}

func TestCheckRefusesDamage(t *testing.T) {
	sound := newRelic(t).file
	if err := checkPages(bytes.NewReader(sound), int64(len(sound))); err != nil {
		t.Fatalf("a sound file: %v", err)
	}
	for name, spoil := range purposeful() {
		f := file(bytes.Clone(sound))
		spoil(f)
		if bytes.Equal(f, sound) {
			t.Errorf("%s: nothing was damaged", name)
		}
		if err := checkPages(bytes.NewReader(f), int64(len(f))); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A disk that does not give a page back is damage, too.
func TestCheckReportsReadErrors(t *testing.T) {
	sound := newRelic(t).file
	_, m := sound.latest()
	for id := range m.limit {
		r := badSector{bytes.NewReader(sound), int64(id * testPage)}
		err := checkPages(r, int64(len(sound)))
		// What nothing refers to is not read.
		if err != nil && id > 1 && !errors.Is(err, errSector) {
			t.Errorf("page %d: %v", id, err)
		}
		if err == nil && (id == m.root || id == m.freelist || id == sound.branch()) {
			t.Errorf("page %d cannot be read, and nothing was said", id)
		}
	}
}

var errSector = errors.New("bad sector")

type badSector struct {
	*bytes.Reader
	at int64
}

func (r badSector) ReadAt(b []byte, off int64) (int, error) {
	if off <= r.at && r.at < off+int64(len(b)) {
		return 0, errSector
	}
	return r.Reader.ReadAt(b, off)
}
