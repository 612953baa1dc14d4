package access

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// errNoCgroup says that the kernel has no hierarchy that systemd keeps units in.
var errNoCgroup = errors.New("the kernel says nothing of a cgroup of systemd's")

// parseUnit reads the rule unit:NAME.service.
func parseUnit(rule, name string) (Rule, error) {
	switch kind := unitType(name); {
	case name == "":
		return Rule{}, fmt.Errorf("bad rule %q: the name of a service is missing", rule)
	case strings.ContainsAny(name, "*?[]"):
		return Rule{}, fmt.Errorf("bad rule %q: there are no patterns; unit:NAME@.service is for every instance of a template", rule)
	case !strings.HasSuffix(name, ".service"):
		return Rule{}, fmt.Errorf("bad rule %q: only services can be named, as unit:NAME.service", rule)
	case kind != "service":
		return Rule{}, fmt.Errorf("bad rule %q: that is no name of a service", rule)
	}
	return Rule{kind: ruleUnit, text: rule}, nil
}

// fits says whether the rule is about the unit: about it itself, or about the
// template that it is an instance of.
func (r Rule) fits(unit string) bool {
	if r.kind != ruleUnit {
		return false
	}
	name := strings.TrimPrefix(r.text, "unit:")
	if template, ok := strings.CutSuffix(name, "@.service"); ok {
		prefix, instance, _ := strings.Cut(unit, "@")
		return prefix == template && strings.HasSuffix(instance, ".service") && instance != ".service"
	}
	return unit == name
}

// holders are the types of units that have processes. A slice only has other units.
var holders = []string{"service", "scope", "socket", "mount", "swap"}

// unitOf finds the unit of the system manager in the text of /proc/PID/cgroup
// (cgroups(7)), "" if there is none: it is the first component of the path, from the
// root, that is no slice. Only the system manager and root make cgroups up to there,
// while what lies below may have been made by whom the unit delegates it to, the
// manager of a user for one.
//
// Of the hierarchies that count for systemd, that of cgroup v2 decides. The one named
// systemd, of v1, is asked only about a process at the root of v2, which no unit's is
// where systemd uses v2: elsewhere somebody may have made the v1 hierarchy for
// containers of an older systemd, and systemd would not know its cgroups.
func unitOf(cgroups string) (string, error) {
	var v1, v2 string
	for line := range strings.Lines(cgroups) {
		// The kernel allows no line break in a cgroup's name.
		id, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		controllers, path, _ := strings.Cut(rest, ":")
		switch {
		case id == "0" && controllers == "":
			v2 = path
		case controllers == "name=systemd":
			v1 = path
		}
	}
	path := v2
	if path == "" || path == "/" {
		path = v1
	}
	if path == "" {
		path = v2
	}
	switch {
	case !strings.HasPrefix(path, "/"):
		return "", errNoCgroup
	case strings.HasPrefix(path, "/.."):
		return "", fmt.Errorf("its cgroup %.200q is outside tokend's cgroup namespace: tokend runs in a container, or ProtectControlGroups= of its unit is private or strict", path)
	}
	for component := range strings.SplitSeq(path[1:], "/") {
		// systemd puts a _ before names that would be those of the kernel's own files,
		// and before names that begin with one.
		name := strings.TrimPrefix(component, "_")
		kind := unitType(name)
		if kind == "slice" && !strings.Contains(name, "@") {
			continue
		}
		if slices.Contains(holders, kind) {
			return name, nil
		}
		break // a cgroup that somebody else made
	}
	return "", nil
}

const (
	maxUnitName = 255 // UNIT_NAME_MAX of systemd's unit-name.h, less its zero byte
	unitChars   = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ" + `:-_.\@`
)

// unitType is what stands behind the last dot of a unit's name, "" if it cannot be
// the name of one: systemd.unit(5), "Description".
func unitType(name string) string {
	dot := strings.LastIndexByte(name, '.')
	if dot < 1 || len(name) > maxUnitName || name[0] == '@' || strings.Trim(name, unitChars) != "" {
		return ""
	}
	return name[dot+1:]
}
