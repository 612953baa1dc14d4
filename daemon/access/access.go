// Package access says who is calling, and what the rules grant.
//
// Who is calling comes from the kernel (peer_linux.go), once per connection. What
// they may do is a pure function of that and of the rules in the credentials file:
// any one rule suffices, root and the uid that runs tokend may do everything, and
// nobody else anything that no rule grants. The names in rules become numbers when
// the file is read (names.go), so that a decision never waits for a directory
// service.
//
// The caller's systemd unit is what its cgroup says (unit.go, unit_linux.go). It is
// looked up only when nothing but a rule about units can still grant the right, and
// once per connection. The process must be alive then: of one that has exited no unit
// is known. Kernels before 6.5 name it by its pid alone; there, a process that got the
// pid of a caller which was gone before its connection was accepted passes for it, if
// it runs as the same user.
//
// A uid or gid that the kernel cannot map into our user namespace arrives as the
// overflow number (65534, "nobody" and "nogroup"). It stands for anybody, so it is
// granted nothing, not even by a rule that names it, and not even when tokend
// itself runs under it.
package access

import (
	"slices"
	"strconv"
	"strings"
)

// Right is something that a rule can grant.
type Right string

// The rights on a credential. Read and Operate each include seeing the status;
// Operate does not include reading.
const (
	Read    Right = "read"    // `allow`: get the token, report it as rejected
	Operate Right = "operate" // `operate`: renew, retry, answer, drop; in [defaults] also reload
	Observe Right = "observe" // `observe`: see the status; in [defaults] also metrics
)

// Peer is a calling process as the kernel describes it.
type Peer struct {
	UID    uint32
	GID    uint32
	Groups []uint32 // supplementary groups, without GID
	PID    int32
	// Owner is true for the uid that runs tokend.
	Owner bool
	// Overflow is true for a uid that the kernel could not map into our user
	// namespace: it stands for anybody, so it is granted nothing.
	Overflow bool
	// Unit looks up the unit of the system manager that the caller runs in, "" for
	// none. Its error is part of a sentence that says why that cannot be told. A nil
	// func stands for no unit.
	Unit func() (string, error)
}

// The answers for callers that need no rule.
const (
	whyRoot  = "root"
	whyOwner = "the uid that runs tokend"
)

// overflowGID is what the kernel shows for a gid that our user namespace does not
// map (/proc/sys/kernel/overflowgid, which nobody changes).
const overflowGID = 65534

// maxGroups is how many groups of a caller a sentence lists.
const maxGroups = 32

// String is the caller as a sentence names it: "uid 1001, gid 1001, groups 4 27".
func (p Peer) String() string {
	b := []byte("uid ")
	b = strconv.AppendUint(b, uint64(p.UID), 10)
	b = append(b, ", gid "...)
	b = strconv.AppendUint(b, uint64(p.GID), 10)
	for i, g := range p.Groups {
		switch i {
		case 0:
			b = append(b, ", groups"...)
		case maxGroups:
			b = append(b, " and "...)
			b = strconv.AppendInt(b, int64(len(p.Groups)-maxGroups), 10)
			return string(append(b, " more"...))
		}
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(g), 10)
	}
	return string(b)
}

// byNature says whether the caller needs no rule, and why; or that no rule can
// help it, and why not. Both are empty for everybody else.
func (p Peer) byNature() (granted, refused string) {
	switch {
	case p.Overflow:
		return "", p.String() + "; that uid stands for every user that the kernel cannot map into tokend's user namespace (PrivateUsers= of its unit, or a container), so no rule can grant it anything"
	case p.UID == 0:
		return whyRoot, ""
	case p.Owner:
		return whyOwner, ""
	}
	return "", ""
}

// Rule is one parsed rule: user:NAME|UID, group:NAME|GID, unit:NAME.service or
// everyone. The zero Rule grants nothing.
type Rule struct {
	kind ruleKind
	id   uint32
	text string // as the file has it
}

type ruleKind int

const (
	ruleUser ruleKind = iota + 1
	ruleGroup
	ruleEveryone
	ruleUnit // its id means nothing
)

// String is the rule as the file has it.
func (r Rule) String() string { return r.text }

// matches says whether the rule fits the caller; of one about units it never does:
// see fits.
func (r Rule) matches(p Peer) bool {
	switch r.kind {
	case ruleUser:
		return p.UID == r.id
	case ruleGroup:
		return r.id != overflowGID && (p.GID == r.id || slices.Contains(p.Groups, r.id))
	case ruleEveryone:
		return true
	}
	return false
}

// Rules are a credential's three lists, or those of the daemon.
type Rules struct {
	Allow, Operate, Observe []Rule
}

// list returns the rules that can grant the right, and their key in the file.
func (r Rules) list(right Right) ([]Rule, string) {
	switch right {
	case Read:
		return r.Allow, "allow"
	case Operate:
		return r.Operate, "operate"
	case Observe:
		return r.Observe, "observe"
	}
	return nil, string(right)
}

// grantedBy returns the text of the rule in the lists that grants the caller what
// they are for. Rules about units come last, for only they cost a look-up. If no
// rule does, who is the caller as these rules had to see it.
func (p Peer) grantedBy(lists ...[]Rule) (rule, who string) {
	units := false
	for _, rules := range lists {
		for _, r := range rules {
			if r.matches(p) {
				return r.text, ""
			}
			units = units || r.kind == ruleUnit
		}
	}
	if !units || p.Unit == nil {
		return "", p.String()
	}
	unit, err := p.Unit()
	switch {
	case err != nil:
		return "", p.String() + ", of an unknown unit (" + err.Error() + ")"
	case unit == "":
		return "", p.String() + ", in no system unit"
	}
	for _, rules := range lists {
		for _, r := range rules {
			if r.fits(unit) {
				return r.text, ""
			}
		}
	}
	return "", p.String() + ", unit " + unit
}

// Decide says whether the peer has the right. why is the text of the rule that
// granted it, "root" or "the uid that runs tokend"; for a refusal it is a sentence
// that says as whom the kernel knows the caller.
func (r Rules) Decide(p Peer, right Right) (allowed bool, why string) {
	granted, refused := p.byNature()
	if granted+refused != "" {
		return granted != "", granted + refused
	}
	rules, key := r.list(right)
	rule, who := p.grantedBy(rules)
	if rule == "" {
		return false, who + "; no `" + key + "` rule grants it"
	}
	return true, rule
}

// Status says whether the peer may see the status, which any right includes. why
// is as for Decide.
func (r Rules) Status(p Peer) (allowed bool, why string) {
	granted, refused := p.byNature()
	if granted+refused != "" {
		return granted != "", granted + refused
	}
	rule, who := p.grantedBy(r.Allow, r.Operate, r.Observe)
	if rule == "" {
		return false, who + "; no rule grants it"
	}
	return true, rule
}

// Grants lists the rights that the peer has, and the rule that gave them: the same
// answers as Decide's. Where several rules did, rule has each once, with commas.
func (r Rules) Grants(p Peer) (rights []Right, rule string) {
	var rules []string
	for _, right := range [...]Right{Read, Operate, Observe} {
		allowed, why := r.Decide(p, right)
		if !allowed {
			continue
		}
		rights = append(rights, right)
		if !slices.Contains(rules, why) {
			rules = append(rules, why)
		}
	}
	return rights, strings.Join(rules, ", ")
}
