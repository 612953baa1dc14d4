package access

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

const (
	shopUser = "/user.slice/user-1001.slice/user@1001.service/app.slice/shop.service"
	outside  = " is outside tokend's cgroup namespace: tokend runs in a container, or ProtectControlGroups= of its unit is private or strict"
)

func TestUnitOf(t *testing.T) {
	for _, tt := range []struct{ name, cgroups, unit string }{
		{"a service", "0::/system.slice/shop.service", "shop.service"},
		{"with its line break", "0::/system.slice/shop.service\n", "shop.service"},
		{"in a slice of slices", "0::/shop.slice/shop-web.slice/shop.service", "shop.service"},
		{"in no slice", "0::/init.scope", "init.scope"},
		{"below a service", "0::/system.slice/shop.service/nested", "shop.service"},
		{"a service below a service", "0::/system.slice/box.service/shop.service", "box.service"},
		{"a slice below a service", "0::/system.slice/box.service/system.slice/shop.service", "box.service"},
		{"a user's unit of that name", "0::" + shopUser, "user@1001.service"},
		{"a session", "0::/user.slice/user-1001.slice/session-3.scope", "session-3.scope"},
		{"a container", "0::/system.slice/docker-0123.scope/system.slice/shop.service", "docker-0123.scope"},
		{"a machine", "0::/machine.slice/systemd-nspawn@box.service/payload/system.slice/shop.service", "systemd-nspawn@box.service"},
		{"an instance", "0::/system.slice/system-worker.slice/worker@a.service", "worker@a.service"},
		{"an escaped name", `0::/system.slice/system-dev\x2dshop.slice/dev\x2dshop@a\x2db.service`, `dev\x2dshop@a\x2db.service`},
		{"a name like a file of the kernel's", "0::/system.slice/_cpu.service", "cpu.service"},
		{"a slice like one", "0::/_memory.slice/shop.service", "shop.service"},
		{"a name with the mark", "0::/system.slice/__shop.service", "_shop.service"},
		{"a colon in it", "0::/system.slice/a:b.service", "a:b.service"},
		{"slices alone", "0::/user.slice/user-1001.slice", ""},
		{"the root", "0::/\n", ""},
		{"a cgroup of somebody's", "0::/docker/0123/system.slice/shop.service", ""},
		{"one that only looks like a slice", "0::/.slice/shop.service", ""},
		{"an instance of a slice, which is none", "0::/a@b.slice/shop.service", ""},
		{"a slice of no name", "0::/a b.slice/shop.service", ""},
		{"a unit without processes", "0::/a.target/shop.service", ""},
		{"of no name", "0::/system.slice/shop service.service/shop.service", ""},
		{"removed", "0::/system.slice/shop.service (deleted)", ""},
		{"too long", "0::/system.slice/" + strings.Repeat("a", 248) + ".service", ""},
		{"an empty component", "0::/system.slice//shop.service", ""},
		{"other hierarchies", "3:cpu,cpuacct:/system.slice/a.service\n2:name=other:/system.slice/b.service\n0::/system.slice/shop.service", "shop.service"},
		{"v1 alone", "3:pids:/system.slice/a.service\n1:name=systemd:/system.slice/shop.service\n", "shop.service"},
		{"v1, with v2 for other things", "1:name=systemd:/system.slice/shop.service\n0::/\n", "shop.service"},
		{"v2 before a v1 that containers use", "1:name=systemd:/system.slice/shop.service\n0::/system.slice/evil.service\n", "evil.service"},
		{"v2 before v1 also for a session", "0::/user.slice\n1:name=systemd:/system.slice/shop.service\n", ""},
		{"v1 at its root", "1:name=systemd:/\n0::/\n", ""},
		{"a path like a line", "0::/system.slice/box.service/1:name=systemd:/system.slice/shop.service", "box.service"},
	} {
		if unit, err := unitOf(tt.cgroups); unit != tt.unit || err != nil {
			t.Errorf("%s: %q is of %q, %v; want %q", tt.name, tt.cgroups, unit, err, tt.unit)
		}
	}
}

