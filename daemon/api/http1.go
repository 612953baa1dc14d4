package api

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// As much HTTP/1.1 as one request over one connection needs (RFC 9112), and strict:
// what tokend does not send is an error, so that nothing else is taken for tokend.

const (
	maxLine = 4 << 10  // one line of the head, its end included
	maxHead = 64 << 10 // all lines of the heads, of interim answers and of trailers

	maxOne = 16 << 20  // a body about one credential, or one problem
	maxAll = 256 << 20 // one about all of them: the statuses of half a million
)

// errNoAnswer says that the connection ended before the first byte of an answer.
var errNoAnswer = errors.New("the connection was closed without an answer")

// malformed says in what an answer is not HTTP/1.1.
type malformed string

func (m malformed) Error() string { return "the answer is not HTTP/1.1: " + string(m) }

// answer is one response.
type answer struct {
	status int
	kind   string // media type in lower case, without parameters
	body   []byte
}

// length of a body, where it is no number.
const (
	untilClose int64 = -1
	chunked    int64 = -2
)

// reader reads one answer.
type reader struct {
	r    *bufio.Reader
	head int   // what is left of maxHead
	most int64 // bytes of the body
}

// readAnswer reads one final answer, whose body has at most so many bytes, and skips
// the interim ones before it. The error is errNoAnswer, a malformed, or that of r; io.ErrUnexpectedEOF means that
// the answer was cut off.
func readAnswer(r io.Reader, most int64) (answer, error) {
	rd := newReader(r, most)
	status, kind, length, err := rd.final()
	if err != nil {
		return answer{}, err
	}
	body, err := rd.body(length)
	return answer{status, kind, body}, err
}

func newReader(r io.Reader, most int64) *reader {
	return &reader{bufio.NewReaderSize(r, maxLine), maxHead, most}
}

// final reads the head of the final answer.
func (rd *reader) final() (status int, kind string, length int64, err error) {
	if _, err := rd.r.Peek(1); err != nil {
		return 0, "", 0, fmt.Errorf("%w (%w)", errNoAnswer, err)
	}
	for {
		if status, err = rd.statusLine(); err != nil {
			return 0, "", 0, err
		}
		if kind, length, err = rd.fields(); err != nil {
			return 0, "", 0, err
		}
		switch {
		case status == 101:
			return 0, "", 0, malformed("it switches to another protocol")
		case status == 204 || status == 304: // whatever length they claim
			return status, kind, 0, nil
		case status >= 200:
			return status, kind, length, nil
		}
	}
}

// line reads one line of the head, without its CR LF. The bytes are valid until
// the next read.
func (rd *reader) line() ([]byte, error) {
	b, err := rd.r.ReadSlice('\n')
	rd.head -= len(b)
	switch {
	case errors.Is(err, bufio.ErrBufferFull):
		return nil, malformed("a line is longer than " + strconv.Itoa(maxLine) + " bytes")
	case rd.head < 0:
		return nil, malformed("its head is larger than " + strconv.Itoa(maxHead) + " bytes")
	case err != nil:
		return nil, cutOff(err)
	case len(b) < 2 || b[len(b)-2] != '\r':
		return nil, malformed("a line does not end in CR LF")
	}
	b = b[:len(b)-2]
	for _, c := range b {
		if c < ' ' && c != '\t' || c == 0x7f {
			return nil, malformed("a control character is in its head")
		}
	}
	return b, nil
}

// statusLine reads "HTTP/1.1 200 OK".
func (rd *reader) statusLine() (int, error) {
	b, err := rd.line()
	if err != nil {
		return 0, err
	}
	rest, ok := strings.CutPrefix(string(b), "HTTP/1.1 ")
	if !ok || len(rest) < 3 || len(rest) > 3 && rest[3] != ' ' {
		return 0, malformed("it has no status line")
	}
	status, ok := number(rest[:3], 10)
	if !ok || status < 100 || status > 599 {
		return 0, malformed("its status is no number from 100 to 599")
	}
	return int(status), nil
}

