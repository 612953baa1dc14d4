package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
)

// The layout of a bbolt file, version 2, in the byte order of the machine:
// go.etcd.io/bbolt/internal/common, page.go, meta.go and bucket.go.
const (
	boltMagic   = 0xED0CDAED
	boltVersion = 2

	pageHeader  = 16 // id 8, flags 2, count 2, overflow 4
	elementSize = 16 // branch: pos 4, ksize 4, page 8; leaf: flags 4, pos 4, ksize 4, vsize 4
	metaSize    = 64 // magic, version, page size, flags (4 each), root, sequence, freelist, limit, txid, checksum
	metaSum     = 56 // offset of the checksum
	bucketSize  = 16 // root 8, sequence 8

	branchPage   = 0x01
	leafPage     = 0x02
	metaPage     = 0x04
	freelistPage = 0x10
	bucketLeaf   = 0x01 // flag of a leaf element that is a bucket

	minPage  = 1 << 10
	maxPage  = 1 << 20
	maxDepth = 32       // a tree of 4 KiB pages is 5 deep at a million records
	maxRun   = 64 << 20 // bytes of one page and its overflow
)

// bolt stores integers as the machine does.
var boltOrder = binary.NativeEndian

// checkPages follows every page that bbolt could touch in a file of this size and
// returns an error unless all of them are sound: in range, used once, of the right
// kind, with keys in order and a free list of pages that nothing uses. It reads
// pages one at a time and allocates no more than maxRun for any of them.
func checkPages(r io.ReaderAt, size int64) error {
	m, err := readMeta(r, size)
	if err != nil {
		return err
	}
	if m.limit < 4 || m.limit > uint64(size)/m.pageSize {
		return fmt.Errorf("header claims %d pages of %d bytes in a file of %d bytes", m.limit, m.pageSize, size)
	}
	c := &pageCheck{r: r, meta: m, seen: map[uint64]bool{0: true, 1: true}}
	if err := c.tree(m.root, nil, nil, 0); err != nil {
		return err
	}
	return c.freelist(m.freelist)
}

// meta is a header page.
type meta struct {
	pageSize, root, freelist, limit, txid uint64

	id   uint64 // what the page says of itself
	kind uint16
}

// readMeta finds the header that bbolt would use: the later one of those that have
// their checksum. The second one is where the page size says, and without the first
// the page size has to be guessed. A header that bbolt would take and that is wrong
// otherwise is an error, not a reason to look at the other one: bbolt would not.
func readMeta(r io.ReaderAt, size int64) (meta, error) {
	first, err0 := metaAt(r, 0)
	if err0 != nil {
		for at := int64(minPage); at <= maxPage && at < size; at *= 2 {
			if second, err := metaAt(r, at); err == nil {
				return second, second.sound(1, uint64(at))
			}
		}
		return meta{}, fmt.Errorf("no whole header page: %w", err0)
	}
	if err := first.sound(0, first.pageSize); err != nil {
		return meta{}, err
	}
	second, err1 := metaAt(r, int64(first.pageSize))
	if err1 != nil {
		return first, nil
	}
	if err := second.sound(1, first.pageSize); err != nil {
		return meta{}, err
	}
	if second.txid > first.txid {
		return second, nil
	}
	return first, nil
}

// metaAt reads a header at an offset; an error is what makes bbolt pass it over.
func metaAt(r io.ReaderAt, at int64) (meta, error) {
	buf := make([]byte, pageHeader+metaSize)
	if _, err := r.ReadAt(buf, at); err != nil {
		return meta{}, fmt.Errorf("reading the header at %d: %w", at, err)
	}
	b := buf[pageHeader:]
	sum := fnv.New64a()
	sum.Write(b[:metaSum])
	switch {
	case boltOrder.Uint32(b) != boltMagic || boltOrder.Uint32(b[4:]) != boltVersion:
		return meta{}, errors.New("not a bbolt file")
	case boltOrder.Uint64(b[metaSum:]) != sum.Sum64():
		return meta{}, errors.New("wrong checksum")
	}
	return meta{
		pageSize: uint64(boltOrder.Uint32(b[8:])),
		root:     boltOrder.Uint64(b[16:]),
		freelist: boltOrder.Uint64(b[32:]),
		limit:    boltOrder.Uint64(b[40:]),
		txid:     boltOrder.Uint64(b[48:]),
		id:       boltOrder.Uint64(buf),
		kind:     boltOrder.Uint16(buf[8:]),
	}, nil
}