func TestUnitOf_unknown(t *testing.T) {
	for _, tt := range []struct{ cgroups, err string }{
		{"", errNoCgroup.Error()},
		{"3:cpu:/system.slice/shop.service", errNoCgroup.Error()},
		{"0::", errNoCgroup.Error()},
		{"0::shop.service", errNoCgroup.Error()},
		{"shop.service", errNoCgroup.Error()},
		{"0:", errNoCgroup.Error()},
		{"0::/..", `its cgroup "/.."` + outside},
		{"0::/../shop.service", `its cgroup "/../shop.service"` + outside},
		{"0::/../../system.slice/shop.service\n1:name=systemd:/system.slice/shop.service", `its cgroup "/../../system.slice/shop.service"` + outside},
		{"0::/..service/shop.service", `its cgroup "/..service/shop.service"` + outside},
		{"0::/\n1:name=systemd:/../shop.service", `its cgroup "/../shop.service"` + outside},
	} {
		if unit, err := unitOf(tt.cgroups); unit != "" || err == nil || err.Error() != tt.err {
			t.Errorf("%q: %q, %v; want %s", tt.cgroups, unit, err, tt.err)
		}
	}
}

func TestParse_units(t *testing.T) {
	n := machine(t)
	for _, tt := range []struct {
		rule     string
		fit, not []string
	}{
		{
			"unit:shop.service",
			[]string{"shop.service"},
			[]string{"", "Shop.service", "xshop.service", "shop.services", "shop.scope", "shop@.service", "shop@a.service", "unit:shop.service"},
		},
		{
			"unit:worker@.service",
			[]string{"worker@a.service", "worker@a@b.service", `worker@dev\x2da.service`, "worker@.x.service"},
			[]string{"", "worker.service", "worker@.service", "workers@a.service", "xworker@a.service", "worker@a.scope", "w@orker@a.service"},
		},
		{
			"unit:worker@a.service",
			[]string{"worker@a.service"},
			[]string{"worker@b.service", "worker@.service", "worker@a@b.service", "worker.service"},
		},
		{"unit:user@1001.service", []string{"user@1001.service"}, []string{"user@100.service"}},
		{`unit:dev\x2dshop.service`, []string{`dev\x2dshop.service`}, []string{"dev-shop.service"}},
		{"unit:_a:b.service", []string{"_a:b.service"}, []string{"a:b.service"}},
	} {
		rule, err := n.Parse(tt.rule)
		if err != nil || rule != (Rule{ruleUnit, 0, tt.rule}) {
			t.Errorf("%s: %#v, %v", tt.rule, rule, err)
		}
		for _, unit := range tt.fit {
			if !rule.fits(unit) {
				t.Errorf("%s does not fit %s", rule, unit)
			}
		}
		for _, unit := range tt.not {
			if rule.fits(unit) {
				t.Errorf("%s fits %s", rule, unit)
			}
		}
	}
	if (Rule{kind: ruleUser, text: "unit:shop.service"}).fits("shop.service") {
		t.Error("a rule about a user fits a unit")
	}
	if got := runs(t, n); got != "" {
		t.Errorf("getent was asked for %q", got)
	}
}

func TestParse_noUnits(t *testing.T) {
	n := &Names{NoUnits: true}
	for _, rule := range []string{"unit:shop.service", "unit:"} {
		if r, err := n.Parse(rule); err == nil || !strings.Contains(err.Error(), "in a user's daemon unit: is an error") || r != (Rule{}) {
			t.Errorf("%s: %v, %v", rule, r, err)
		}
	}
	if _, err := n.Parse("user:0"); err != nil {
		t.Error(err)
	}
}

var (
	shop    = Rule{kind: ruleUnit, text: "unit:shop.service"}
	workers = Rule{kind: ruleUnit, text: "unit:worker@.service"}
)

// running is a caller in the unit, or one whose unit cannot be told.
func running(unit string, err error) Peer {
	return Peer{UID: 1001, GID: 1001, Unit: func() (string, error) { return unit, err }}
}

