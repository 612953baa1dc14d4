package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Client calls tokend through its socket, one connection a call. Its methods may be
// used by several goroutines at once. Every error is an *Error; one that never
// reached the daemon has the code unreachable, or denied when the socket itself
// kept us out. A read whose connection ends before the first byte of an answer, as
// it does when tokend restarts, is repeated once.
//
// A call lasts as long as its ctx: give it a deadline.
type Client struct {
	// Sockets are the paths to try, in order; the function Sockets has the usual ones.
	Sockets []string
	// Raw, if set, is given the JSON of each good answer as it came from the socket, and
	// each status of a watch.
	Raw func(answer []byte)
}

// TokenOptions say how good a token has to be. The zero value leaves both to the
// daemon.
type TokenOptions struct {
	// MinTTL demands that much lifetime. Without it the daemon wishes for the smaller
	// of 10 s and a tenth of the lifetime, and serves what there is.
	MinTTL *time.Duration
	// Wait bounds how long the daemon may wait for a renewal: 10 s if nil, at most
	// 5 min; with 0 it never waits.
	Wait *time.Duration
}

// RenewOptions say why to renew, and how long to wait for it.
type RenewOptions struct {
	// Fingerprint is that of the token that the API rejected: there is a renewal only
	// if that is still the current one. Empty means "renew now", for operators.
	Fingerprint string
	Wait        *time.Duration // as in TokenOptions
}

// Fingerprint names a token without disclosing it: the first 16 hex digits of its
// SHA-256.
func Fingerprint(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:8])
}

// Token gets the credential's token; it needs the right to read.
func (c *Client) Token(ctx context.Context, name string, o TokenOptions) (*Token, error) {
	if bad := checkName(name); bad != nil {
		return nil, bad
	}
	var t Token
	err := c.call(ctx, "GET", "/v1/tokens/"+name+query(param{"min_ttl", o.MinTTL}, param{"wait", o.Wait}), nil, &t)
	if err == nil && t.Token == "" {
		err = Errorf(CodeInternal, "the daemon's answer has no token").For(name)
	}
	if err != nil {
		return nil, err
	}
	return &t, nil
}

// Credentials lists the statuses of the credentials on which the caller has a right.
func (c *Client) Credentials(ctx context.Context) ([]Status, error) {
	var list Credentials
	err := c.call(ctx, "GET", "/v1/credentials", nil, &list)
	return list.Credentials, err
}

// Credential gets one status; any right suffices.
func (c *Client) Credential(ctx context.Context, name string) (*Status, error) {
	return c.status(ctx, "GET", name, "", nil)
}

// Renew reports a rejected token, or renews now. The status is that after the
// renewal; where it failed, the error says why, whether or not the old token still
// serves.
func (c *Client) Renew(ctx context.Context, name string, o RenewOptions) (*Status, error) {
	return c.status(ctx, "POST", name, "/renew"+query(param{"wait", o.Wait}), RenewRequest{Fingerprint: o.Fingerprint})
}

// Retry forgets a refusal, a back-off or a dead challenge, and tries now; for
// operators. wait is as in TokenOptions.
func (c *Client) Retry(ctx context.Context, name string, wait *time.Duration) (*Status, error) {
	return c.status(ctx, "POST", name, "/retry"+query(param{"wait", wait}), nil)
}

// Drop forgets a token that has leaked, and logs in anew; for operators. wait is as
// in TokenOptions.
func (c *Client) Drop(ctx context.Context, name string, wait *time.Duration) (*Status, error) {
	return c.status(ctx, "POST", name, "/drop"+query(param{"wait", wait}), nil)
}

// Answer answers the pending challenge; for operators. wait is as in TokenOptions.
func (c *Client) Answer(ctx context.Context, name, answer string, wait *time.Duration) (*Status, error) {
	if !utf8.ValidString(answer) { // package json would send another one
		return nil, Errorf(CodeUsage, "the answer is not UTF-8")
	}
	return c.status(ctx, "POST", name, "/answer"+query(param{"wait", wait}), AnswerRequest{Answer: answer})
}

// Reload reads the credentials file again. The error of a bad file has the code
// invalid, and its problems.
func (c *Client) Reload(ctx context.Context) (*Reloaded, error) {
	return get[Reloaded](ctx, c, "POST", "/v1/reload")
}

// Whoami says as whom the kernel knows the caller, and what it may do.
func (c *Client) Whoami(ctx context.Context) (*Whoami, error) {
	return get[Whoami](ctx, c, "GET", "/v1/whoami")
}

// Health says how the daemon is.
func (c *Client) Health(ctx context.Context) (*Health, error) {
	return get[Health](ctx, c, "GET", "/v1/health")
}

func get[T any](ctx context.Context, c *Client, method, target string) (*T, error) {
	out := new(T)
	if err := c.call(ctx, method, target, nil, out); err != nil {
		return nil, err
	}
	return out, nil
}

func (c *Client) status(ctx context.Context, method, name, rest string, in any) (*Status, error) {
	if bad := checkName(name); bad != nil {
		return nil, bad
	}
	var s Status
	if err := c.call(ctx, method, "/v1/credentials/"+name+rest, in, &s); err != nil {
		return nil, err
	}
	if s.Name == "" || s.State == "" {
		return nil, Errorf(CodeInternal, "the daemon's answer is no status").For(name)
	}
	return &s, nil
}

