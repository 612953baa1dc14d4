// Command quiet reads what `go test -json` says and prints it as `go test` does: a line
// for each package, and all that a failed or skipped test said. What passing tests said
// is not printed but searched: none of it may show a secret of the tests, since what a
// passing test prints is what the code under it prints of itself.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"strings"
)

// secrets are those that tests use, and what looks like a JWT.
var secrets = regexp.MustCompile(`hush-|hunter2|PLANTED|s3cret|top-secret|your-api-secret|testpassword|eyJ[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}`)

// open are tests that print all they see, tokens that are given to their readers
// among it. They look for secrets themselves.
var open = regexp.MustCompile(`^TestScripts(/|$)`)

// event is a line of `go test -json` (go doc test2json).
type event struct {
	Action, Package, Test, Output string
}

type test struct{ pkg, name string }

// board holds what tests said until it is known how they ended.
type board struct {
	said map[test]*strings.Builder
	bad  bool
}

func main() {
	b := board{said: map[test]*strings.Builder{}}
	in := bufio.NewReader(os.Stdin)
	events := 0
	for {
		line, err := in.ReadString('\n')
		if line != "" {
			events += b.take(line)
		}
		if err != nil {
			break
		}
	}
	if events == 0 {
		fmt.Println("quiet: no test has said anything")
	}
	if b.bad || events == 0 {
		os.Exit(1)
	}
}

// take reads a line, and counts it if it is an event.
func (b *board) take(line string) int {
	var e event
	if json.Unmarshal([]byte(line), &e) != nil {
		fmt.Print(line) // not of a test
		return 0
	}
	at := test{e.Package, e.Test}
	if b.said[at] == nil {
		b.said[at] = &strings.Builder{}
	}
	switch e.Action {
	case "output":
		b.said[at].WriteString(e.Output)
	case "build-output":
		fmt.Print(e.Output)
	case "build-fail", "fail":
		b.bad = true
		for other := range b.said {
			if at.name == "" && other.pkg == at.pkg && other != at {
				b.print(other) // did not come to its end
			}
		}
		b.print(at)
	case "skip":
		b.print(at)
	case "pass":
		b.search(at)
	}
	return 1
}

func (b *board) print(at test) {
	fmt.Print(b.said[at])
	delete(b.said, at)
}

// frame are the lines with the names of tests, in which there may be anything.
var frame = regexp.MustCompile(`(?m)^ *(=== |--- ).*$`)

// search looks into what passed; of a package's own words those about it are printed.
func (b *board) search(at test) {
	text := frame.ReplaceAllString(b.said[at].String(), "")
	delete(b.said, at)
	if found := secrets.FindString(text); found != "" && !open.MatchString(at.name) {
		b.bad = true
		fmt.Printf("%s %s passed, and shows a secret (%q):\n%s", at.pkg, at.name, found, text)
		return
	}
	if at.name != "" {
		return
	}
	for line := range strings.Lines(text) {
		if line != "PASS\n" && !strings.HasPrefix(line, "-test.shuffle") {
			fmt.Print(line)
		}
	}
}
