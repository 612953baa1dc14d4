package api

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

// endless is a text over and over.
func endless(text string) io.Reader {
	block := strings.Repeat(text, 1+8192/len(text))
	return &repeated{block, 0}
}

type repeated struct {
	text string
	at   int
}

// Read is the io.Reader's.
func (r *repeated) Read(b []byte) (int, error) {
	n := copy(b, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// hostile answers each connection with all that the reader gives, for as long as the
// other side takes it.
func hostile(t *testing.T, answer func() io.Reader) *Client {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var done sync.WaitGroup
	done.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			done.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, answer())
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		done.Wait()
	})
	return &Client{Sockets: []string{socket}}
}

// What never ends is given up, and nothing like all of it is kept.
func TestClient_endless(t *testing.T) {
	kilobyte := "400\r\n" + strings.Repeat(" ", 1<<10) + "\r\n"
	const chunks = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
	for _, tt := range []struct {
		name, begins, goes, want string
	}{
		{"line", "HTTP/1.1 200 ", "O", "a line is longer than 4096 bytes"},
		{"headers", ok, "A: b\r\n", "its head is larger than 65536 bytes"},
		{"interim answers", "", "HTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n", "its head is larger than 65536 bytes"},
		{"body", ok + "Content-Type: application/json\r\n\r\n{", " ", "its body is larger than 16 MiB"},
		{"body with a length", ok + "Content-Length: 268435456\r\n\r\n{", " ", "its body is larger than 16 MiB"},
		{"chunks", ok + chunks, kilobyte, "its body is larger than 16 MiB"},
		{"chunk", ok + chunks + "ffffffff\r\n", " ", "its body is larger than 16 MiB"},
		{"problem", "HTTP/1.1 500 X\r\nContent-Type: application/problem+json\r\n\r\n{", " ", "its body is larger than 16 MiB"},
		{"trailers", ok + chunks + "0\r\n", "A: b\r\n", "its head is larger than 65536 bytes"},
		{"size of a chunk", ok + chunks, "0", "a line is longer than 4096 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := hostile(t, func() io.Reader { return io.MultiReader(strings.NewReader(tt.begins), endless(tt.goes)) })
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			_, err := c.Token(t.Context(), "broker", TokenOptions{})
			runtime.ReadMemStats(&after)
			wantError(t, err, CodeInternal, c.Sockets[0]+": the answer is not HTTP/1.1: "+tt.want)
			if took := after.TotalAlloc - before.TotalAlloc; took > 10*maxOne {
				t.Errorf("it took %d MiB", took>>20)
			}
		})
	}
	t.Run("watch", func(t *testing.T) {
		c := hostile(t, func() io.Reader {
			return io.MultiReader(strings.NewReader(streamed), endless(kilobyte))
		})
		err := c.Watch(t.Context(), nil, func(Status) error { return nil })
		wantError(t, err, CodeInternal, c.Sockets[0]+": the answer is not HTTP/1.1: a line of the watch is longer than 1 MiB")
	})
}

// JSON that is not tokend's is an error of the daemon's, whatever is wrong with it.
func TestClient_wrongJSON(t *testing.T) {
	deep := strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000)
	for _, body := range []string{
		"", " ", "null", "[]", "{}", `"token"`, "7", `{"token":7}`, `{"token":null}`, `{"token":""}`, `{"token":["a"]}`, `{"Token":{}}`,
		`{"token":"a","expires_at":"soon"}`, `{"token":"a","expires_at":7}`, `{"token":"a","headers":{}}`, `{"token":"a","headers":[7]}`,
		`{"token":"a"} {"token":"b"}`, `{"token":"a"`, "\xff\xfe{}", deep, `{"token":"a","x":` + strings.Repeat("[", 20000) + `}`,
		`{"token":1` + strings.Repeat("0", 100000) + `}`,
	} {
		c := &Client{Sockets: []string{newDaemon(t, reply(200, "application/json", body)).socket}}
		tok, err := c.Token(t.Context(), "broker", TokenOptions{})
		if e := new(Error); !errors.As(err, &e) || e.Code != CodeInternal || e.Detail == "" || tok != nil {
			t.Errorf("%.60s: got %v, %.200v", body, tok, err)
		}
	}
	for _, body := range []string{"", "null", "[]", "{}", `{"name":7}`, `{"name":"a"}`, `{"state":"fresh"}`, `{"name":"a","state":"fresh","challenge":7}`, `{"name":"a","state":"fresh","failures":1.5}`} {
		c := &Client{Sockets: []string{newDaemon(t, reply(200, "application/json", body)).socket}}
		s, err := c.Credential(t.Context(), "broker")
		if e := new(Error); !errors.As(err, &e) || e.Code != CodeInternal || s != nil {
			t.Errorf("%.60s: got %v, %.200v", body, s, err)
		}
	}
}

