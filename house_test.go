package tokend_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The limits of the house. They are no aim: half of each is what reads well.
const (
	maxFile     = 400 // lines, tests included
	maxFunction = 60  // lines; a test's table may be longer
	maxMethods  = 4   // of an interface
	maxExported = 12  // top-level names of a service package
)

// libraries are read by other programs, or are many small words of one language:
// what they export has a limit of its own.
var libraries = map[string]int{
	"daemon/api": 30,
	"providers":  30,
}

// tracked lists the repository's files: those in the index and those that would be.
func tracked(t *testing.T) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skipf("git ls-files: %v (not a checkout)", err)
	}
	var files []string
	for name := range strings.SplitSeq(strings.TrimRight(string(out), "\x00"), "\x00") {
		if info, err := os.Stat(name); err == nil && info.Mode().IsRegular() {
			files = append(files, name)
		}
	}
	if len(files) == 0 {
		t.Fatal("git ls-files lists nothing")
	}
	return files
}

// source is a parsed Go file of the module.
type source struct {
	name  string
	lines int
	file  *ast.File
	set   *token.FileSet
}

func (s source) test() bool { return strings.HasSuffix(s.name, "_test.go") }

// lengthOf counts the lines from one node's first to its last.
func (s source) lengthOf(n ast.Node) int {
	return s.set.Position(n.End()).Line - s.set.Position(n.Pos()).Line + 1
}

func sources(t *testing.T) []source {
	t.Helper()
	var all []source
	for _, name := range tracked(t) {
		if !strings.HasSuffix(name, ".go") || strings.Contains(name, "testdata/") {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, source{name, bytes.Count(text, []byte("\n")), file, set})
	}
	return all
}

func TestLengths(t *testing.T) {
	for _, s := range sources(t) {
		if s.lines > maxFile {
			t.Errorf("%s has %d lines, at most %d: split it by nouns", s.name, s.lines, maxFile)
		}
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && !s.test() && s.lengthOf(f) > maxFunction {
				t.Errorf("%s: %s has %d lines, at most %d: name its parts", s.set.Position(f.Pos()), f.Name.Name, s.lengthOf(f), maxFunction)
			}
		}
	}
}

func TestNoInit(t *testing.T) {
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				t.Errorf("%s: func init: what runs at every start, in every program that links this, belongs into a constructor", s.set.Position(f.Pos()))
			}
		}
	}
}

func TestInterfaces(t *testing.T) {
	for _, s := range sources(t) {
		ast.Inspect(s.file, func(n ast.Node) bool {
			if i, ok := n.(*ast.InterfaceType); ok && i.Methods.NumFields() > maxMethods {
				t.Errorf("%s: an interface of %d methods, at most %d", s.set.Position(i.Pos()), i.Methods.NumFields(), maxMethods)
			}
			return true
		})
	}
}

// TestNames asserts that no package is a drawer for what has no place.
func TestNames(t *testing.T) {
	drawers := regexp.MustCompile(`^(utils?|common|helpers?|types|managers?|misc|base)$`)
	for _, s := range sources(t) {
		if drawers.MatchString(s.file.Name.Name) {
			t.Errorf("%s: package %s says nothing about what it holds", s.name, s.file.Name.Name)
		}
	}
}

// TestPackageDocs asserts that every package has one package comment, in one file.
func TestPackageDocs(t *testing.T) {
	for _, p := range ours(t) {
		var docs []string
		for _, name := range p.GoFiles {
			file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(p.Dir, name), nil, parser.ParseComments|parser.PackageClauseOnly)
			if err != nil {
				t.Fatal(err)
			}
			if file.Doc == nil {
				continue
			}
			docs = append(docs, name)
			want := "Package " + p.Name + " "
			if p.Name == "main" {
				want = "Command " + filepath.Base(p.Dir) + " "
			}
			if !strings.HasPrefix(file.Doc.Text(), want) {
				t.Errorf("%s/%s: the package comment begins with %.40q, not with %q", p.rel(), name, file.Doc.Text(), want)
			}
		}
		if len(docs) != 1 {
			t.Errorf("%s has its package comment in %q; it needs one, in one file: it is the package's design document", p.rel(), docs)
		}
	}
}

// exported lists the exported top-level names that a declaration makes. The values
// of an enumeration count as one with its type.
func exported(d ast.Decl) (names []string) {
	switch d := d.(type) {
	case *ast.FuncDecl:
		if d.Recv == nil && d.Name.IsExported() {
			names = append(names, d.Name.Name)
		}
	case *ast.GenDecl:
		for _, spec := range d.Specs {
			switch spec := spec.(type) {
			case *ast.TypeSpec:
				if spec.Name.IsExported() {
					names = append(names, spec.Name.Name)
				}
			case *ast.ValueSpec:
				if d.Tok == token.CONST && enumeration(d) {
					continue
				}
				for _, n := range spec.Names {
					if n.IsExported() {
						names = append(names, n.Name)
					}
				}
			}
		}
	}
	return names
}

// enumeration says whether a group of constants are the values of one named type.
func enumeration(d *ast.GenDecl) bool {
	first, ok := d.Specs[0].(*ast.ValueSpec)
	return ok && first.Type != nil
}

func TestExportedNames(t *testing.T) {
	names := map[string][]string{}
	for _, s := range sources(t) {
		if s.test() || s.file.Name.Name == "main" {
			continue
		}
		dir := filepath.ToSlash(filepath.Dir(s.name))
		for _, d := range s.file.Decls {
			names[dir] = append(names[dir], exported(d)...)
		}
	}
	for dir, n := range names {
		limit := maxExported
		if l, ok := libraries[dir]; ok {
			limit = l
		}
		if len(n) > limit {
			t.Errorf("%s exports %d names, at most %d: %s", dir, len(n), limit, strings.Join(n, " "))
		}
	}
}

// TestNoMachinePaths asserts that nobody's work directory is in the repository. Homes
// of people in examples and tables may be.
func TestNoMachinePaths(t *testing.T) {
	machine := regexp.MustCompile(`(?:^|[^\w.\-/}])/(?:work/\w|root/(?:go|work|\.cache)\b|(?:home|Users)/[\w.\-]+/(?:go|src|git|work|projects|\.cache)/)`)
	for _, name := range tracked(t) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(text, 0) >= 0 {
			continue
		}
		for i, line := range strings.Split(string(text), "\n") {
			if found := machine.FindString(line); found != "" {
				t.Errorf("%s:%d names %q: a path of one machine means nothing on another", name, i+1, found)
			}
		}
	}
}
