package access

import (
	"slices"
	"strings"
	"testing"
)

// The rules and callers of the tables below.
var (
	everyone = Rule{kind: ruleEveryone, text: "everyone"}
	ops      = Rule{kind: ruleUser, id: 2000, text: "user:ops"}
	alice    = Rule{kind: ruleUser, id: 1001, text: "user:alice"}
	trading  = Rule{kind: ruleGroup, id: 27, text: "group:trading"}
	nogroup  = Rule{kind: ruleGroup, id: 65534, text: "group:nogroup"}
	nobody   = Rule{kind: ruleUser, id: 65534, text: "user:nobody"}

	root       = Peer{}
	owner      = Peer{UID: 990, GID: 990, Owner: true}
	user1001   = Peer{UID: 1001, GID: 1001, Groups: []uint32{4, 27}}
	user2000   = Peer{UID: 2000, GID: 2000}
	gid27      = Peer{UID: 1500, GID: 27}
	unmapped   = Peer{UID: 65534, GID: 65534, Groups: []uint32{65534}, Overflow: true}
	unmappedMe = Peer{UID: 65534, GID: 65534, Owner: true, Overflow: true}
	strayGroup = Peer{UID: 1600, GID: 1600, Groups: []uint32{65534}}
)

type verdict struct {
	allowed bool
	why     string
}

func allow(why string) verdict { return verdict{true, why} }
func deny(why string) verdict  { return verdict{false, why} }

func rules(r ...Rule) []Rule { return r }

func TestDecide(t *testing.T) {
	const whyUnmapped = "uid 65534, gid 65534; that uid stands for every user that the kernel cannot map into tokend's user namespace (PrivateUsers= of its unit, or a container), so no rule can grant it anything"
	for _, tt := range []struct {
		name  string
		rules Rules
		peer  Peer
		right Right
		want  verdict
	}{
		{"root needs no rule", Rules{}, root, Read, allow("root")},
		{"nor does the owner", Rules{}, owner, Operate, allow("the uid that runs tokend")},
		{"nobody else gets anything", Rules{}, user2000, Read, deny("uid 2000, gid 2000; no `allow` rule grants it")},
		{"a zero rule grants nothing", Rules{Allow: rules(Rule{})}, user2000, Read, deny("uid 2000, gid 2000; no `allow` rule grants it")},
		{"by user", Rules{Allow: rules(alice)}, user1001, Read, allow("user:alice")},
		{"another user", Rules{Allow: rules(alice)}, user2000, Read, deny("uid 2000, gid 2000; no `allow` rule grants it")},
		{"a gid is no uid", Rules{Allow: rules(alice)}, Peer{UID: 5, GID: 1001}, Read, deny("uid 5, gid 1001; no `allow` rule grants it")},
		{"a uid is no gid", Rules{Allow: rules(trading)}, Peer{UID: 27, GID: 5}, Read, deny("uid 27, gid 5; no `allow` rule grants it")},
		{"by the gid", Rules{Allow: rules(trading)}, gid27, Read, allow("group:trading")},
		{"by a supplementary group", Rules{Allow: rules(trading)}, user1001, Read, allow("group:trading")},
		{"any one rule suffices", Rules{Allow: rules(ops, trading)}, user1001, Read, allow("group:trading")},
		{"the first that fits is named", Rules{Allow: rules(everyone, alice)}, user1001, Read, allow("everyone")},
		{"reading is not operating", Rules{Allow: rules(alice)}, user1001, Operate, deny("uid 1001, gid 1001, groups 4 27; no `operate` rule grants it")},
		{"operating is not reading", Rules{Operate: rules(ops)}, user2000, Read, deny("uid 2000, gid 2000; no `allow` rule grants it")},
		{"nor observing the daemon", Rules{Operate: rules(ops), Allow: rules(ops)}, user2000, Observe, deny("uid 2000, gid 2000; no `observe` rule grants it")},
		{"operator", Rules{Operate: rules(ops)}, user2000, Operate, allow("user:ops")},
		{"observer", Rules{Observe: rules(everyone)}, user2000, Observe, allow("everyone")},
		{"a right of no list", Rules{Allow: rules(everyone)}, user2000, "write", deny("uid 2000, gid 2000; no `write` rule grants it")},
		{"an unmapped uid is not everyone", Rules{Allow: rules(everyone, nobody)}, Peer{UID: 65534, GID: 65534, Overflow: true}, Read, deny(whyUnmapped)},
		{"not even as the owner", Rules{}, unmappedMe, Read, deny(whyUnmapped)},
		{"an unmapped group is no group", Rules{Allow: rules(nogroup)}, strayGroup, Read, deny("uid 1600, gid 1600, groups 65534; no `allow` rule grants it")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowed, why := tt.rules.Decide(tt.peer, tt.right)
			if got := (verdict{allowed, why}); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
}

func TestStatus(t *testing.T) {
	for _, tt := range []struct {
		name  string
		rules Rules
		peer  Peer
		want  verdict
	}{
		{"root", Rules{}, root, allow("root")},
		{"owner", Rules{}, owner, allow("the uid that runs tokend")},
		{"readers see it", Rules{Allow: rules(alice)}, user1001, allow("user:alice")},
		{"operators see it", Rules{Operate: rules(ops)}, user2000, allow("user:ops")},
		{"observers see it", Rules{Observe: rules(trading)}, gid27, allow("group:trading")},
		{"nobody else", Rules{Allow: rules(alice), Operate: rules(ops)}, gid27, deny("uid 1500, gid 27; no rule grants it")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowed, why := tt.rules.Status(tt.peer)
			if got := (verdict{allowed, why}); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
		})
	}
	if allowed, why := (Rules{Observe: rules(everyone)}).Status(unmapped); allowed || !strings.Contains(why, "cannot map") {
		t.Errorf("an unmapped uid: %v, %q", allowed, why)
	}
}

func TestGrants(t *testing.T) {
	all := []Right{Read, Operate, Observe}
	for _, tt := range []struct {
		name   string
		rules  Rules
		peer   Peer
		rights []Right
		rule   string
	}{
		{"root", Rules{}, root, all, "root"},
		{"owner", Rules{Allow: rules(everyone)}, owner, all, "the uid that runs tokend"},
		{"nothing", Rules{Allow: rules(alice)}, user2000, nil, ""},
		{"unmapped", Rules{Allow: rules(everyone)}, unmapped, nil, ""},
		{"one rule in two lists", Rules{Allow: rules(ops), Operate: rules(ops)}, user2000, []Right{Read, Operate}, "user:ops"},
		{"two rules", Rules{Allow: rules(trading), Observe: rules(everyone)}, user1001, []Right{Read, Observe}, "group:trading, everyone"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rights, rule := tt.rules.Grants(tt.peer)
			if !slices.Equal(rights, tt.rights) || rule != tt.rule {
				t.Errorf("got %q by %q, want %q by %q", rights, rule, tt.rights, tt.rule)
			}
		})
	}
}

func TestPeerString_manyGroups(t *testing.T) {
	groups := make([]uint32, 40)
	for i := range groups {
		groups[i] = 7
	}
	want := "uid 1, gid 2, groups" + strings.Repeat(" 7", 32) + " and 8 more"
	if got := (Peer{UID: 1, GID: 2, Groups: groups}).String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
