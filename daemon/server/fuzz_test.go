package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

// FuzzFind asserts that a call's path has one spelling: the one that its route and
// name make.
func FuzzFind(f *testing.F) {
	for _, s := range []string{"/v1/tokens/a", "/v1/credentials/b/renew", "/v1/credentials/../reload", "/v1%2freload", "//metrics", "/v1/tokens/%61", "http://tokend/v1/reload", "http://u@tokend/v1/reload", "*"} {
		f.Add(s)
	}
	methods := []string{"GET", "POST"}
	f.Fuzz(func(t *testing.T, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		r, name := find(u)
		if r == nil {
			return
		}
		if want := strings.Replace(r.path, "{name}", name, 1); u.EscapedPath() != want || u.Path != want {
			t.Errorf("%q is taken for %q", target, want)
		}
		if r.serve == nil || !slices.Contains(methods, r.method) {
			t.Errorf("%q: incomplete route %+v", target, r)
		}
	})
}

// FuzzQuery asserts that what a query is taken for is what net/url reads in it, and
// within the limits.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "min_ttl=30s&wait=10s", "&wait=0&", "wait=5m1ns", "wait=1s&wait=1s", "%77ait=1s", "wait=%zz", "wait=1s;min_ttl=1s", "name=a&name=b&name=a", "name=..", "name=%00", "wait=-1s", "wait=99999999999h", "x=1", "wait=%2B5s", "wait=1%"} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, query string, watch bool) {
		c := &call{
			route: token, demand: keeper.Demand{MinTTL: -1, Wait: defaultWait},
			r: &http.Request{URL: &url.URL{RawQuery: query}},
		}
		if watch {
			c.route = fixed["/v1/watch"]
		}
		if problem := c.query(); problem != nil {
			if problem.Code != api.CodeUsage || problem.Detail == "" || len(problem.Detail) > 600 || !utf8.ValidString(problem.Detail) {
				t.Errorf("%q: %+v", query, problem)
			}
			return
		}
		values, err := url.ParseQuery(query)
		if err != nil && !strings.Contains(query, ";") {
			t.Fatalf("%q is taken, and net/url says %v", query, err)
		}
		if !slices.Equal(c.watched, values["name"]) || slices.ContainsFunc(c.watched, func(n string) bool { return !api.ValidName(n) }) {
			t.Errorf("%q watches %q", query, c.watched)
		}
		same := func(key string, got, absent time.Duration) {
			want, err := time.ParseDuration(values.Get(key))
			if !values.Has(key) {
				want, err = absent, nil
			}
			if err != nil || got != want || len(values[key]) > 1 {
				t.Errorf("%q: %s is taken for %v, want %v (%v)", query, key, got, want, err)
			}
		}
		same("wait", c.demand.Wait, defaultWait)
		same("min_ttl", c.demand.MinTTL, -1)
		if c.demand.Wait < 0 || c.demand.Wait > longestWait {
			t.Errorf("%q waits %v", query, c.demand.Wait)
		}
	})
}

// FuzzMembers asserts that a body that is taken means the same to package json, and
// has each of its keys once.
func FuzzMembers(f *testing.F) {
	for _, s := range []string{
		"{}", `{"answer":"123456"}`, ` {"fingerprint" : "0123456789abcdef"} `, `{"answer":"a","answer":"b"}`, `{"Answer":"a"}`,
		`{"answer":null}`, `{"answer":7}`, `{"answer":[[[]]]}`, `{"answer":{"a":{}}}`, `{"answer":"\ud800"}`, `{"answer":"a",}`, `{"answer"`, `{} {}`, `{`, `{1:2}`, `{"\u0061nswer":"a"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 || text[0] != '{' {
			return // no object, and not asked
		}
		got, problem := members(text, []string{"answer", "fingerprint"})
		if problem != nil {
			if problem.Code != api.CodeUsage || problem.Detail == "" || len(problem.Detail) > 600 {
				t.Errorf("%q: %+v", text, problem)
			}
			return
		}
		var theirs map[string]string
		if err := json.Unmarshal(text, &theirs); err != nil || !maps.Equal(got, theirs) {
			t.Errorf("%q is taken for %q; package json: %q, %v", text, got, theirs, err)
		}
	})
}
