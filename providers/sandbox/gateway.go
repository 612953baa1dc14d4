package sandbox

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"
)

// snakeKey is a key of a JSON object with an underscore in it.
var snakeKey = regexp.MustCompile(`"[a-z]+(_[a-z]+)+":`)

// rpcStatus is google.rpc.Status as grpc-gateway's DefaultHTTPErrorHandler writes
// it, which also copies the message of code 16 into WWW-Authenticate.
func rpcStatus(status, code int, message string) answer {
	reply := jsonAnswer(status, struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}{code, message, []any{}})
	if code == rpcUnauthenticated {
		reply.header.Set("WWW-Authenticate", message)
	}
	return reply
}

// gatewayFields reads a body as grpc-gateway does: whatever its content type says,
// only the first JSON value, an empty body as an empty message, unknown fields
// ignored. The named fields are strings or null.
func gatewayFields(body []byte, names ...string) (map[string]json.RawMessage, error) {
	var raw json.RawMessage
	err := json.NewDecoder(bytes.NewReader(body)).Decode(&raw)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, err // the text of encoding/json is what the gateway answers
	}
	fields := map[string]json.RawMessage{}
	if raw[0] != '{' {
		return nil, fmt.Errorf("proto: syntax error (line 1:1): unexpected token %s", raw)
	}
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, err
	}
	for _, name := range names {
		value, present := fields[name]
		if present && value[0] != '"' && string(value) != "null" {
			return nil, fmt.Errorf("proto: invalid value for string field %s: %s", name, value)
		}
	}
	return fields, nil
}

// textOf is a field that gatewayFields has checked; empty if it is absent or null.
func textOf(raw json.RawMessage) string {
	var text string
	if len(raw) > 0 {
		// Cannot fail: the value is a JSON string or null.
		_ = json.Unmarshal(raw, &text)
	}
	return text
}

// camelKeys turns the keys of a JSON text from snake_case into the lowerCamelCase
// that protobuf's JSON has by default.
func camelKeys(text []byte) []byte {
	return snakeKey.ReplaceAllFunc(text, func(key []byte) []byte {
		words := strings.Split(string(key), "_")
		for i := range words[1:] {
			words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
		}
		return []byte(strings.Join(words, ""))
	})
}

// protoTime is a time as protobuf's JSON writes it: UTC, with no fraction or one of
// three, six or nine digits.
func protoTime(t time.Time) string {
	t = t.UTC()
	switch nanos := t.Nanosecond(); {
	case nanos == 0:
		return t.Format("2006-01-02T15:04:05Z")
	case nanos%int(time.Millisecond) == 0:
		return t.Format("2006-01-02T15:04:05.000Z")
	case nanos%int(time.Microsecond) == 0:
		return t.Format("2006-01-02T15:04:05.000000Z")
	}
	return t.Format("2006-01-02T15:04:05.000000000Z")
}
