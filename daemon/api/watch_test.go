package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

const streamed = ok + "Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"

// inChunks sends each text as a chunk of its own.
func inChunks(texts ...string) string {
	var b strings.Builder
	for _, text := range texts {
		fmt.Fprintf(&b, "%x\r\n%s\r\n", len(text), text)
	}
	return b.String()
}

const end = "0\r\n\r\n"

// line is a status in a watch.
func line(name string, state State) string {
	return `{"name":"` + name + `","state":"` + string(state) + `","new":1}` + "\n"
}

// watched is a watch of a and b at the daemon: what was told, as "name state", what
// Raw was given, and the error with S for the socket.
func watched(t *testing.T, d *daemon) (told []string, raw string, err error) {
	t.Helper()
	var lines [][]byte // Raw may keep what it is given
	c := &Client{Sockets: []string{d.socket}, Raw: func(line []byte) { lines = append(lines, line) }}
	err = c.Watch(t.Context(), []string{"a", "b"}, func(s Status) error {
		told = append(told, s.Name+" "+string(s.State))
		return nil
	})
	var e *Error
	if errors.As(err, &e) {
		e.Detail = strings.ReplaceAll(e.Detail, d.socket, "S")
	}
	return told, string(bytes.Join(lines, nil)), err
}

func TestWatch(t *testing.T) {
	a, b := line("a", StateFresh), line("b", StatePending)
	removed := line("a", StateRemoved)
	all := []string{"a fresh", "b pending", "a removed"}
	for _, tt := range []struct {
		name, answer string
		want         []string
	}{
		{"a chunk each", streamed + inChunks(a, b, removed) + end, all},
		{"one chunk", streamed + inChunks(a+b+removed) + end, all},
		{"chunks within lines", streamed + inChunks(a[:3], a[3:]+b+removed[:1], removed[1:]) + end, all},
		{"signs of life", streamed + inChunks("{}\n", a, "{}\n{}\n"+b, "{", "}\n", removed) + end, all},
		{"nothing", streamed + end, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			d := newDaemon(t, tt.answer)
			told, raw, err := watched(t, d)
			if !slices.Equal(told, tt.want) {
				t.Errorf("told %q, want %q", told, tt.want)
			}
			if tt.want != nil && raw != a+b+removed {
				t.Errorf("Raw was given %q", raw)
			}
			wantError(t, err, CodeUnreachable, "S: tokend ended the watch")
			if got := strings.Join(d.requests(), "|"); got != "GET /v1/watch?name=a&name=b"+head+"\r\n" {
				t.Errorf("sent %q", got)
			}
		})
	}
}

func TestWatch_problems(t *testing.T) {
	a := line("a", StateFresh)
	for _, tt := range []struct {
		name, answer string
		told         int
		code         Code
		detail       string
	}{
		{"denied", reply(403, kind, `{"code":"denied","detail":"uid 7"}`), 0, CodeDenied, "uid 7"},
		{"not a stream", reply(200, "application/x-ndjson", a), 0, CodeInternal, "S: the answer is 200, and no problem that tokend would name: " + fmt.Sprintf("%q", strings.TrimSpace(a))},
		{"not lines", strings.Replace(streamed, "x-ndjson", "json", 1) + inChunks(a) + end, 0, CodeInternal, "S: the answer is 200, and no problem that tokend would name: " + fmt.Sprintf("%q", strings.TrimSpace(a))},
		{"no content", "HTTP/1.1 204 X\r\nContent-Length: 9\r\n\r\n", 0, CodeInternal, "S: the answer is 204, and no problem that tokend would name"},
		{"no status", streamed + inChunks(a, `{"name":"a"}`+"\n"), 1, CodeInternal, `S: a line of the watch is no status: "{\"name\":\"a\"}"`},
		{"no JSON", streamed + inChunks(a, "a\n"), 1, CodeInternal, `S: a line of the watch is no status: "a"`},
		{"no line", streamed + inChunks(a, strings.Repeat("a", maxStatus)), 1, CodeInternal, "S: the answer is not HTTP/1.1: a line of the watch is longer than 1 MiB"},
		{"no chunk", streamed + inChunks(a) + "{}\n", 1, CodeInternal, "S: the answer is not HTTP/1.1: a line does not end in CR LF"},
		{"cut off in a line", streamed + inChunks(a, a[:7]), 1, CodeUnreachable, "S: the connection was closed in the middle of the answer"},
		{"cut off between lines", streamed + inChunks(a, a), 2, CodeUnreachable, "S: the connection was closed in the middle of the answer"},
		{"cut off in a chunk", streamed + inChunks(a, a)[:len(a)+20], 1, CodeUnreachable, "S: the connection was closed in the middle of the answer"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			told, _, err := watched(t, newDaemon(t, tt.answer))
			wantError(t, err, tt.code, tt.detail)
			if len(told) != tt.told {
				t.Errorf("told %q, want %d", told, tt.told)
			}
		})
	}
}

// TestWatch_enough asserts that the error of the caller's func ends the watch, and
// comes back as it is.
func TestWatch_enough(t *testing.T) {
	enough := errors.New("enough")
	d := newDaemon(t, streamed+inChunks(line("a", StateFresh), line("b", StateFresh)))
	n := 0
	err := (&Client{Sockets: []string{d.socket}}).Watch(t.Context(), nil, func(Status) error { n++; return enough })
	if !errors.Is(err, enough) || n != 1 {
		t.Errorf("got %v after %d", err, n)
	}
	if got := strings.Join(d.requests(), "|"); got != "GET /v1/watch"+head+"\r\n" {
		t.Errorf("sent %q", got)
	}
}

