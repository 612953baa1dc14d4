package server

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/tokend-project/tokend/daemon/api"
)

// body reads the request's JSON object, all of whose members are texts; known names
// those that the call takes. An empty body is an empty object.
func (c *call) body(known ...string) (map[string]string, *api.Error) {
	text, problem := c.read()
	if problem != nil {
		return nil, problem
	}
	switch text = bytes.TrimSpace(text); {
	case len(text) == 0:
		return nil, nil
	case text[0] != '{':
		return nil, api.Errorf(api.CodeUsage, "the body is no JSON object")
	case !utf8.Valid(text): // package json would put U+FFFD in its place
		return nil, api.Errorf(api.CodeUsage, "the body is not UTF-8")
	}
	return members(text, known)
}

// read reads the body as it came.
func (c *call) read() ([]byte, *api.Error) {
	tooLong := api.Errorf(api.CodeUsage, "the body is longer than %d bytes", maxBody)
	if c.r.ContentLength > maxBody {
		return nil, tooLong
	}
	cut := c.conn.cutAtTheEnd()
	text, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	stopping := cut(err == nil)
	switch {
	case err == nil:
		c.bodyRead = true
		return text, nil
	case isA[*http.MaxBytesError](err):
		return nil, tooLong
	case errors.Is(err, os.ErrDeadlineExceeded) && stopping:
		return nil, api.Stopping()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, api.Errorf(api.CodeUsage, "the body did not come whole within %v", c.server.limits.read)
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, api.Errorf(api.CodeUsage, "the body ended before its length")
	}
	return nil, api.Errorf(api.CodeUsage, "the body: %.200s", err) // bad chunks
}

// members reads a JSON object, and is stricter than package json: a key that is there
// twice, or in other letters, could mean one thing here and another elsewhere.
func members(text []byte, known []string) (map[string]string, *api.Error) {
	got := map[string]string{}
	dec := json.NewDecoder(bytes.NewReader(text))
	_, err := dec.Token() // the brace
	for err == nil && dec.More() {
		var key json.Token
		if key, err = dec.Token(); err != nil {
			break
		}
		name, _ := key.(string)
		if !slices.Contains(known, name) {
			return nil, api.Errorf(api.CodeUsage, "the body: unknown field %.64q", name)
		}
		if _, twice := got[name]; twice {
			return nil, api.Errorf(api.CodeUsage, "the body: %s is there twice", name)
		}
		var value any
		if err = dec.Decode(&value); err != nil {
			break
		}
		s, ok := value.(string)
		if !ok {
			return nil, api.Errorf(api.CodeUsage, "the body: %s is %s, not a string", name, kindOf(value))
		}
		got[name] = s
	}
	if err == nil {
		_, err = dec.Token() // the other brace
	}
	switch {
	case errors.Is(err, io.EOF):
		return nil, api.Errorf(api.CodeUsage, "the body: %v", io.ErrUnexpectedEOF)
	case err != nil:
		return nil, api.Errorf(api.CodeUsage, "the body: %.200s", strings.TrimPrefix(err.Error(), "json: "))
	case dec.InputOffset() != int64(len(text)):
		return nil, api.Errorf(api.CodeUsage, "the body goes on after its JSON object")
	}
	return got, nil
}

// kindOf is what JSON calls the value.
func kindOf(value any) string {
	switch value.(type) {
	case nil:
		return "null"
	case bool:
		return "a bool"
	case float64:
		return "a number"
	case []any:
		return "an array"
	}
	return "an object"
}

// isA says whether err is, or wraps, a T.
func isA[T error](err error) bool {
	_, ok := errors.AsType[T](err)
	return ok
}
