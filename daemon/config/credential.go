package config

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
)

// checker turns the tree into credentials, and reports what stands in the way.
type checker struct {
	*report
	kinds      []*providers.Kind
	files      *reader
	names      *access.Names
	transports *providers.Transports
	bench      *bench
	began      time.Time
	memos      map[string]memo
	defaults   settings

	surveyed bool // environment has been looked at

	rules map[string]parsedRule           // what names said, since many credentials repeat a rule
	ways  map[[2]string]http.RoundTripper // (CA path, proxy) → what transports said
}

type parsedRule struct {
	rule access.Rule
	err  error
}

func (c *checker) rule(text string) (access.Rule, error) {
	if p, ok := c.rules[text]; ok {
		return p.rule, p.err
	}
	if c.rules == nil {
		c.rules = make(map[string]parsedRule)
	}
	rule, err := c.names.Parse(text)
	c.rules[text] = parsedRule{rule, err}
	return rule, err
}

// file reads the whole tree. It stops early when ctx ends.
func (c *checker) file(ctx context.Context, root *node) *File {
	f := &File{}
	c.defaults = settings{timeout: defaultTimeout}
	if m := root.find("defaults"); m != nil {
		c.setDefaults(m)
	}
	d := c.defaults.rules
	f.Daemon = access.Rules{Operate: d.Operate, Observe: d.Observe}
	var tables []*member
	for _, m := range root.members {
		switch {
		case m.name == "defaults":
		case m.name != "credentials":
			c.problem(m.off, join("", m.name), "unknown key%s", mean(m.name, []string{"credentials", "defaults"}))
		case m.value.kind != aTable:
			c.problem(m.value.off, m.name, "must be a table ([credentials.NAME]), not %v", m.value.kind)
		default:
			tables = append(tables, m.value.members...)
		}
	}
	if root.find("credentials") == nil {
		c.problem(0, "", "there is no [credentials] table: write [credentials.NAME], or an empty [credentials] to mean none")
	}
	for _, m := range tables {
		if ctx.Err() != nil {
			return f
		}
		if cred := c.credential(m); cred != nil {
			f.Credentials = append(f.Credentials, cred)
		}
	}
	return f
}

func (c *checker) setDefaults(table *member) {
	if table.value.kind != aTable {
		c.problem(table.value.off, table.name, "must be a table ([defaults]), not %v", table.value.kind)
		return
	}
	var names []string
	for _, s := range settingTable {
		if s.byDefault {
			names = append(names, s.name)
		}
	}
	for _, m := range table.value.members {
		at, s := join(table.name, m.name), findSetting(m.name)
		switch {
		case m.shadow:
		case s != nil && s.byDefault:
			s.set(c, &c.defaults, at, m.value)
		case s != nil || m.name == "provider" || c.anyKindTakes(m.name):
			c.problem(m.off, at, "has no default: it belongs to each credential")
		default:
			if hint := mean(m.name, names); hint != "" {
				c.problem(m.off, at, "unknown key%s", hint)
			} else {
				c.problem(m.off, at, "unknown key: [defaults] takes %s", list(names))
			}
		}
	}
}

func (c *checker) anyKindTakes(name string) bool {
	return slices.ContainsFunc(c.kinds, func(k *providers.Kind) bool { return keyOf(k, name) != nil })
}

// draft is a credential while its table is read.
type draft struct {
	settings
	*blueprint
	name string
	path string            // of its table
	off  int               // of its table
	at   map[string]int    // key → where its value is
	sole map[string]string // group → the key of it that was given
}

// credential reads one table; nil if there were problems.
func (c *checker) credential(m *member) *keeper.Credential {
	before, path := c.count(), join("credentials", m.name)
	if !api.ValidName(m.name) {
		c.problem(m.off, path, "a name has 1 to 64 of a-z, A-Z, 0-9, _ and -, and begins with a letter or digit")
	}
	if m.value.kind != aTable {
		c.problem(m.value.off, path, "must be a table ([credentials.NAME]), not %v", m.value.kind)
		return nil
	}
	d := &draft{
		settings: c.defaults, name: m.name, path: path, off: m.value.off,
		blueprint: c.newBlueprint(c.kindOf(m, path)),
		at:        make(map[string]int, len(m.value.members)), sole: make(map[string]string),
	}
	for _, member := range m.value.members {
		if member.name != "provider" {
			c.member(d, member)
		}
	}
	if d.kind == nil {
		return nil // what else it needs depends on that
	}
	if m.shadow {
		return nil
	}
	c.missing(d)
	d.recall(m.name, m.value.sum())
	c.checkHeaders(d)
	if c.count() != before {
		return nil
	}
	return c.build(d)
}

// kindOf is the kind that the credential's provider names; nil if it names none.
func (c *checker) kindOf(m *member, path string) *providers.Kind {
	names := make([]string, 0, len(c.kinds))
	for _, k := range c.kinds {
		names = append(names, k.Name)
	}
	path = join(path, "provider")
	p := m.value.find("provider")
	if p == nil {
		if !m.shadow {
			c.problem(m.value.off, path, "missing key: it is one of %s", list(names))
		}
		return nil
	}
	text, ok := c.text(path, p.value)
	if !ok {
		return nil
	}
	for _, k := range c.kinds {
		if k.Name == text {
			return k
		}
	}
	if hint := mean(text, names); hint != "" {
		c.problem(p.value.off, path, "unknown provider %s%s", quote(text), hint)
	} else {
		c.problem(p.value.off, path, "unknown provider %s: it is one of %s", quote(text), list(names))
	}
	return nil
}

