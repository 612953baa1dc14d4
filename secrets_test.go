package tokend_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// That no secret shows rests on three things, and these tests keep them:
//
//   - A providers.Secret shows nothing of itself wherever it stands in another value
//     (providers/secret_test.go), so whatever holds its secrets so may be printed.
//   - Its text is had by Reveal alone: reveals has every place.
//   - Where a text lies about as it is, plain has the field; and what holds such a
//     field is never handed to anything that could print it, since it never becomes an
//     interface value, but in the places of handed. No method can help there: fmt asks
//     none for unexported fields, nor for %p.

// reveals are the files that call Secret.Reveal, and where the text goes from there.
var reveals = map[string]string{
	"daemon/config/blueprint.go": "into a provider, and into the SHA-256 that tells whether it changed",
	"daemon/config/late.go":      "the key of a totp, to read it; and into the SHA-256 of a table",
	"daemon/config/source.go":    "to see whether it is empty, or odd at its ends",
	"daemon/config/totp.go":      "into codes, and what tells two keys apart",
	"daemon/keeper/entry.go":     "into the record, which is sealed",
	"daemon/keeper/operate.go":   "into a fingerprint",
	"daemon/keeper/try.go":       "into a fingerprint",
	"daemon/keeper/view.go":      "into what readers get, and a fingerprint",
	"providers/etna.go":          "into headers of the request",
	"providers/finam.go":         "into the body of the request",
	"providers/http.go":          "checks",
	"providers/lifetime.go":      "reads exp",
	"providers/mask.go":          "to know what not to show",
	"providers/secret.go":        "compares",
	"providers/noventiq.go":      "into the body of the request",
	"providers/simplejwt.go":     "into the body of the request",
}

// plain are the fields in which a secret or a token lies as it is, and why.
var plain = map[string]string{
	"cmd/tokenctl.call.raw":            "the daemon's answer, for --json",
	"daemon/api.AnswerRequest.Answer":  "crosses the socket",
	"daemon/api.Header.Value":          "crosses the socket",
	"daemon/api.Token.Token":           "crosses the socket",
	"daemon/api.answer.body":           "has crossed the socket",
	"daemon/config.checker.ways":       "by ca_file and proxy, which may have a password",
	"daemon/config.content.data":       "a file's content",
	"daemon/config.node.text":          "a string of the credentials file",
	"daemon/config.report.data":        "the credentials file",
	"daemon/config.settings.proxy":     "may have a password",
	"daemon/config.source.argv":        "people put secrets there",
	"daemon/config.settings.headers":   "may have a key of the API",
	"daemon/keeper.Credential.Headers": "an app_key is put in",
	"daemon/keeper.Answer.JSON":        "what readers get, encoded once",
	"daemon/keeper.Answer.Text":        "what readers get, encoded once",
	"providers.answer.body":            "what the provider answered",
	"providers.answer.header":          "what the provider answered",
	"providers.request.header":         "what is sent to the provider",
	"store.Record.Refresh":             "sealed as it is",
	"store.Record.Token":               "sealed as it is",
	"store.Store.hashes":               "the key of Hash",
	"store.keys.master":                "the store's key",
	"store.write.plain":                "a record that is about to be sealed",
}

// harmless are the fields that are named like those, and what they hold.
var harmless = map[string]string{
	"cmd/tokend.setting.value":     "what help calls a flag's value",
	"cmd/tokenctl.notRun.text":     "what to tell the user",
	"cmd/tokend.tour.tokenctl":     "a path",
	"daemon.line.text":             "a constant",
	"daemon/access.Rule.text":      "a rule",
	"daemon/access.entry.database": "passwd or group",
	"daemon/keeper.entry.answered": "what became of an answer, for people",
	"daemon/server.page.header":    "of the metrics",
	"providers.Secret.text":        "a pointer, of which printing shows the address alone",
	"providers.Settings.Values":    "the keys that are no secrets",
	"providers.proxyRefusal.proxy": "host and port",
	"store.element.value":          "sealed",
}

// handed are the places where what holds a plain secret becomes an interface value,
// and what for.
var handed = map[string]string{
	"daemon/api/client.go: *api.Token by c.call":              "to be read from the socket",
	"daemon/api/client.go: api.AnswerRequest by c.status":     "to be sent to the socket",
	"daemon/keeper/keeper.go: *keeper.dueHeap by heap.Fix":    "container/heap prints nothing",
	"daemon/keeper/keeper.go: *keeper.dueHeap by heap.Push":   "container/heap prints nothing",
	"daemon/keeper/keeper.go: *keeper.dueHeap by heap.Remove": "container/heap prints nothing",
	"daemon/keeper/keeper.go: *keeper.entry by heap.Push":     "container/heap prints nothing",
	"daemon/keeper/keeper.go: *keeper.entry by return":        "to container/heap",
	"daemon/keeper/view.go: api.Token by json.Marshal":        "what readers get",
	"store/seal.go: *store.Record by json.Unmarshal":          "was sealed",
	"store/seal.go: store.Record by json.Marshal":             "is sealed next",
}

// suspicious are names of fields that may hold a secret.
var suspicious = regexp.MustCompile(`(?i)token|secret|passw|refresh|answer|cookie|ticket|text|plain|body|raw|json|header|proxy|master|value|data|pin$|env`)

// module is a package of ours, as the compiler understands it.
type typed struct {
	pkg
	set   *token.FileSet
	files []*ast.File
	types *types.Package
	info  *types.Info
}

// file is the name of the file at a position, from the repository's root.
func (p *typed) file(at token.Pos) string {
	return p.rel() + "/" + filepath.Base(p.set.Position(at).Filename)
}

