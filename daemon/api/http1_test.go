package api

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

const ok = "HTTP/1.1 200 OK\r\n"

func TestReadAnswer(t *testing.T) {
	for _, tt := range []struct {
		name, in string
		want     answer
	}{
		{"length", ok + "Content-Length: 2\r\n\r\n{}", answer{200, "", []byte("{}")}},
		{"what follows is left", ok + "Content-Length: 2\r\n\r\n{}HTTP/1.1 500", answer{200, "", []byte("{}")}},
		{"no reason", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", answer{200, "", nil}},
		{"an empty reason", "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", answer{200, "", nil}},
		{"media type", ok + "content-TYPE: Application/JSON; charset=utf-8\r\ncontent-length: 0\r\n\r\n", answer{200, "application/json", nil}},
		{"space around a value", ok + "Content-Length:\t 2 \t\r\n\r\n{}", answer{200, "", []byte("{}")}},
		{"until the end", ok + "\r\n{\"a\":1}", answer{200, "", []byte(`{"a":1}`)}},
		{"chunks", ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n", answer{200, "", []byte("abc0123456789")}},
		{"trailers", ok + "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n000\r\nX: y\r\n\r\n", answer{200, "", []byte("a")}},
		{"interim answers", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + ok + "Content-Length: 1\r\n\r\na", answer{200, "", []byte("a")}},
		{"no content", "HTTP/1.1 204 No Content\r\n\r\n", answer{204, "", nil}},
		{"not modified has no body", "HTTP/1.1 304 Not Modified\r\nContent-Length: 900\r\n\r\n", answer{304, "", nil}},
		{"many chunks", ok + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1\r\na\r\n", 30000) + "0\r\n\r\n", answer{200, "", bytes.Repeat([]byte("a"), 30000)}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			// Byte by byte, since a socket may deliver so.
			got, err := readAnswer(iotest.OneByteReader(strings.NewReader(tt.in)), maxAll)
			if err != nil || got.status != tt.want.status || got.kind != tt.want.kind || !bytes.Equal(got.body, tt.want.body) {
				t.Errorf("got %+v, %v", got, err)
			}
		})
	}
}

func TestReadAnswer_malformed(t *testing.T) {
	long := strings.Repeat("a", maxLine)
	for _, tt := range []struct{ name, in, want string }{
		{"not HTTP", "SSH-2.0-OpenSSH_9.2\r\n\r\n", "it has no status line"},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\n\r\n", "it has no status line"},
		{"no space", "HTTP/1.1 2000\r\n\r\n", "it has no status line"},
		{"short status", "HTTP/1.1 20\r\n\r\n", "it has no status line"},
		{"signed status", "HTTP/1.1 +20 OK\r\n\r\n", "its status is no number from 100 to 599"},
		{"status 600", "HTTP/1.1 600 OK\r\n\r\n", "its status is no number from 100 to 599"},
		{"upgrade", "HTTP/1.1 101 Switching\r\n\r\n", "it switches to another protocol"},
		{"LF alone", "HTTP/1.1 200 OK\n\n", "a line does not end in CR LF"},
		{"CR within", "HTTP/1.1 200 O\rK\r\n\r\n", "a control character is in its head"},
		{"NUL", ok + "A: \x00\r\n\r\n", "a control character is in its head"},
		{"folded line", ok + "A: b\r\n c: d\r\n\r\n", "a line of its header is no header"},
		{"space before the colon", ok + "Content-Length : 2\r\n\r\n{}", "a line of its header is no header"},
		{"no colon", ok + "Content-Length\r\n\r\n", "a line of its header is no header"},
		{"no name", ok + ": x\r\n\r\n", "a line of its header is no header"},
		{"signed length", ok + "Content-Length: +2\r\n\r\n{}", "its length is not one number"},
		{"no length", ok + "Content-Length:\r\n\r\n{}", "its length is not one number"},
		{"huge length", ok + "Content-Length: 99999999999999999999\r\n\r\n{}", "its length is not one number"},
		{"two lengths", ok + "Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "its length is not one number"},
		{"length and chunks", ok + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", "its transfer coding is not chunked alone"},
		{"chunks and length", ok + "Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n{}", "its length is not one number"},
		{"gzip", ok + "Transfer-Encoding: gzip, chunked\r\n\r\n{}", "its transfer coding is not chunked alone"},
		{"no chunk size", ok + "Transfer-Encoding: chunked\r\n\r\n\r\n", "a chunk has no size"},
		{"prefixed chunk size", ok + "Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n", "a chunk has no size"},
		{"negative chunk size", ok + "Transfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n", "a chunk has no size"},
		{"chunk too long", ok + "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", "a chunk is longer than its size"},
		{"trailer", ok + "Transfer-Encoding: chunked\r\n\r\n0\r\n0\r\n\r\n", "a line of its header is no header"},
		{"body too large", ok + "Content-Length: 268435457\r\n\r\n", "its body is larger than 256 MiB"},
		{"chunk too large", ok + "Transfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n", "its body is larger than 256 MiB"},
		{"long line", ok + "A: " + long + "\r\n\r\n", "a line is longer than 4096 bytes"},
		{"long head", ok + strings.Repeat("A: "+long[:4000]+"\r\n", 17), "its head is larger than 65536 bytes"},
		{"endless interim answers", strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 3000), "its head is larger than 65536 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := readAnswer(strings.NewReader(tt.in), maxAll)
			var bad malformed
			if !errors.As(err, &bad) || string(bad) != tt.want {
				t.Errorf("got %+v, %v; want %q", got, err, tt.want)
			}
		})
	}
}

// Wherever the connection ends, that is an error: half a token is no token.
func TestReadAnswer_cutOff(t *testing.T) {
	for _, full := range []string{
		"HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"token\":\"a\"}",
		ok + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: y\r\n\r\n",
	} {
		for n := range len(full) {
			got, err := readAnswer(strings.NewReader(full[:n]), maxAll)
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = errNoAnswer
			}
			if !errors.Is(err, want) {
				t.Fatalf("after %q: got %+v, %v; want %v", full[:n], got, err, want)
			}
		}
		if _, err := readAnswer(strings.NewReader(full), maxAll); err != nil {
			t.Errorf("whole: %v", err)
		}
	}
}

// What we accept, net/http reads in the same way.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{
		"",
		ok + "Content-Type: application/json\r\nContent-Length: 13\r\n\r\n{\"token\":\"a\"}",
		ok + "Transfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\n" + ok + "Content-Length: 1\r\n\r\na",
		"HTTP/1.1 403 Forbidden\r\nContent-Type: application/problem+json\r\nContent-Length: 17\r\n\r\n{\"code\":\"denied\"}",
		"HTTP/1.1 304 Not Modified\r\nContent-Length: 2\r\n\r\n{}",
		ok + "\r\nuntil the end",
		ok + "Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		got, err := readAnswer(bytes.NewReader(in), maxAll)
		if err != nil || bytes.HasPrefix(in, []byte("HTTP/1.1 1")) { // net/http does not skip interim answers
			return
		}
		theirs, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(in)), nil)
		if err != nil {
			t.Fatalf("%q is malformed to net/http: %v", in, err)
		}
		defer theirs.Body.Close()
		body, err := io.ReadAll(theirs.Body)
		if err != nil {
			t.Fatalf("%q has no body to net/http: %v", in, err)
		}
		if got.status != theirs.StatusCode || !bytes.Equal(got.body, body) {
			t.Fatalf("%q: got %d %q, net/http %d %q", in, got.status, got.body, theirs.StatusCode, body)
		}
	})
}