// member reads one key of a credential.
func (c *checker) member(d *draft, m *member) {
	at := join(d.path, m.name)
	d.at[m.name] = m.value.off
	if s := findSetting(m.name); s != nil {
		s.set(c, &d.settings, at, m.value)
		return
	}
	if d.kind == nil && c.anyKindTakes(m.name) {
		return // nobody can say whether it belongs here
	}
	k := keyOf(d.kind, m.name)
	if k == nil {
		c.unknown(d, m, at)
		return
	}
	if k.Group != "" {
		if other := d.sole[k.Group]; other != "" {
			c.problem(m.off, at, "only one of %s may be given", list([]string{other, m.name}))
		}
		d.sole[k.Group] = m.name
	}
	switch {
	case k.Late:
		c.late(d, m.name, at, m.value)
	case k.Secret:
		c.secret(d, m.name, at, m.value)
	case m.value.kind == aTable:
		c.problem(m.value.off, at, "must be a string, not a table: it is no secret")
	default:
		if text, ok := c.text(at, m.value); ok {
			d.request.Values[m.name] = text
		}
	}
}

func (c *checker) unknown(d *draft, m *member, at string) {
	names := []string{"provider"}
	kinds := []*providers.Kind{d.kind}
	if d.kind == nil {
		kinds = c.kinds
	}
	var own []string
	for _, kind := range kinds {
		for _, k := range kind.Keys {
			own = append(own, k.Name)
		}
	}
	for _, s := range settingTable {
		names = append(names, s.name)
	}
	if hint := mean(m.name, slices.Concat(own, names)); hint != "" || d.kind == nil {
		c.problem(m.off, at, "unknown key%s", hint)
		return
	}
	c.problem(m.off, at, "unknown key: provider %q takes %s, and every credential takes %s",
		d.kind.Name, list(own), list(names))
}

// missing reports the keys that have to be there and are not, and fills in the
// defaults of others.
func (c *checker) missing(d *draft) {
	if d.base == "" && d.kind.URL == "" {
		if _, given := d.at["url"]; !given {
			c.problem(d.off, join(d.path, "url"), "%s", missingKey("https://HOST, to which the provider's paths are appended"))
		}
	}
	groups := map[string]bool{}
	for _, k := range d.kind.Keys {
		_, given := d.at[k.Name]
		switch {
		case k.Group != "":
			if d.sole[k.Group] == "" && !groups[k.Group] {
				groups[k.Group] = true
				c.problem(d.off, d.path, "missing key: one of %s has to be given", list(groupOf(d.kind, k.Group)))
			}
		case !given && k.Required:
			c.problem(d.off, join(d.path, k.Name), "%s", missingKey(k.Help))
		case !given && k.Default != "" && !k.Secret:
			d.request.Values[k.Name] = k.Default
		}
	}
}

func missingKey(help string) string {
	if help == "" {
		return "missing key"
	}
	return "missing key (" + help + ")"
}

// keyOf is the key that the kind has under the name, nil if it has none.
func keyOf(kind *providers.Kind, name string) *providers.Key {
	if kind == nil {
		return nil
	}
	for i := range kind.Keys {
		if kind.Keys[i].Name == name {
			return &kind.Keys[i]
		}
	}
	return nil
}

func groupOf(kind *providers.Kind, group string) (names []string) {
	for _, k := range kind.Keys {
		if k.Group == group {
			names = append(names, k.Name)
		}
	}
	return names
}

// build makes the credential from a draft that is complete.
func (c *checker) build(d *draft) *keeper.Credential {
	base, host := d.base, d.host
	if base == "" {
		var err error
		if base, host, err = baseURL(d.kind.URL); err != nil {
			c.problem(d.off, d.path, "the url that provider %q has by default %v", d.kind.Name, err)
			return nil
		}
	}
	transport, err := c.way(d.ca, d.proxy)
	if err != nil {
		c.problem(d.off, d.path, "%v", err)
		return nil
	}
	d.request.URL, d.request.Timeout, d.request.TTL, d.request.Transport = base, d.timeout, d.ttl, transport
	_, answered := d.at[d.kind.Person]
	d.plan = keeper.Credential{
		Name: d.name, Kind: d.kind,
		RenewAt: cmp.Or(d.renewAt, d.kind.RenewAt), Lazy: d.lazy, Rules: d.rules, Host: host,
		Asks:    d.kind.Person != "" && !answered,
		Request: c.shape(d), Table: d.table, Read: c.began,
	}
	if len(d.sources) > 0 {
		d.plan.Reread, d.plan.Advice = d.reread, adviceOn(d.sources)
	}
	cred, memo, err := d.first()
	if err != nil {
		c.refused(d, err)
		return nil
	}
	c.memos[d.name] = memo
	return cred
}

// refused reports what the kind says of the values, at the key that it is about.
func (c *checker) refused(d *draft, err error) {
	e, ok := errors.AsType[*providers.KeyError](err)
	if !ok {
		c.problem(d.off, d.path, "%v", err)
		return
	}
	off, given := d.at[e.Key]
	if !given {
		off = d.off
	}
	c.problem(off, join(d.path, e.Key), "%v", e.Err)
}

// way is the transport for a CA file that was read already, and a proxy.
func (c *checker) way(ca, proxy string) (http.RoundTripper, error) {
	if t, ok := c.ways[[2]string{ca, proxy}]; ok {
		return t, nil
	}
	if proxy == "" {
		c.environment()
	}
	var roots []byte
	if ca != "" {
		var err error
		if roots, err = c.files.read(ca, maxCA, false).get(); err != nil {
			return nil, err
		}
	}
	t, err := c.transports.For(roots, proxy)
	if err != nil {
		return nil, errors.New(strings.TrimSpace(err.Error()))
	}
	if c.ways == nil {
		c.ways = make(map[[2]string]http.RoundTripper)
	}
	c.ways[[2]string{ca, proxy}] = t
	return t, nil
}