// sound checks what the checksum does not cover, and that the header is where its
// page size and number say.
func (m meta) sound(slot, pageSize uint64) error {
	if m.id != slot || m.kind != metaPage || m.txid%2 != slot {
		return fmt.Errorf("header %d says it is page %d of kind %#x and transaction %d", slot, m.id, m.kind, m.txid)
	}
	if m.pageSize != pageSize || m.pageSize < minPage || m.pageSize > maxPage || m.pageSize&(m.pageSize-1) != 0 {
		return fmt.Errorf("header %d has page size %d", slot, m.pageSize)
	}
	return nil
}

// pageCheck is one walk over a file.
type pageCheck struct {
	r    io.ReaderAt
	meta meta
	seen map[uint64]bool // page id → in use
}

// page reads a page with its overflow and marks all of it as used.
func (c *pageCheck) page(id uint64) (flags uint16, buf []byte, err error) {
	if id < 2 || id >= c.meta.limit {
		return 0, nil, fmt.Errorf("page %d is not within 2 to %d", id, c.meta.limit-1)
	}
	head := make([]byte, pageHeader)
	at := int64(id * c.meta.pageSize)
	if _, err := c.r.ReadAt(head, at); err != nil {
		return 0, nil, fmt.Errorf("reading page %d: %w", id, err)
	}
	if self := boltOrder.Uint64(head); self != id {
		return 0, nil, fmt.Errorf("page %d says it is page %d", id, self)
	}
	run := uint64(boltOrder.Uint32(head[12:])) + 1
	if run > c.meta.limit-id || run > maxRun/c.meta.pageSize {
		return 0, nil, fmt.Errorf("page %d claims to be %d pages long", id, run)
	}
	for i := id; i < id+run; i++ {
		if c.seen[i] {
			return 0, nil, fmt.Errorf("page %d is used twice", i)
		}
		c.seen[i] = true
	}
	buf = make([]byte, run*c.meta.pageSize)
	if _, err := c.r.ReadAt(buf, at); err != nil {
		return 0, nil, fmt.Errorf("reading page %d: %w", id, err)
	}
	return boltOrder.Uint16(head[8:]), buf, nil
}

