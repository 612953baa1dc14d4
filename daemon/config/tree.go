package config

import (
	"fmt"

	"github.com/pelletier/go-toml/v2/unstable"
)

// kind is the type of a value in the file.
type kind uint8

const (
	aString kind = iota + 1
	anInteger
	aFloat
	aBoolean
	aDate
	anArray
	aTable
	manyTables // [[name]]
)

var kindNames = [...]string{
	aString: "a string", anInteger: "an integer", aFloat: "a number", aBoolean: "a boolean",
	aDate: "a date or time", anArray: "an array", aTable: "a table", manyTables: "an array of tables",
}

// String names the kind as messages do, with its article.
func (k kind) String() string { return kindNames[k] }

// origin says how a table came to be, which decides what may still add to it.
type origin uint8

const (
	ofHeader origin = iota + 1 // [a.b]: complete after its own lines
	ofPath                     // the a of [a.b]: its own header may still come
	ofDots                     // the a of a.b = 1: only dotted keys beside it may add
	ofBraces                   // { … }: complete at once
)

// node is a value of the file and where it begins.
type node struct {
	kind   kind
	origin origin // of a table
	off    int
	text   string  // of a string: its value; of other scalars: as written
	items  []*node // of an array, and of an array of tables

	members []*member          // of a table, in the order of the file
	index   map[string]*member // made once there are many
}

// member is a key of a table. A table that is defined a second time is kept as a
// shadow: it takes part in nothing, but its contents are checked too, since a block
// that was copied and not renamed has problems of its own.
type member struct {
	name   string
	off    int
	value  *node
	shadow bool
}

// manyMembers is where a map begins to beat a search through the list.
const manyMembers = 12

func (n *node) find(name string) *member {
	if n.index != nil {
		return n.index[name]
	}
	for _, m := range n.members {
		if m.name == name { // a shadow stands behind its first
			return m
		}
	}
	return nil
}

func (n *node) add(m *member) {
	n.members = append(n.members, m)
	switch {
	case m.shadow:
	case n.index != nil:
		n.index[m.name] = m
	case len(n.members) > manyMembers:
		n.index = make(map[string]*member, 2*len(n.members))
		for _, m := range n.members {
			if !m.shadow {
				n.index[m.name] = m
			}
		}
	}
}

// builder makes the tree. What TOML forbids beyond its grammar (defining
// something twice) it reports and leaves out, so that the rest is still checked.
type builder struct {
	*report
	root *node
	path string // of cur
	cur  *node  // the table of the last header
}

// maxKeyParts bounds a dotted key: nothing in the file is deeper than four.
const maxKeyParts = 8

// parse reads the report's data. It returns nil after an error of syntax, which it
// reports; what follows such an error is not looked at.
func parse(r *report) *node {
	b := &builder{report: r, root: &node{kind: aTable, origin: ofHeader}}
	b.cur = b.root
	var p unstable.Parser
	p.Reset(r.data)
	end := 0 // of the last expression
	for p.NextExpression() {
		switch n := p.Expression(); n.Kind {
		case unstable.KeyValue:
			b.keyValue(b.cur, b.path, n)
			end = int(n.Raw.Offset + n.Raw.Length)
		default:
			end = b.table(n)
		}
	}
	if err := p.Error(); err != nil {
		syntax(r, err, end)
		return nil
	}
	return b.root
}

// table opens the table of a header, and returns where its last key ends.
func (b *builder) table(n *unstable.Node) (end int) {
	many := n.Kind == unstable.ArrayTable
	t, path, at := b.root, "", 0
	it := n.Key()
	for parts := 1; it.Next(); parts++ {
		k := it.Node()
		off, name := int(k.Raw.Offset), string(k.Data)
		end = off + int(k.Raw.Length)
		if parts == 1 {
			at = b.bracket(off, many)
		}
		if t == nil {
			continue // only the end is of interest still
		}
		if parts > maxKeyParts {
			b.problem(off, path, "a key has at most %d parts", maxKeyParts)
			t = nil
			continue
		}
		path = join(path, name)
		if it.IsLast() {
			t = b.open(t, &member{name: name, off: off}, path, at, many)
		} else {
			t = b.enter(t, name, path, off)
		}
	}
	if t == nil {
		t = &node{kind: aTable, origin: ofHeader} // swallows what belongs to a bad header
	}
	b.cur, b.path = t, path
	return end
}

// bracket is where the header with its first key at off begins.
func (b *builder) bracket(off int, many bool) int {
	i := off - 1
	for i > 0 && (b.data[i] == ' ' || b.data[i] == '\t') {
		i--
	}
	if many {
		i--
	}
	return max(i, 0)
}

// enter goes through a part of a header that is not its last.
func (b *builder) enter(t *node, name, path string, off int) *node {
	m := t.find(name)
	if m == nil {
		n := &node{kind: aTable, origin: ofPath, off: off}
		t.add(&member{name: name, off: off, value: n})
		return n
	}
	switch v := m.value; {
	case v.kind == aTable && v.origin != ofBraces:
		return v
	case v.kind == manyTables:
		return v.items[len(v.items)-1]
	}
	b.problem(off, path, "is %s in line %d already, so no table can be in it", m.value.describe(), b.line(m.off))
	return nil
}

