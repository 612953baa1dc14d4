package providers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

const (
	// maxToken is the longest token, in bytes. An environment variable holds 128 KiB on
	// Linux (MAX_ARG_STRLEN, execve(2)), name and all, and few servers take even 16 KiB
	// in a header: a longer one serves nobody.
	maxToken = 64 << 10
	// maxFields is how many fields of an object, or elements of a list, are looked at:
	// 1 MiB of them would take many times that in memory.
	maxFields = 1000
)

// object is a JSON object whose fields are looked at one by one, so that a field
// of a wrong type spoils only itself.
type object map[string]json.RawMessage

var (
	errNotObject  = errors.New("no JSON object")
	errManyFields = fmt.Errorf("a JSON object of more than %d fields", maxFields)
)

// object reads the body, which must be one JSON object and nothing else.
func (a *answer) object() (object, error) {
	if a.fields == nil && a.noFields == nil {
		a.fields, a.noFields = parseObject(bytes.TrimPrefix(a.body, []byte("\ufeff")))
	}
	return a.fields, a.noFields
}

// parseObject reads an object of at most maxFields fields. Of fields of one name the
// last counts, as with most readers of JSON.
func parseObject(text []byte) (object, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	if start, err := dec.Token(); err != nil || start != json.Delim('{') {
		return nil, errNotObject // the original may quote the text
	}
	o := object{}
	for dec.More() {
		if len(o) == maxFields {
			return nil, errManyFields
		}
		name, err := dec.Token()
		if err != nil {
			return nil, errNotObject
		}
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return nil, errNotObject
		}
		o[name.(string)] = value // the decoder takes nothing else for a name
	}
	if _, err := dec.Token(); err != nil { // the end of the object
		return nil, errNotObject
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, errNotObject
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
	raw, _ := o.field(name)
	dec := json.NewDecoder(bytes.NewReader(raw))
	if start, err := dec.Token(); err != nil || start != json.Delim('[') {
		return nil
	}
	var found []object
	for range maxFields {
		var element json.RawMessage
		if !dec.More() || dec.Decode(&element) != nil {
			break
		}
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
	switch {
	case text == "":
		return errors.New("there is none, or it is empty")
	case len(text) > maxToken:
		return fmt.Errorf("it has %d bytes, and more than %d KiB fit into no header", len(text), maxToken>>10)
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
	case len(bytes.TrimSpace(a.body)) == 0 && !a.cut:
		return status + ", an empty body"
	case a.html():
		if found := title.FindSubmatch(a.body); found != nil {
			return quote(status+", an HTML page", a.mask.clean(string(found[1])))
		}
		return status + ", an HTML page"
	}
	_, err := a.object()
	switch {
	case err == nil:
		return status
	case a.cut:
		return fmt.Sprintf("%s, a body of more than %d KiB", status, maxBody>>10)
	}
	if encoding := a.header.Get("Content-Encoding"); encoding != "" {
		return fmt.Sprintf("%s, a body encoded as %q", status, a.mask.clean(encoding))
	}
	if a.ok() {
		return status + ", a body that is " + err.Error()
	}
	return quote(status, a.mask.clean(string(a.body[:min(len(a.body), maxLook+1)])))
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