// tree checks the pages below id, whose keys must begin with first and stay below
// end; nil is no bound. bbolt finds a page's entry in its parent by the page's first
// key: were they different, a write would add a second entry for the same page.
func (c *pageCheck) tree(id uint64, first, end []byte, depth int) error {
	if depth > maxDepth {
		return fmt.Errorf("page %d is more than %d pages deep", id, maxDepth)
	}
	flags, buf, err := c.page(id)
	if err != nil {
		return err
	}
	if flags != branchPage && flags != leafPage {
		return fmt.Errorf("page %d is of kind %#x in the tree", id, flags)
	}
	elements, err := parseElements(buf, flags == leafPage)
	if err == nil {
		err = inOrder(elements, first, end)
	}
	if err == nil && len(elements) == 0 && (flags == branchPage || first != nil) {
		err = errors.New("nothing in it")
	}
	if err != nil {
		return fmt.Errorf("page %d: %w", id, err)
	}
	for i, e := range elements {
		next := end
		if i+1 < len(elements) {
			next = elements[i+1].key
		}
		switch {
		case flags == branchPage:
			err = c.tree(e.page, e.key, next, depth+1)
		case e.bucket:
			err = c.bucket(e.value, depth+1)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// bucket checks the value of a bucket: a reference to its own tree, or a leaf page
// within the value.
func (c *pageCheck) bucket(value []byte, depth int) error {
	if len(value) < bucketSize {
		return fmt.Errorf("bucket of %d bytes", len(value))
	}
	if root := boltOrder.Uint64(value); root != 0 {
		return c.tree(root, nil, nil, depth)
	}
	inline := value[bucketSize:]
	if len(inline) < pageHeader || boltOrder.Uint16(inline[8:]) != leafPage {
		return errors.New("bucket without a page")
	}
	elements, err := parseElements(inline, true)
	if err != nil {
		return fmt.Errorf("bucket: %w", err)
	}
	for _, e := range elements {
		if e.bucket {
			return errors.New("bucket within an inline bucket")
		}
	}
	return inOrder(elements, nil, nil)
}

// freelist checks the list of free pages: ascending, in range, none in use.
func (c *pageCheck) freelist(id uint64) error {
	flags, buf, err := c.page(id)
	if err != nil {
		return fmt.Errorf("free list: %w", err)
	}
	if flags != freelistPage {
		return fmt.Errorf("free list: page %d is of kind %#x", id, flags)
	}
	ids := buf[pageHeader:]
	count := uint64(boltOrder.Uint16(buf[10:]))
	if count == 0xFFFF { // then the first entry is the count
		count, ids = boltOrder.Uint64(ids), ids[8:]
	}
	if count > uint64(len(ids)/8) {
		return fmt.Errorf("free list: %d entries in %d bytes", count, len(ids))
	}
	last := uint64(1)
	for i := range count {
		free := boltOrder.Uint64(ids[8*i:])
		if free <= last || free >= c.meta.limit || c.seen[free] {
			return fmt.Errorf("free list: page %d is no free page", free)
		}
		last = free
	}
	return nil
}

// element is an entry of a branch or leaf page.
type element struct {
	key, value []byte
	page       uint64 // of a branch
	bucket     bool   // the value is a bucket
}

// parseElements reads a page's entries; positions count from the entry itself.
func parseElements(buf []byte, leaf bool) ([]element, error) {
	count := int(boltOrder.Uint16(buf[10:]))
	start := uint64(pageHeader + count*elementSize)
	if start > uint64(len(buf)) {
		return nil, fmt.Errorf("%d entries in %d bytes", count, len(buf))
	}
	elements := make([]element, count)
	for i := range elements {
		at := pageHeader + i*elementSize
		b := buf[at : at+elementSize]
		e, fields, vsize := &elements[i], b, uint64(0)
		if leaf {
			flags := boltOrder.Uint32(b)
			if flags&^bucketLeaf != 0 {
				return nil, fmt.Errorf("entry %d has flags %#x", i, flags)
			}
			e.bucket = flags == bucketLeaf
			fields, vsize = b[4:], uint64(boltOrder.Uint32(b[12:]))
		} else {
			e.page = boltOrder.Uint64(b[8:])
		}
		key := uint64(at) + uint64(boltOrder.Uint32(fields))
		value := key + uint64(boltOrder.Uint32(fields[4:]))
		if key < start || value == key || value+vsize > uint64(len(buf)) {
			return nil, fmt.Errorf("entry %d lies outside its page", i)
		}
		e.key, e.value = buf[key:value], buf[value:value+vsize]
	}
	return elements, nil
}

// inOrder checks that keys ascend, from first on and below end.
func inOrder(elements []element, first, end []byte) error {
	for i, e := range elements {
		switch {
		case i == 0 && first != nil && !bytes.Equal(e.key, first):
			return errors.New("its first key is not the one its parent has")
		case i > 0 && bytes.Compare(e.key, elements[i-1].key) <= 0:
			return fmt.Errorf("key of entry %d is out of order", i)
		case end != nil && bytes.Compare(e.key, end) >= 0:
			return fmt.Errorf("key of entry %d belongs to a later page", i)
		}
	}
	return nil
}