// open makes the table that a header names; at is where the header begins.
func (b *builder) open(t *node, m *member, path string, at int, many bool) *node {
	n := &node{kind: aTable, origin: ofHeader, off: at}
	m.value = n
	if many {
		m.value = &node{kind: manyTables, off: at, items: []*node{n}}
	}
	old := t.find(m.name)
	switch {
	case old == nil:
		t.add(m)
		return n
	case many && old.value.kind == manyTables:
		old.value.items = append(old.value.items, n)
		return n
	case !many && old.value.kind == aTable && old.value.origin == ofPath:
		old.value.origin, old.value.off = ofHeader, at
		return old.value
	case !many && old.value.kind == aTable && old.value.origin == ofHeader:
		b.problem(at, path, "duplicate table (the first is in line %d)", b.line(old.value.off))
		m.shadow = true
		t.add(m)
		return n
	}
	b.problem(at, path, "duplicate: it is %s in line %d already", old.value.describe(), b.line(old.off))
	return nil
}

// keyValue adds `key = value` to the table.
func (b *builder) keyValue(t *node, path string, kv *unstable.Node) {
	var names []string
	var offs []int
	end := 0
	for it := kv.Key(); it.Next(); {
		k := it.Node()
		end = int(k.Raw.Offset + k.Raw.Length)
		if len(names) <= maxKeyParts {
			names, offs = append(names, string(k.Data)), append(offs, int(k.Raw.Offset))
		}
	}
	last := len(names) - 1
	if len(names) > maxKeyParts {
		b.problem(offs[0], path, "a key has at most %d parts", maxKeyParts)
		return
	}
	for i, name := range names[:last] {
		path = join(path, name)
		if t = b.descend(t, name, path, offs[i]); t == nil {
			return
		}
	}
	path = join(path, names[last])
	if old := t.find(names[last]); old != nil {
		b.problem(offs[last], path, "duplicate key (the first is in line %d)", b.line(old.off))
		return
	}
	value, _ := b.value(kv.Value(), b.afterEquals(end), path)
	t.add(&member{name: names[last], off: offs[last], value: value})
}

// descend goes through a part of a dotted key that is not its last.
func (b *builder) descend(t *node, name, path string, off int) *node {
	m := t.find(name)
	if m == nil {
		n := &node{kind: aTable, origin: ofDots, off: off}
		t.add(&member{name: name, off: off, value: n})
		return n
	}
	if m.value.kind == aTable && m.value.origin == ofDots {
		return m.value
	}
	b.problem(off, path, "is %s in line %d already, so no dotted key can add to it", m.value.describe(), b.line(m.off))
	return nil
}

// value makes the node of a value that begins at off, and says where it ends. The
// parser bounds the depth of values, and so this recursion, to 10,000.
func (b *builder) value(n *unstable.Node, off int, path string) (v *node, end int) {
	v = &node{off: off}
	switch n.Kind {
	case unstable.Array:
		v.kind, end = anArray, off+1
		for it := n.Children(); it.Next(); {
			var item *node
			item, end = b.value(it.Node(), b.skip(end), path)
			v.items = append(v.items, item)
		}
		return v, b.skip(end) + 1
	case unstable.InlineTable:
		v.kind, v.origin, end = aTable, ofBraces, off+1
		for it := n.Children(); it.Next(); {
			kv := it.Node()
			b.keyValue(v, path, kv)
			end = int(kv.Raw.Offset + kv.Raw.Length)
		}
		return v, b.skip(end) + 1
	case unstable.String:
		v.kind = aString
	case unstable.Integer:
		v.kind = anInteger
	case unstable.Float:
		v.kind = aFloat
	case unstable.Bool:
		v.kind = aBoolean
	default:
		v.kind = aDate
	}
	v.text = string(n.Data)
	return v, int(n.Raw.Offset + n.Raw.Length)
}

// afterEquals is where the value of a key that ends at i begins; the parser keeps
// no position for arrays.
func (b *builder) afterEquals(i int) int {
	for i < len(b.data) && (b.data[i] == ' ' || b.data[i] == '\t' || b.data[i] == '=') {
		i++
	}
	return i
}

// skip is the next byte that means something inside an array or inline table.
func (b *builder) skip(i int) int {
	for ; i < len(b.data); i++ {
		switch b.data[i] {
		case ' ', '\t', '\r', '\n', ',':
		case '#':
			for i+1 < len(b.data) && b.data[i+1] != '\n' {
				i++
			}
		default:
			return i
		}
	}
	return i
}

// describe names a value for messages about a second definition.
func (n *node) describe() string {
	if n.kind == aTable && n.origin != ofHeader {
		return fmt.Sprintf("%s %s", aTable, [...]string{
			ofPath: "made by a header", ofDots: "made by a dotted key", ofBraces: "in braces",
		}[n.origin])
	}
	return n.kind.String()
}
