package server

import (
	"bytes"
	"context"
	"maps"
	"net/http"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

// cell finds the credential that the path names.
func (c *call) cell() (*keeper.Cell, *api.Error) {
	cell := c.server.Keeper.Cell(c.name)
	if cell == nil {
		return nil, api.Unknown(c.name)
	}
	c.credential = c.name
	return cell, nil
}

// permitted is cell for callers who have the right.
func (c *call) permitted(right access.Right, want string) *api.Error {
	cell, problem := c.cell()
	if problem != nil {
		return problem
	}
	return c.may(cell.Rules(), right, want+" "+c.name)
}

func (c *call) token() *api.Error {
	cell, problem := c.cell()
	if problem != nil {
		return problem
	}
	if problem := c.may(cell.Rules(), access.Read, "read the token of "+c.name); problem != nil {
		return problem
	}
	answer, problem := cell.Token(c.r.Context(), c.demand)
	if problem != nil {
		return problem
	}
	h := c.w.Header()
	h["Etag"] = []string{answer.ETag}
	h["Vary"] = varyAccept
	switch {
	case unchanged(c.r.Header["If-None-Match"], answer.ETag):
		h["Cache-Control"] = noStore
		c.answered = true
		c.w.WriteHeader(http.StatusNotModified)
	case wantsText(c.r.Header["Accept"]):
		c.send(http.StatusOK, typeText, answer.Text)
	default:
		c.send(http.StatusOK, typeJSON, answer.JSON)
	}
	c.count("ok")
	return nil
}

func (c *call) list() *api.Error {
	doc := api.Credentials{Credentials: []api.Status{}}
	for _, cell := range c.server.Keeper.Cells() {
		if allowed, _ := cell.Rules().Status(c.conn.peer); allowed {
			doc.Credentials = append(doc.Credentials, cell.Status())
		}
	}
	c.ok(doc)
	return nil
}

func (c *call) status() *api.Error {
	cell, problem := c.visible()
	if problem != nil {
		return problem
	}
	c.ok(cell.Status())
	return nil
}

// visible is cell for callers who may see the status.
func (c *call) visible() (*keeper.Cell, *api.Error) {
	cell, problem := c.cell()
	if problem != nil {
		return nil, problem
	}
	allowed, why := cell.Rules().Status(c.conn.peer)
	return cell, c.decided(allowed, why, "see the status of "+c.name)
}

// fingerprints are what a reader may report: anything else would be taken for a
// token that is no longer current, and the complaint would be lost.
var fingerprints = regexp.MustCompile(`^[0-9a-f]{16}$`)

func (c *call) renew() *api.Error {
	request, problem := c.body("fingerprint")
	if problem != nil {
		return problem
	}
	fingerprint, reported := request["fingerprint"]
	if !reported {
		return c.operate("renew", c.server.Keeper.Renew)
	}
	// An empty one is a mistake, and not an operator's wish.
	if !fingerprints.MatchString(fingerprint) {
		return api.Errorf(api.CodeUsage, "the fingerprint is not 16 hex digits in lower case, the first of the token's SHA-256")
	}
	if problem := c.permitted(access.Read, "report the token of"); problem != nil {
		return problem
	}
	return c.outcome(c.server.Keeper.Report(c.r.Context(), c.name, fingerprint, c.demand.Wait))
}

func (c *call) retry() *api.Error { return c.plain("retry", c.server.Keeper.Retry) }

func (c *call) drop() *api.Error { return c.plain("drop", c.server.Keeper.Drop) }

func (c *call) answer() *api.Error {
	request, problem := c.body("answer")
	if problem != nil {
		return problem
	}
	text := request["answer"]
	switch {
	case strings.TrimSpace(text) == "":
		return api.Errorf(api.CodeUsage, "there is no answer in the body: write {\"answer\":\"CODE\"}")
	case strings.ContainsFunc(text, unfit):
		return api.Errorf(api.CodeUsage, "the answer has a control character, or one that is none")
	}
	return c.operate("answer", func(ctx context.Context, name string, wait time.Duration) (api.Status, *api.Error) {
		return c.server.Keeper.Answer(ctx, name, text, wait)
	})
}

// unfit says of a character that nobody was sent it: a wrong answer may cost the
// account one of few tries. U+FFFD is what package json makes of half a character.
func unfit(r rune) bool { return unicode.IsControl(r) || r == utf8.RuneError }

// action is one of the keeper's operator verbs.
type action func(ctx context.Context, name string, wait time.Duration) (api.Status, *api.Error)

// plain is operate for calls whose body, if any, is empty.
func (c *call) plain(verb string, do action) *api.Error {
	if _, problem := c.body(); problem != nil {
		return problem
	}
	return c.operate(verb, do)
}

func (c *call) operate(verb string, do action) *api.Error {
	if problem := c.permitted(access.Operate, verb); problem != nil {
		return problem
	}
	return c.outcome(do(c.r.Context(), c.name, c.demand.Wait))
}

func (c *call) outcome(status api.Status, problem *api.Error) *api.Error {
	if problem != nil {
		return problem
	}
	c.ok(status)
	return nil
}

func (c *call) reload() *api.Error {
	if _, problem := c.body(); problem != nil {
		return problem
	}
	if problem := c.may(c.server.Daemon(), access.Operate, "reload (`[defaults]` alone decides)"); problem != nil {
		return problem
	}
	counts, problem := c.server.Reload(c.r.Context())
	if problem != nil {
		return problem
	}
	c.ok(counts)
	return nil
}

func (c *call) whoami() *api.Error {
	p := c.conn.peer
	doc := api.Whoami{
		UID: p.UID, User: new(access.Names).User(p.UID), GID: p.GID, GIDs: append([]uint32{p.GID}, p.Groups...), PID: p.PID,
		Grants: []api.Grant{},
	}
	if p.Unit != nil {
		doc.Unit, _ = p.Unit() // why it is not known, the refusal of a call says
	}
	for _, cell := range c.server.Keeper.Cells() {
		rights, rule := cell.Rules().Grants(p)
		if len(rights) == 0 {
			continue
		}
		grant := api.Grant{Name: cell.Name(), Rule: rule}
		for _, r := range rights {
			grant.Rights = append(grant.Rights, string(r))
		}
		doc.Grants = append(doc.Grants, grant)
	}
	c.ok(doc)
	return nil
}

func (c *call) health() *api.Error {
	c.ok(c.server.Health())
	return nil
}

func (c *call) metrics() *api.Error {
	if problem := c.may(c.server.Daemon(), access.Observe, "see metrics (`[defaults]` alone decides)"); problem != nil {
		return problem
	}
	p := page{header: http.Header{}, status: http.StatusOK}
	c.server.Metrics.ServeHTTP(&p, c.r)
	maps.Copy(c.w.Header(), p.header)
	contentType := p.header["Content-Type"]
	if contentType == nil {
		contentType = typeText
	}
	c.send(p.status, contentType, p.body.Bytes())
	c.count("ok")
	return nil
}

// page takes another handler's answer whole, so that its length is known.
type page struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header is the http.ResponseWriter's.
func (p *page) Header() http.Header { return p.header }

// WriteHeader is the http.ResponseWriter's.
func (p *page) WriteHeader(status int) { p.status = status }

// Write is the http.ResponseWriter's.
func (p *page) Write(b []byte) (int, error) { return p.body.Write(b) }
