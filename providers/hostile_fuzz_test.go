package providers

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// hostileBodies are the bodies of answers of the kind with each of the hostile tokens.
func hostileBodies(kind string) (all [][]byte) {
	put := func(value string) {
		if len(value) < 100<<10 { // larger seeds make the fuzzer slow, and find nothing
			all = append(all, edit(tokenField[kind], value)([]byte(golden[kind])))
		}
	}
	for _, test := range hostileTokens {
		put(test.value)
	}
	for _, test := range hostileExpiries() {
		put(`"` + test.token + `"`)
	}
	return all
}

// FuzzHTTP sends anything at all in the place of an answer, through the transport that
// is used outside of tests.
func FuzzHTTP(f *testing.F) {
	log.SetOutput(io.Discard) // net/http shows there what comes behind the end of an answer
	const secret = "Zx-secret-of-anybody-Zx"
	for n, kind := range Kinds() {
		for _, test := range wireFaults() {
			fault := test.fault(kind.Name)
			f.Add(n, []byte(fault.Raw+strings.Repeat(fault.Endless, 3)))
		}
		for _, test := range classTests {
			for _, header := range []string{"Retry-After: -1", "Date: Fri, 31 Dec 9999 23:59:59 GMT", "Location: file:///" + secret, "Content-Encoding: gzip"} {
				f.Add(n, fuzzReply(test.status, header, test.body+secret))
			}
		}
		for _, body := range hostileBodies(kind.Name) {
			f.Add(n, fuzzReply(200, "Date: Thu, 01 Jan 1970 00:00:00 GMT", string(body)))
		}
	}
	f.Fuzz(func(t *testing.T, n int, raw []byte) {
		kind := Kinds()[uint(n)%uint(len(Kinds()))]
		transport, err := newTransport(nil, "none")
		if err != nil {
			t.Fatal(err)
		}
		defer transport.CloseIdleConnections()
		transport.DialContext = func(context.Context, string, string) (net.Conn, error) { return answering(raw), nil }
		s := systems()[kind.Name].settings
		s.URL, s.Transport, s.Timeout = "http://api.example", transport, 10*time.Second
		for key := range s.Secrets {
			s.Secrets[key] = NewSecret(secret)
		}
		p, err := kind.New(s)
		if err != nil {
			t.Fatal(err)
		}
		fuzzOutcome(t, secret, longest[kind.Name], func() (Token, error) { return p.Login(t.Context(), nil) })
		if refresher, ok := p.(Refresher); ok {
			fuzzOutcome(t, secret, longest[kind.Name], func() (Token, error) {
				return refresher.Refresh(t.Context(), Token{Refresh: NewSecret(secret)})
			})
		}
	})
}

// fuzzReply is an answer as bytes.
func fuzzReply(status int, header, body string) []byte {
	var out bytes.Buffer
	name, value, _ := strings.Cut(header, ": ")
	res := &http.Response{StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{name: {value}}, Body: io.NopCloser(strings.NewReader(body)), ContentLength: int64(len(body))}
	res.Write(&out)
	return out.Bytes()
}

// answering is a connection that answers whatever it is asked, and ends.
func answering(raw []byte) net.Conn {
	here, there := net.Pipe()
	go func() {
		defer there.Close()
		if req, err := http.ReadRequest(bufio.NewReader(there)); err == nil {
			io.Copy(io.Discard, req.Body)
			there.Write(raw)
		}
	}()
	return here
}

// FuzzObject asserts that objects are read as encoding/json reads them, up to the number
// of their fields.
func FuzzObject(f *testing.F) {
	for _, seed := range []string{`{}`, `{"a":1,"a":2}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{"a":1 "b":2}`, `{"a":1}x`, `{"a":1}{}`, ` {"a" : [1,{"b":null}] } `, `[]`, `null`, `{1:2}`, "{\"\xff\":1}", `{"\u0061":"\ud800"}`, `{"a":1`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var want map[string]json.RawMessage
		err := json.Unmarshal(text, &want)
		got, gotErr := parseObject(text)
		if len(want) > maxFields {
			if gotErr == nil {
				t.Errorf("%d fields are read", len(got))
			}
			return
		}
		if (gotErr == nil) != (err == nil && want != nil) || len(got) != len(want) {
			t.Fatalf("%q: got %d fields, %v, want %d, %v", text, len(got), gotErr, len(want), err)
		}
		for name, value := range want {
			if !bytes.Equal(got[name], value) {
				t.Errorf("%q: %q is %q, want %q", text, name, got[name], value)
			}
		}
	})
}
