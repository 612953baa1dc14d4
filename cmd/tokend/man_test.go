package main

import (
	"strings"
	"testing"

	"github.com/tokend-project/tokend/packaging/man"
)

func TestManPage(t *testing.T) {
	var flags strings.Builder
	for _, s := range settings() {
		flags.WriteString(man.Item(man.Head("--"+s.flag+" "+s.value)+" Pq Ev "+s.variable, man.Text(s.help)))
	}
	man.Check(t, "tokend.8", map[string]string{"flags": flags.String()})
}
