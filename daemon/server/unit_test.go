package server

import (
	"errors"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tokend-project/tokend/daemon/access"
)

// units are those of the tests' callers, by uid; whoever is not in it has none to ask.
var units = map[uint32]func() (string, error){
	1001: func() (string, error) { return "shop.service", nil },
	5001: func() (string, error) { return "shop.service", nil },
	5002: func() (string, error) { return "user@5002.service", nil },
	5003: func() (string, error) { return "", nil },
	5004: func() (string, error) { return "", errors.New("the process that connected has exited") },
}

// inUnits gives the callers their units, and counts how often one is asked for.
func inUnits(asked *atomic.Int64) func(*Server) {
	return func(s *Server) {
		s.peerOf = func(c *net.UnixConn) (access.Peer, error) {
			p, err := claimed(c)
			if unit := units[p.UID]; unit != nil {
				p.Unit = func() (string, error) { asked.Add(1); return unit() }
			}
			return p, err
		}
	}
}

func TestUnits(t *testing.T) {
	var asked atomic.Int64
	a, b := credential(t, "a", tokens("one")), credential(t, "b", tokens("two"))
	b.Rules = rules(t, "unit:shop.service", "", "")
	f := start(t, inUnits(&asked), a, b)
	for uid, want := range map[int]string{
		5001: "",
		5002: "uid 5002, gid 5002, unit user@5002.service; no `allow` rule grants it",
		5003: "uid 5003, gid 5003, in no system unit; no `allow` rule grants it",
		5004: "uid 5004, gid 5004, of an unknown unit (the process that connected has exited); no `allow` rule grants it",
		5005: "uid 5005, gid 5005; no `allow` rule grants it",
	} {
		got := f.do(t, uid, "GET", "/v1/tokens/b", "")
		if want == "" {
			if got.StatusCode != 200 {
				t.Errorf("uid %d: %s %s", uid, got.Status, got.body)
			}
			continue
		}
		if p := got.problem(t); p.Status != 403 || p.Detail != "no right to read the token of b: the kernel knows you as "+want {
			t.Errorf("uid %d: %s %s", uid, got.Status, got.body)
		}
	}
	for uid, want := range map[int]string{
		5001: `"pid":77,"unit":"shop.service","grants":[{"name":"b","rights":["read"],"rule":"unit:shop.service"}]}`,
		5002: `"pid":77,"unit":"user@5002.service","grants":[]}`,
		5003: `"pid":77,"grants":[]}`,
		5004: `"pid":77,"grants":[]}`,
	} {
		if got := f.do(t, uid, "GET", "/v1/whoami", "").body; !strings.HasSuffix(got, want+"\n") {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

// Where no rule is about units, no call but whoami asks for one.
func TestUnits_notAsked(t *testing.T) {
	var asked atomic.Int64
	f := start(t, inUnits(&asked), credential(t, "a", tokens("one")))
	for _, uid := range []int{1001, 5001} {
		for _, path := range []string{"/v1/tokens/a", "/v1/credentials", "/v1/credentials/a", "/v1/watch?name=a", "/v1/health", "/metrics"} {
			if path == "/v1/watch?name=a" && uid == 1001 {
				continue // it has no end
			}
			f.do(t, uid, "GET", path, "")
		}
		f.do(t, uid, "POST", "/v1/credentials/a/drop", "")
		f.do(t, uid, "POST", "/v1/reload", "")
	}
	if n := asked.Load(); n != 0 {
		t.Errorf("units were looked up %d times", n)
	}
	f.do(t, 5001, "GET", "/v1/whoami", "")
	if n := asked.Load(); n != 1 {
		t.Errorf("whoami looked up %d units", n)
	}
}

// The kernel's own answer, about the process that runs this test.
func TestUnits_ofThisProcess(t *testing.T) {
	b := credential(t, "b", tokens("two"))
	b.Rules = rules(t, "unit:no-such-unit-as-this.service", "", "")
	f := start(t, func(s *Server) {
		s.peerOf = func(c *net.UnixConn) (access.Peer, error) {
			p, err := access.PeerOf(c)
			p.UID, p.Owner = 1001, false
			return p, err
		}
	}, b)
	detail := f.do(t, 1001, "GET", "/v1/tokens/b", "").problem(t).Detail
	cgroups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(detail, "unit") || strings.Contains(detail, "unknown unit") {
		t.Errorf("%s\nthough it is in\n%s", detail, cgroups)
	}
}