// compiled lists our packages with their types, each read from source, and what it
// imports from what the compiler left.
func compiled(t *testing.T) []*typed {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Export", "./...").Output()
	if err != nil {
		t.Fatalf("go list -export: %v", err)
	}
	exports := map[string]string{}
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p struct{ ImportPath, Export string }
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		exports[p.ImportPath] = p.Export
	}
	set := token.NewFileSet()
	from := importer.ForCompiler(set, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	var all []*typed
	for _, p := range ours(t) {
		one := &typed{pkg: p, set: set, info: &types.Info{
			Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		}}
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(set, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			if err != nil {
				t.Fatal(err)
			}
			one.files = append(one.files, file)
		}
		if one.types, err = (&types.Config{Importer: from}).Check(p.ImportPath, set, one.files, one.info); err != nil {
			t.Fatal(err)
		}
		all = append(all, one)
	}
	return all
}

// visit calls f for every node of the package.
func (p *typed) visit(f func(ast.Node)) {
	for _, file := range p.files {
		ast.Inspect(file, func(n ast.Node) bool {
			f(n)
			return true
		})
	}
}

// fields calls f for every field of every struct that the package declares at its
// top, in depth.
func (p *typed) fields(f func(owner string, field *types.Var)) {
	for _, name := range p.types.Scope().Names() {
		if object, ok := p.types.Scope().Lookup(name).(*types.TypeName); ok {
			if s, ok := object.Type().Underlying().(*types.Struct); ok {
				for field := range s.Fields() {
					f(p.rel()+"."+name, field)
				}
			}
		}
	}
}

// texts says whether values of the type are texts: strings, bytes, and lists of them.
// A type of our own that is a string is an enumeration.
func texts(t types.Type) bool {
	if n, ok := t.(*types.Named); ok && strings.HasPrefix(n.String(), module) {
		return false
	}
	switch t := t.Underlying().(type) {
	case *types.Basic:
		return t.Info()&types.IsString != 0 || t.Kind() == types.Uint8
	case *types.Slice:
		return texts(t.Elem())
	case *types.Map:
		return texts(t.Elem())
	case *types.Pointer:
		_, basic := t.Elem().Underlying().(*types.Basic)
		return basic && texts(t.Elem())
	}
	return false
}

// TestReveals asserts that the list of places is whole, and no longer than that.
func TestReveals(t *testing.T) {
	found := map[string]bool{}
	for _, p := range compiled(t) {
		p.visit(func(n ast.Node) {
			if id, ok := n.(*ast.Ident); ok {
				if f, ok := p.info.Uses[id].(*types.Func); ok && f.FullName() == "("+module+"/providers.Secret).Reveal" {
					found[p.file(id.Pos())] = true
				}
			}
		})
	}
	same(t, "reveals a secret", found, reveals)
}

// TestPlainFields asserts that every field whose name suggests a secret in the plain
// was thought about.
func TestPlainFields(t *testing.T) {
	found := map[string]bool{}
	for _, p := range compiled(t) {
		if p.rel() == "providers/sandbox" { // whose secrets are made up
			continue
		}
		p.fields(func(owner string, field *types.Var) {
			name := owner + "." + field.Name()
			if _, known := plain[name]; known || texts(field.Type()) && suspicious.MatchString(field.Name()) {
				found[name] = true
			}
		})
	}
	both := maps.Clone(plain)
	maps.Copy(both, harmless)
	same(t, "may hold a secret as it is (plain) or not (harmless)", found, both)
}

// same compares what there is with a table.
func same(t *testing.T, what string, found map[string]bool, table map[string]string) {
	t.Helper()
	if len(found) == 0 {
		t.Fatal("nothing was found: the test looks in the wrong place")
	}
	for _, name := range slices.Sorted(maps.Keys(found)) {
		if table[name] == "" {
			t.Errorf("%s %s: add it to the table, with the reason", name, what)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(table)) {
		if !found[name] {
			t.Errorf("%s is in the table, and is not there any more (%s)", name, what)
		}
	}
}

// holds says whether a value of the type has a plain field somewhere in it, and where.
func holds(t types.Type, seen map[types.Type]bool) string {
	if seen[t] {
		return ""
	}
	seen[t] = true
	if n, ok := t.(*types.Named); ok && n.Obj().Pkg() != nil {
		if s, ok := n.Underlying().(*types.Struct); ok {
			owner := strings.TrimPrefix(n.Obj().Pkg().Path(), module+"/") + "." + n.Obj().Name()
			for field := range s.Fields() {
				if plain[owner+"."+field.Name()] != "" {
					return owner + "." + field.Name()
				}
			}
		}
	}
	switch u := t.Underlying().(type) {
	case *types.Struct:
		for field := range u.Fields() {
			if found := holds(field.Type(), seen); found != "" {
				return found
			}
		}
	case *types.Map:
		if found := holds(u.Key(), seen); found != "" {
			return found
		}
		return holds(u.Elem(), seen)
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		return holds(u.Elem(), seen)
	}
	return ""
}

// TestPlainIsHandedToNobody looks at every place where a value becomes an interface
// value, which is how anything gets printed, logged, encoded or thrown.
func TestPlainIsHandedToNobody(t *testing.T) {
	found := map[string]bool{}
	for _, p := range compiled(t) {
		p.boxes(func(e ast.Expr, by string) {
			if field := holds(p.info.TypeOf(e), map[types.Type]bool{}); field != "" {
				name := types.TypeString(p.info.TypeOf(e), func(of *types.Package) string { return of.Name() })
				found[fmt.Sprintf("%s: %s by %s", p.file(e.Pos()), name, by)] = true
			}
		})
	}
	same(t, "becomes an interface value, and so could be printed", found, handed)
}