// A daemon that says nothing, or stops in the middle, is given up with the context.
func TestClient_hanging(t *testing.T) {
	for _, begins := range []string{"", "H", ok, ok + "Content-Length: 10\r\n\r\n{", ok + "Transfer-Encoding: chunked\r\n\r\n5\r\n{", "HTTP/1.1 100 Continue\r\n\r\n"} {
		forever, end := io.Pipe()
		c := hostile(t, func() io.Reader { return io.MultiReader(strings.NewReader(begins), forever) })
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		_, err := c.Token(ctx, "broker", TokenOptions{})
		cancel()
		end.Close()
		wantError(t, err, CodeUnreachable, c.Sockets[0]+": no answer in time")
	}
}

func TestClient_notUTF8(t *testing.T) {
	d := newDaemon(t, reply(200, "application/json", status))
	_, err := (&Client{Sockets: []string{d.socket}}).Answer(t.Context(), "broker", "12\xff", nil)
	wantError(t, err, CodeUsage, "the answer is not UTF-8")
	if sent := d.requests(); len(sent) != 0 {
		t.Errorf("sent %q", sent)
	}
}

// FuzzProblem asserts that whatever comes as a problem is an error of the table, with
// something to say, and numbers that can be reckoned with.
func FuzzProblem(f *testing.F) {
	for _, seed := range []string{
		"", "{}", "null", "[]", `{"code":"denied"}`, `{"code":"unknown","detail":"no","name":"a","hint":"h","status":200}`,
		`{"code":"pending","retry_after":90}`, `{"code":"throttled","retry_after":9223372036854775807}`, `{"code":"pending","retry_after":-5}`,
		`{"code":"pending","retry_after":1e3}`, `{"code":"teapot","detail":"short and stout"}`, `{"code":"unreachable"}`, `{"code":7}`,
		`{"code":"invalid","problems":[{"file":"f","line":-3,"detail":"d"}]}`, `{"code":"internal","detail":"a\u001b[31mb\u0000\n"}`, "{\"detail\":\"\xff\"}", "<html>\n",
	} {
		for _, status := range []int{0, 301, 403, 503} {
			f.Add(status, kind, []byte(seed))
		}
		f.Add(400, "text/plain", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, status int, kind string, body []byte) {
		e := problem("S", answer{status, kind, body})
		if !slices.ContainsFunc(codes, func(i CodeInfo) bool { return i.Code == e.Code && i.Status != 0 }) || e.Status != status || e.Error() == "" {
			t.Errorf("%q: %#v", body, e)
		}
		if e.RetryAfter < 0 || time.Duration(e.RetryAfter)*time.Second/time.Second != time.Duration(e.RetryAfter) {
			t.Errorf("%q: retry after %d", body, e.RetryAfter)
		}
		if len(e.Error()) > len(body)+600 || !utf8.ValidString(e.Detail+e.Title+e.Hint+e.Name) {
			t.Errorf("%q: %d bytes, %q", body, len(e.Error()), e.Error())
		}
	})
}

// The number that a hostile daemon may send, and what is left of it.
func TestProblem_retryAfter(t *testing.T) {
	for sent, want := range map[string]int{"0": 0, "1": 1, "-1": 0, "90": 90, "9223372036854775807": longestRetry, "-9223372036854775808": 0} {
		e := problem("S", answer{503, kind, []byte(`{"code":"pending","retry_after":` + sent + `}`)})
		if e.RetryAfter != want || e.Code != CodePending {
			t.Errorf("%s: %s, %d s, want %d", sent, e.Code, e.RetryAfter, want)
		}
	}
	// More than a number holds is no problem of tokend's.
	if e := problem("S", answer{503, kind, []byte(`{"code":"pending","retry_after":9223372036854775808}`)}); e.Code != CodeInternal {
		t.Errorf("got %+v", e)
	}
}