// call sends one request, with in as its JSON, and decodes the answer into out.
func (c *Client) call(ctx context.Context, method, target string, in, out any) error {
	var body []byte
	if in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return Errorf(CodeInternal, "encoding the request: %v", err)
		}
	}
	most := int64(maxOne)
	switch out.(type) {
	case *Credentials, *Whoami, *Reloaded: // the last for the problems of a file
		most = maxAll
	}
	var a answer
	socket, err := c.exchange(ctx, method, target, body, func(conn *os.File) (err error) {
		a, err = readAnswer(conn, most)
		return err
	})
	if err != nil {
		return err
	}
	if a.status < 200 || a.status > 299 {
		return problem(socket, a)
	}
	if err := json.Unmarshal(a.body, out); err != nil {
		return Errorf(CodeInternal, "%s: the answer is not what tokend would say: %v", socket, err).
			WithHint("is that tokend's socket?")
	}
	if c.Raw != nil {
		c.Raw(a.body)
	}
	return nil
}

// exchange sends one request over a connection of its own, from which take then reads
// the answer. The error is an *Error.
func (c *Client) exchange(ctx context.Context, method, target string, body []byte, take func(*os.File) error) (socket string, err error) {
	for tries := 2; ; {
		socket, err = c.once(ctx, request(method, target, body), take)
		tries--
		var known *Error
		if tries == 0 || method != "GET" || !errors.Is(err, errNoAnswer) || errors.As(err, &known) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return socket, explain(ctx, method, socket, err)
	}
	return socket, nil
}

func (c *Client) once(ctx context.Context, request string, take func(*os.File) error) (socket string, err error) {
	conn, socket, failed := c.connect(ctx)
	if failed != nil {
		return "", failed
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// A server may answer before it has read the request, and close: the answer is
	// what counts, so an error of the write only matters where there is none.
	_, werr := io.WriteString(conn, request)
	err = take(conn)
	if errors.Is(err, errNoAnswer) && werr != nil {
		err = errors.Join(errNoAnswer, werr)
	}
	return socket, err
}

func request(method, target string, body []byte) string {
	var b strings.Builder
	b.WriteString(method + " " + target + " HTTP/1.1\r\nHost: tokend\r\nConnection: close\r\n")
	if method != "GET" {
		b.WriteString("Content-Length: " + strconv.Itoa(len(body)) + "\r\n")
	}
	if body != nil {
		b.WriteString("Content-Type: application/json\r\n")
	}
	b.WriteString("\r\n")
	b.Write(body)
	return b.String()
}

// explain makes an *Error of an exchange that brought no answer.
func explain(ctx context.Context, method, socket string, err error) *Error {
	var e *Error
	var bad malformed
	switch {
	case errors.As(err, &e):
		return e
	case ctx.Err() != nil:
		e = gaveUp(ctx, socket)
	case errors.As(err, &bad):
		return Errorf(CodeInternal, "%s: %v", socket, bad).WithHint("is that tokend's socket?")
	case errors.Is(err, errNoAnswer):
		e = Errorf(CodeUnreachable, "%s: %v", socket, errNoAnswer).
			WithHint("tokend may be restarting; see its log")
	case errors.Is(err, io.ErrUnexpectedEOF):
		e = Errorf(CodeUnreachable, "%s: the connection was closed in the middle of the answer", socket).
			WithHint("tokend may be restarting; see its log")
	default:
		e = Errorf(CodeUnreachable, "%s: %s", socket, reason(socket, err))
	}
	if method != "GET" {
		e.Detail += "; it is not known whether the request was carried out"
	}
	return e
}

// longestRetry is in seconds, and fits a time.Duration. Who says more means never.
const longestRetry = 10 * 365 * 24 * 60 * 60

// problem makes an *Error of an answer that is not 2xx.
func problem(socket string, a answer) *Error {
	var e Error
	if a.kind != "application/problem+json" || json.Unmarshal(a.body, &e) != nil {
		detail := socket + ": the answer is " + strconv.Itoa(a.status) + ", and no problem that tokend would name"
		if text := excerpt(a.body); text != "" {
			detail += ": " + strconv.Quote(text)
		}
		e := Errorf(CodeInternal, "%s", detail).WithHint("is that tokend's socket?")
		e.Status = a.status
		return e
	}
	e.Status = a.status
	e.RetryAfter = min(max(0, e.RetryAfter), longestRetry)
	e.Title = cmp.Or(e.Title, e.Code.Info().Title)
	if info := e.Code.Info(); info.Code != e.Code || info.Status == 0 {
		e.Detail = e.Error() + " (code " + strconv.Quote(string(e.Code)) + ", which this version does not know)"
		e.Code = CodeInternal
	}
	return &e
}

// excerpt is the first line of a foreign text, cut.
func excerpt(body []byte) string {
	const most = 120
	line, _, _ := strings.Cut(strings.TrimSpace(string(body[:min(len(body), 4*most)])), "\n")
	if len(line) > most {
		line = line[:most]
		for !utf8.ValidString(line) && len(line) > most-utf8.UTFMax {
			line = line[:len(line)-1]
		}
		line += "…"
	}
	return strings.TrimSpace(line)
}

// checkName refuses what is no name: it must not become another path.
func checkName(name string) *Error {
	if !ValidName(name) {
		return Errorf(CodeUsage, "%.70q cannot be a credential's name", name).
			WithHint("a name has up to 64 letters, digits, - and _, and begins with a letter or digit")
	}
	return nil
}

// param is a duration in a query string; one that is nil is left out.
type param struct {
	key   string
	value *time.Duration
}

func query(params ...param) string {
	q, sep := "", "?"
	for _, p := range params {
		if p.value != nil {
			// "us" is the one unit that needs no escaping.
			q += sep + p.key + "=" + strings.Replace(p.value.String(), "µ", "u", 1)
			sep = "&"
		}
	}
	return q
}
