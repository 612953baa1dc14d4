package main

import (
	"flag"
	"fmt"
	"strings"
	"testing"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/packaging/man"
)

func TestManPage(t *testing.T) {
	every := newFlags("", &options{}, nil)
	var table strings.Builder
	for _, v := range verbs() {
		if v.hidden() {
			continue
		}
		table.WriteString(man.Item("Ic "+v.name+" "+man.Head(v.args), man.Text(v.help)+own(&v, every)))
	}
	var codes strings.Builder
	for _, info := range api.Codes() {
		codes.WriteString(man.Item(fmt.Sprintf("%d Pq Ql %s", info.Exit, info.Code), man.Text(info.When)))
	}
	man.Check(t, "tokenctl.1", map[string]string{"verbs": table.String(), "flags": flagItems(every, nil), "codes": codes.String()})
}

// own lists the flags of the verb that not every verb has, or that mean something
// else there.
func own(v *verb, every *flag.FlagSet) string {
	items := flagItems(newFlags(v.name, &options{}, v.flags), every)
	if items == "" {
		return ""
	}
	return "\n.Bl -tag -width Ds -compact\n" + items + ".El"
}

// flagItems lists those flags that are not the same in the set without.
func flagItems(set, without *flag.FlagSet) string {
	var b strings.Builder
	set.VisitAll(func(f *flag.Flag) {
		if without != nil {
			if g := without.Lookup(f.Name); g != nil && g.Usage == f.Usage {
				return
			}
		}
		value, text := flag.UnquoteUsage(f)
		b.WriteString(man.Item(man.Head(dashed(f.Name)+" "+value), man.Text(text)))
	})
	return b.String()
}
