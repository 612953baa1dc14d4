package server

import (
	"strconv"
	"strings"
)

// unchanged says whether one of the entity tags in If-None-Match is etag, compared
// weakly (RFC 9110, section 13.1.2): with or without W/.
func unchanged(headers []string, etag string) bool {
	for _, h := range headers {
		if h = strings.TrimSpace(h); h == "*" {
			return true
		}
		for h != "" {
			h = strings.TrimLeft(h, " \t,")
			h = strings.TrimPrefix(h, "W/")
			if !strings.HasPrefix(h, `"`) {
				break // not a list of entity tags: no tag is sure from here on
			}
			end := strings.IndexByte(h[1:], '"')
			if end < 0 {
				break
			}
			if h[:end+2] == etag {
				return true
			}
			h = h[end+2:]
		}
	}
	return false
}

// wantsText says whether Accept prefers text/plain to JSON (RFC 9110, section
// 12.5.1). Between equals the one named in full wins, then the one named first.
// Who accepts neither gets JSON.
func wantsText(headers []string) bool {
	if len(headers) == 0 {
		return false
	}
	text, json, wild := -1.0, -1.0, -1.0
	textFirst := false
	for item := range strings.SplitSeq(strings.Join(headers, ","), ",") {
		media, params, _ := strings.Cut(item, ";")
		q := quality(params)
		switch strings.ToLower(strings.TrimSpace(media)) {
		case "text/plain":
			text, textFirst = max(text, q), json < 0
		case "application/json":
			json = max(json, q)
		case "application/*", "*/*":
			wild = max(wild, q)
		}
	}
	if json < 0 { // not named
		return text > 0 && text >= wild
	}
	return text > 0 && (text > json || text == json && textFirst)
}

// quality is the q of a media range's parameters, 1 without one. One that makes no
// sense is 0: what it asks for is not clear.
func quality(params string) float64 {
	for p := range strings.SplitSeq(params, ";") {
		name, value, _ := strings.Cut(p, "=")
		if !strings.EqualFold(strings.TrimSpace(name), "q") {
			continue
		}
		q, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
		if err != nil || !(q >= 0 && q <= 1) {
			return 0
		}
		return q
	}
	return 1
}