func TestDecide_units(t *testing.T) {
	const me, no = "uid 1001, gid 1001", "; no `allow` rule grants it"
	inShop := running("shop.service", nil)
	overflow := running("shop.service", nil)
	overflow.UID, overflow.GID, overflow.Overflow = 65534, 65534, true
	for _, tt := range []struct {
		name  string
		rules []Rule
		peer  Peer
		want  verdict
	}{
		{"its unit", rules(shop), inShop, allow("unit:shop.service")},
		{"one of several", rules(ops, workers, shop), inShop, allow("unit:shop.service")},
		{"a template's", rules(workers), running("worker@a.service", nil), allow("unit:worker@.service")},
		{"what needs no look-up comes first", rules(shop, alice), inShop, allow("user:alice")},
		{"another unit", rules(shop, workers), running("evil.service", nil), deny(me + ", unit evil.service" + no)},
		{"no unit", rules(shop), running("", nil), deny(me + ", in no system unit" + no)},
		{"an unknown one", rules(shop), running("", errExited), deny(me + ", of an unknown unit (the process that connected has exited)" + no)},
		{"an error with a name", rules(shop), running("shop.service", errHidden), deny(me + ", of an unknown unit (" + errHidden.Error() + ")" + no)},
		{"nobody to ask", rules(shop), Peer{UID: 1001, GID: 1001}, deny(me + no)},
		{"an unmapped uid", rules(shop), overflow, deny("uid 65534, gid 65534; that uid stands for every user that the kernel cannot map into tokend's user namespace (PrivateUsers= of its unit, or a container), so no rule can grant it anything")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			allowed, why := Rules{Allow: tt.rules}.Decide(tt.peer, Read)
			if got := (verdict{allowed, why}); got != tt.want {
				t.Errorf("got  %+v\nwant %+v", got, tt.want)
			}
			if allowed, _ := (Rules{Operate: tt.rules}).Decide(tt.peer, Read); allowed {
				t.Error("another list granted it")
			}
			if allowed, _ := (Rules{Observe: tt.rules}).Status(tt.peer); allowed != tt.want.allowed {
				t.Errorf("the status: %v", allowed)
			}
		})
	}
	rights, rule := Rules{Allow: rules(shop), Observe: rules(alice), Operate: rules(workers)}.Grants(inShop)
	if want := []Right{Read, Observe}; !slices.Equal(rights, want) || rule != "unit:shop.service, user:alice" {
		t.Errorf("%v by %s", rights, rule)
	}
}

// Where no rule about units can make a difference, nothing is looked up.
func TestDecide_noLookUp(t *testing.T) {
	var asked int
	peer := Peer{UID: 1001, GID: 1001, Unit: func() (string, error) { asked++; return "", errors.New("asked") }}
	most := Rules{Allow: rules(ops, trading), Operate: rules(ops), Observe: rules(shop, alice)}
	for _, right := range []Right{Read, Operate, Observe} {
		most.Decide(peer, right)
	}
	most.Status(peer)
	most.Grants(peer)
	for _, p := range []Peer{{UID: 0, Unit: peer.Unit}, {UID: 990, Owner: true, Unit: peer.Unit}, {UID: 65534, Overflow: true, Unit: peer.Unit}} {
		Rules{Allow: rules(shop)}.Decide(p, Read)
		Rules{Allow: rules(shop)}.Status(p)
	}
	if asked != 0 {
		t.Errorf("the unit was looked up %d times", asked)
	}
}

// FuzzCgroup: whatever the text is, a unit that is found is a component of a path in
// it that begins at the root, has the name of a unit with processes, and stands below
// slices alone.
func FuzzCgroup(f *testing.F) {
	for _, text := range []string{
		"0::/system.slice/shop.service\n", "0::" + shopUser, "1:name=systemd:/a.slice/_cpu.service\n0::/\n",
		"0::/../shop.service", "12:cpu,cpuacct:/x\n0::/a@b.slice/c.service", "0::/-.slice/worker@.service",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		unit, err := unitOf(text)
		if unit == "" {
			return
		}
		if err != nil || !slices.Contains(holders, unitType(unit)) {
			t.Fatalf("%q, %v", unit, err)
		}
		for line := range strings.SplitSeq(text, "\n") {
			_, path, _ := strings.Cut(line, ":/")
			for part := range strings.SplitSeq(path, "/") {
				if part == unit || part == "_"+unit {
					return
				}
				if !strings.HasSuffix(part, ".slice") {
					break
				}
			}
		}
		t.Fatalf("%q is not the first of a path in %q", unit, text)
	})
}
