package server

import (
	"strings"
	"testing"
)

func TestUnchanged(t *testing.T) {
	const etag = `"9f86d081884c7d65.1700000000"`
	for _, tt := range []struct {
		header string
		want   bool
	}{
		{"", false},
		{"*", true},
		{" * ", true},
		{etag, true},
		{"W/" + etag, true},
		{`"other", ` + etag, true},
		{`W/"other",W/` + etag, true},
		{`"a,b" , , ` + etag, true},
		{`"other"`, false},
		{`"other", *`, false},
		{"9f86d081884c7d65.1700000000", false},
		{`"9f86d081884c7d65.1700000000`, false},
		{`"9f86d081884c7d65"`, false},
		{`w/` + etag, false},
		{`x ` + etag, false},
		{`"` + etag, false},
	} {
		if got := unchanged([]string{tt.header}, etag); got != tt.want {
			t.Errorf("%s: got %v", tt.header, got)
		}
	}
	if unchanged(nil, etag) {
		t.Error("no header: got true")
	}
	if !unchanged([]string{`"other"`, etag}, etag) {
		t.Error("the second of two headers: got false")
	}
}

func TestWantsText(t *testing.T) {
	for _, tt := range []struct {
		header string
		want   bool
	}{
		{"", false},
		{"*/*", false},
		{"application/json", false},
		{"text/plain", true},
		{"Text/Plain; charset=utf-8", true},
		{"text/plain, */*", true},
		{"*/*;q=0.1, text/plain", true},
		{"text/plain;q=0.5, */*", false},
		{"text/plain;q=0.5, application/*;q=0.6", false},
		{"text/plain, application/json", true},
		{"application/json, text/plain", false},
		{"application/json;q=0.9, text/plain", true},
		{"application/json, text/plain;q=0.9", false},
		{"text/plain;q=0", false},
		{"text/plain;q=0, */*", false},
		{"text/plain;q=oops", false},
		{"text/plain;q=NaN", false},
		{"text/html", false},
		{"text/plainer", false},
		{",,;;", false},
	} {
		if got := wantsText([]string{tt.header}); got != tt.want {
			t.Errorf("%q: got %v", tt.header, got)
		}
	}
	if wantsText(nil) {
		t.Error("no header: got true")
	}
	if !wantsText([]string{"application/json;q=0.1", "text/plain"}) {
		t.Error("two headers: got false")
	}
}

func FuzzUnchanged(f *testing.F) {
	f.Add(`W/"a", "b"`, "b")
	f.Add(`*`, "")
	f.Fuzz(func(t *testing.T, header, tag string) {
		if strings.Contains(tag, `"`) {
			return
		}
		etag := `"` + tag + `"`
		if unchanged([]string{header}, etag) && strings.TrimSpace(header) != "*" && !strings.Contains(header, etag) {
			t.Errorf("%s is not in %s", etag, header)
		}
		if !unchanged([]string{header, "W/" + etag}, etag) {
			t.Errorf("%s in a header of its own was not found beside %s", etag, header)
		}
	})
}

func FuzzWantsText(f *testing.F) {
	f.Add("text/plain;q=0.3, */*;q=0.2")
	f.Fuzz(func(t *testing.T, header string) {
		if wantsText([]string{header}) && !strings.Contains(strings.ToLower(header), "text/plain") {
			t.Errorf("text for %q", header)
		}
	})
}