func TestWatch_restart(t *testing.T) {
	d := newDaemon(t, "", streamed+inChunks(line("a", StateFresh))+end)
	n := 0
	err := (&Client{Sockets: []string{d.socket}}).Watch(t.Context(), nil, func(Status) error { n++; return nil })
	wantError(t, err, CodeUnreachable, d.socket+": tokend ended the watch")
	if n != 1 || len(d.requests()) != 2 {
		t.Errorf("told %d times, %d requests", n, len(d.requests()))
	}
	silent, tries := newDaemon(t, "", ""), 0
	_, err = (&Client{Sockets: []string{silent.socket}}).exchange(t.Context(), "GET", "/", nil, func(*os.File) error {
		tries++
		return fmt.Errorf("%w (%w)", errNoAnswer, Errorf(CodeUnreachable, "nothing came"))
	})
	wantError(t, err, CodeUnreachable, "nothing came")
	if tries != 1 {
		t.Errorf("who waited in vain waited %d times", tries)
	}
}

// TestWatch_raw asserts that what Raw is given stays as it is.
func TestWatch_raw(t *testing.T) {
	var want string
	for i := range 500 {
		want += line(fmt.Sprintf("a%d", i), StateFresh)
	}
	if _, raw, _ := watched(t, newDaemon(t, streamed+inChunks(want)+end)); raw != want {
		t.Errorf("got %q", raw)
	}
}

func TestWatch_names(t *testing.T) {
	d := newDaemon(t, streamed+end)
	err := (&Client{Sockets: []string{d.socket}}).Watch(t.Context(), []string{"a", "b&name=c"}, func(Status) error { return nil })
	var e *Error
	if !errors.As(err, &e) || e.Code != CodeUsage || len(d.requests()) != 0 {
		t.Errorf("got %v, sent %q", err, d.requests())
	}
}

// TestWatch_cancel asserts that a watch ends with its context, whatever it is doing.
func TestWatch_cancel(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var server sync.WaitGroup
	defer server.Wait()
	server.Go(func() {
		for range 2 {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, streamed+inChunks(line("a", StateFresh)))
			io.Copy(io.Discard, c) // until the client leaves
			c.Close()
		}
	})
	client := &Client{Sockets: []string{socket}}
	ctx, cancel := context.WithCancel(t.Context())
	err = client.Watch(ctx, nil, func(Status) error { cancel(); return nil })
	wantError(t, err, CodeUnreachable, socket+": the call was given up")
	ctx, cancel = context.WithTimeout(t.Context(), 50*time.Millisecond) // time to read the line and wait for more
	defer cancel()
	err = client.Watch(ctx, nil, func(Status) error { return nil })
	wantError(t, err, CodeUnreachable, socket+": no answer in time")
}

// TestWatch_lateCancel asserts that a watch does not sleep through the end of its
// context by setting a deadline of its own just after.
func TestWatch_lateCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		start := time.Now()
		if _, err := (patient{ctx, named{here}}).Read(make([]byte, 1)); !errors.Is(err, context.Canceled) || time.Since(start) != 0 {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// named is a connection with a name, as a file has one.
type named struct{ net.Conn }

func (named) Name() string { return "S" }

// TestWatch_silence asserts that signs of life keep a watch alive, and that it does
// not wait for ever when there are none.
func TestWatch_silence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		here, there := net.Pipe()
		defer there.Close()
		go func() {
			io.WriteString(there, streamed)
			for range 10 {
				time.Sleep(80 * time.Second)
				io.WriteString(there, inChunks("{}\n"))
			}
		}()
		start := time.Now()
		_, err := watch(patient{t.Context(), named{here}}, func([]byte) error { return errors.New("a line") })
		wantError(t, err, CodeUnreachable, "S: nothing came for 1m30s")
		if took := time.Since(start); took != 890*time.Second {
			t.Errorf("it ended after %v", took)
		}
	})
}

// Byte by byte, the same comes.
func TestStream(t *testing.T) {
	in := inChunks("abc", "0123456789", strings.Repeat("x", 5000)) + "0\r\nX: y\r\n\r\nHTTP/1.1 500"
	for _, r := range []io.Reader{strings.NewReader(in), iotest.OneByteReader(strings.NewReader(in)), iotest.DataErrReader(strings.NewReader(in))} {
		got, err := io.ReadAll(&stream{rd: newReader(r, maxAll)})
		if err != nil || string(got) != "abc0123456789"+strings.Repeat("x", 5000) {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

// A stream is what the body would be if it were read whole.
func FuzzStream(f *testing.F) {
	for _, seed := range []string{"", end, inChunks("a", "bc") + end, "1\r\nab\r\n" + end, inChunks("a") + "0\r\nX: y\r\n\r\n", "3;e=1\r\nabc\r\n00\r\n\r\n", "3\r\nab"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := io.ReadAll(&stream{rd: newReader(strings.NewReader(string(in)), maxAll)})
		whole, errWhole := newReader(strings.NewReader(string(in)), maxAll).body(chunked)
		if (err == nil) != (errWhole == nil) || err == nil && string(got) != string(whole) {
			t.Errorf("%q: streamed %q, %v; whole %q, %v", in, got, err, whole, errWhole)
		}
	})
}