// fields reads the header up to its empty line, and returns what matters of it.
func (rd *reader) fields() (kind string, length int64, err error) {
	length = untilClose
	for {
		b, err := rd.line()
		if err != nil || len(b) == 0 {
			return kind, length, err
		}
		name, value, ok := strings.Cut(string(b), ":")
		if !ok || !isToken(name) {
			return "", 0, malformed("a line of its header is no header")
		}
		value = strings.Trim(value, " \t")
		switch strings.ToLower(name) {
		case "content-type":
			kind, _, _ = strings.Cut(value, ";")
			kind = strings.ToLower(strings.TrimSpace(kind))
		case "content-length":
			n, ok := number(value, 10)
			if !ok || length != untilClose {
				return "", 0, malformed("its length is not one number")
			}
			length = n
		case "transfer-encoding":
			if length != untilClose || !strings.EqualFold(value, "chunked") {
				return "", 0, malformed("its transfer coding is not chunked alone")
			}
			length = chunked
		}
	}
}

func (rd *reader) body(length int64) ([]byte, error) {
	switch {
	case length == chunked:
		return rd.chunks()
	case length == untilClose:
		body, err := io.ReadAll(io.LimitReader(rd.r, rd.most+1))
		if err == nil && int64(len(body)) > rd.most {
			err = rd.tooLarge()
		}
		return body, err
	}
	return rd.take(nil, length)
}

// chunks reads a chunked body and its trailers.
func (rd *reader) chunks() ([]byte, error) {
	var body []byte
	for {
		size, err := rd.chunk()
		if err != nil {
			return nil, err
		}
		if size == 0 {
			return body, nil
		}
		if body, err = rd.take(body, size); err != nil {
			return nil, err
		}
		if err := rd.endChunk(); err != nil {
			return nil, err
		}
	}
}

// chunk reads the line before a chunk, which says how long that is. The last one is
// empty; its trailers, which mean nothing to us, are read too.
func (rd *reader) chunk() (size int64, err error) {
	rd.head = maxHead // the sizes of a long body's chunks are no head
	b, err := rd.line()
	if err != nil {
		return 0, err
	}
	digits, _, _ := strings.Cut(string(b), ";")
	size, ok := number(strings.TrimRight(digits, " \t"), 16)
	if !ok {
		return 0, malformed("a chunk has no size")
	}
	if size == 0 {
		_, _, err = rd.fields()
	}
	return size, err
}

// endChunk reads the line end behind a chunk.
func (rd *reader) endChunk() error {
	b, err := rd.line()
	if err == nil && len(b) != 0 {
		err = malformed("a chunk is longer than its size")
	}
	return err
}

// take appends the next n bytes to body. It makes room as they come: a length is
// only a claim.
func (rd *reader) take(body []byte, n int64) ([]byte, error) {
	if n > rd.most-int64(len(body)) {
		return nil, rd.tooLarge()
	}
	for n > 0 {
		step := int(min(n, 64<<10))
		old := len(body)
		body = append(body, make([]byte, step)...)
		got, err := io.ReadFull(rd.r, body[old:])
		if err != nil {
			return nil, cutOff(err)
		}
		n -= int64(got)
	}
	return body, nil
}

func (rd *reader) tooLarge() error {
	return malformed("its body is larger than " + strconv.FormatInt(rd.most>>20, 10) + " MiB")
}

// cutOff makes the end of the connection an error of the answer.
func cutOff(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// number reads digits alone: no sign, no underscore, no space.
func number(s string, base int) (int64, bool) {
	for i := range len(s) {
		c := s[i] | 0x20
		if (c < '0' || c > '9') && (base != 16 || c < 'a' || c > 'f') {
			return 0, false
		}
	}
	n, err := strconv.ParseInt(s, base, 64)
	return n, err == nil
}

// isToken says whether s is a token of RFC 9110, as the names of headers are.
func isToken(s string) bool {
	for i := range len(s) {
		c := s[i]
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	return s != ""
}
