package config

import (
	"strings"
	"testing"
)

// TestProxyEnvironment: what Go would take for no proxy at all is found before a
// request goes out without one.
func TestProxyEnvironment(t *testing.T) {
	const bad = "HTTPS_PROXY in tokend's environment is not the URL of a proxy, and requests might go without one: write it as http://HOST:PORT, or unset it"
	for _, tt := range []struct{ name, value, problem, warning string }{
		{"HTTPS_PROXY", "http://bob:hush-1@proxy.example:3128", "", ""},
		{"HTTPS_PROXY", "proxy.example:3128", "", ""},
		{"HTTPS_PROXY", "socks5://[::1]:1080/", "", ""},
		{"HTTPS_PROXY", "http://bob:hush-%zz@proxy.example", bad, ""},
		{"HTTPS_PROXY", "http://[::1", bad, ""},
		{"HTTPS_PROXY", "http://proxy.example:hush-", bad, ""},
		{"HTTPS_PROXY", "https:proxy.example", bad, ""},
		{"HTTPS_PROXY", "hush- 1", bad, ""},
		{"https_proxy", "http://[::1", strings.Replace(bad, "HTTPS_PROXY", "https_proxy", 1), ""},
		{"HTTP_PROXY", "http://[::1", "", ""}, // no request would use it
		{"ALL_PROXY", "http://bob:hush-1@proxy.example", "", "ALL_PROXY in tokend's environment is not used: set HTTPS_PROXY, or proxy in the file"},
		{"all_proxy", "http://[::1", "", "all_proxy in tokend's environment is not used: set HTTPS_PROXY, or proxy in the file"},
	} {
		t.Run(tt.name+"="+strings.ReplaceAll(tt.value, "/", "|"), func(t *testing.T) {
			d := dir(t)
			t.Setenv("HTTP_PROXY", "")
			t.Setenv(tt.name, tt.value)
			l := loader(t, d, "[credentials.a]\nprovider = 'finam'\nsecret = 'hush-1'\n[credentials.b]\nprovider = 'finam'\nsecret = ' hush-1 '\nca_file = '@DIR@/ca.pem'\n")
			f, err := l.Load(t.Context())
			if got := ""; err != nil {
				got = strings.TrimPrefix(problemsOf(err, "|"), l.path+": ")
				if got != tt.problem+"|" {
					t.Errorf("Load: %s", got)
				}
			} else if tt.problem != "" || len(f.Warnings) != 0 && f.Warnings[0].Detail != tt.warning || (len(f.Warnings) == 0) != (tt.warning == "") {
				t.Errorf("Load finds nothing, and warns of %v", f.Warnings)
			}
			problems, warnings := l.check(t.Context())
			if len(problems) != 0 || len(warnings) != 0 && warnings[0].Detail != tt.problem+tt.warning || (len(warnings) == 0) != (tt.problem+tt.warning == "") {
				t.Errorf("check: %v, %v", problems, warnings)
			}
			// A proxy of one's own makes the environment's be of no account.
			write(t, l.path, "[defaults]\nproxy = 'none'\n[credentials.a]\nprovider = 'finam'\nsecret = 'hush-1'\n")
			l.lenient = false
			if f := load(t, l); len(f.Warnings) != 0 {
				t.Errorf("it warns of %v", f.Warnings)
			}
		})
	}
	t.Run("the first counts", func(t *testing.T) {
		l := loader(t, dir(t), "[credentials.a]\nprovider = 'finam'\nsecret = 'hush-1'\n")
		t.Setenv("HTTPS_PROXY", "http://proxy.example")
		t.Setenv("https_proxy", "http://[::1")
		load(t, l)
	})
}
