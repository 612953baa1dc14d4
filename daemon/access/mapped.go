package access

import (
	"fmt"
	"os"
	"strings"
	"sync"
)

// The numbers that this process's user namespace has: user_namespaces(7).
var (
	ownUIDs = sync.OnceValue(func() idMap { return readIDMap("/proc/self/uid_map") })
	ownGIDs = sync.OnceValue(func() idMap { return readIDMap("/proc/self/gid_map") })
)

// Unmapped says that the rule names a number which the user namespace of this process
// has no place for, as under PrivateUsers=identity those from 65536 on. The kernel shows
// whoever has it as the overflow number, so that the rule fits nobody.
func (r Rule) Unmapped() bool {
	switch r.kind {
	case ruleUser:
		return !ownUIDs().has(r.id)
	case ruleGroup:
		return !ownGIDs().has(r.id)
	case ruleEveryone, ruleUnit:
	}
	return false
}

// idMap is the ranges of numbers that a user namespace has; nil stands for all.
type idMap []idRange

type idRange struct{ first, count uint64 }

func readIDMap(path string) idMap {
	text, err := os.ReadFile(path)
	if err != nil { // a kernel without user namespaces
		return nil
	}
	return parseIDMap(string(text))
}

// parseIDMap reads lines of the first number inside, the first outside and how many.
func parseIDMap(text string) (m idMap) {
	for line := range strings.Lines(text) {
		var r idRange
		var outside uint64
		if _, err := fmt.Sscan(line, &r.first, &outside, &r.count); err != nil {
			return nil // no form that we know: better no warning than a wrong one
		}
		m = append(m, r)
	}
	return m
}

func (m idMap) has(id uint32) bool {
	for _, r := range m {
		if uint64(id) >= r.first && uint64(id)-r.first < r.count {
			return true
		}
	}
	return m == nil
}
