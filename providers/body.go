package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// object is a JSON object whose fields are looked at one by one, so that a field
// of a wrong type spoils only itself.
type object map[string]json.RawMessage

var errNotObject = errors.New("not a JSON object")

// object reads the body, which must be one JSON object and nothing else.
func (a *answer) object() (object, error) {
	return parseObject(bytes.TrimPrefix(a.body, []byte("\ufeff")))
}

func parseObject(text []byte) (object, error) {
	var o object
	if err := json.Unmarshal(text, &o); err != nil || o == nil {
		return nil, errNotObject // the original may quote the text
	}
	return o, nil
}

// field finds a field by its exact name, else by its name in any case.
func (o object) field(name string) (json.RawMessage, bool) {
	raw, ok := o[name]
	if !ok {
		var names []string
		for other := range o {
			if strings.EqualFold(other, name) {
				names = append(names, other)
			}
		}
		if len(names) == 0 {
			return nil, false
		}
		raw = o[slices.Min(names)] // the same one each time
	}
	return raw, true
}

// text is a field that is a string; "" if it is null or not there.
func (o object) text(name string) (string, error) {
	raw, ok := o.field(name)
	if !ok {
		return "", nil
	}
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return "", fmt.Errorf("%q is not a string", name)
	}
	return text, nil
}

// number is a field that is a whole number, or a string of one.
func (o object) number(name string) (int, bool) {
	raw, ok := o.field(name)
	if !ok {
		return 0, false
	}
	digits := string(raw)
	var text string
	if json.Unmarshal(raw, &text) == nil {
		digits = strings.TrimSpace(text)
	}
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// objects is a field that is a list, without the elements that are no objects.
func (o object) objects(name string) []object {
	raw, ok := o.field(name)
	var list []json.RawMessage
	if !ok || json.Unmarshal(raw, &list) != nil {
		return nil
	}
	var found []object
	for _, element := range list {
		if o, err := parseObject(element); err == nil {
			found = append(found, o)
		}
	}
	return found
}

// token takes the named field of a successful answer.
func (a *answer) token(name string) (Secret, error) {
	if a.cut {
		return Secret{}, a.fail(Malformed, "answered with more than %d KiB (HTTP %d)", maxBody>>10, a.status)
	}
	o, err := a.object()
	if err != nil {
		return Secret{}, a.judgeAs(Malformed, "")
	}
	text, err := o.text(name)
	if err == nil {
		err = checkToken(text)
	}
	if err != nil {
		return Secret{}, a.fail(Malformed, "answered without a usable token (%s): %w", a.words(), err)
	}
	return NewSecret(text), nil
}

// checkToken tells what no header can carry.
func checkToken(text string) error {
	if text == "" {
		return errors.New("there is none, or it is empty")
	}
	for at, b := range []byte(text) {
		if b <= ' ' || b > '~' {
			return fmt.Errorf("byte %d of %d is 0x%02x, which no header can carry", at+1, len(text), b)
		}
	}
	return nil
}

// html says whether the answer is a page for people. Its type alone does not make
// it one: some servers call JSON, or nothing at all, text/html.
func (a *answer) html() bool {
	start := bytes.TrimSpace(bytes.TrimPrefix(a.body, []byte("\ufeff")))
	if len(start) == 0 || start[0] == '{' || start[0] == '<' {
		return len(start) > 0 && start[0] == '<'
	}
	kind, _, _ := mime.ParseMediaType(a.header.Get("Content-Type"))
	return kind == "text/html" || kind == "application/xhtml+xml"
}

// title finds the title of a page.
var title = regexp.MustCompile(`(?is)<title[^>]*>(.{1,1000}?)</title>`)

// words describes the answer for an error: the status, and what the body says in
// the places where errors say it. Free text of a success is not shown; it may be
// the token.
func (a *answer) words() string {
	status := statusText(a.status)
	if said := a.message(); said != "" {
		return quote(status, said)
	}
	switch {
	case len(bytes.TrimSpace(a.body)) == 0:
		return status + ", an empty body"
	case a.html():
		if found := title.FindSubmatch(a.body); found != nil {
			return quote(status+", an HTML page", a.mask.clean(string(found[1])))
		}
		return status + ", an HTML page"
	}
	if _, err := a.object(); err == nil {
		return status
	}
	if encoding := a.header.Get("Content-Encoding"); encoding != "" {
		return fmt.Sprintf("%s, a body encoded as %q", status, a.mask.clean(encoding))
	}
	if a.ok() {
		return status + ", a body that is no JSON object"
	}
	return quote(status, a.mask.clean(string(a.body)))
}

// quote puts what somebody else said, already cleaned, after what we say of it.
func quote(ours, theirs string) string {
	if theirs == "" {
		return ours
	}
	return fmt.Sprintf("%s: %q", ours, theirs)
}

// message is the body's own account of what went wrong, masked and cut.
func (a *answer) message() string {
	o, err := a.object()
	if err != nil {
		return ""
	}
	for _, name := range []string{"message", "detail", "error_description", "error", "Reason", "title"} {
		if text, err := o.text(name); err == nil && text != "" {
			return a.mask.clean(text)
		}
	}
	return ""
}
