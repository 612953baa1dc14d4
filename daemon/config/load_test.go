package config

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/keeper"
	"github.com/tokend-project/tokend/providers"
)

const good = `
[defaults]
allow   = ["user:0"]
operate = ["group:0"]
observe = ["everyone"]
mode    = "lazy"
timeout = "3s"
renew_at = 0.5

[credentials.finam]
provider = "finam"
secret   = { file = "@DIR@/secret" }

[credentials.exchanger]
provider = "simplejwt"
url      = "https://Exchanger.example.com:443/api/"
email    = "ops@example.com"
password = "hush-inline"
allow    = []
operate  = ["user:1", "user:2"]
mode     = "eager"
renew_at = 0.6
timeout  = "1m30s"
ttl      = "2h"
header   = ["X-Token: {token} of {email}", "X-Other: 1"]
proxy    = "http://bob:hush-proxy@proxy.example:3128"
ca_file  = "@DIR@/ca.pem"

[credentials.broker]
provider = "etna"
url      = "http://[::1]:8080"
app_key  = { file = "@DIR@/other" }
username = "alice"
password = { file = "@DIR@/secret" }
`

// find is the credential of that name.
func find(t *testing.T, f *File, name string) *keeper.Credential {
	t.Helper()
	for _, c := range f.Credentials {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no credential %s", name)
	return nil
}

func made(t *testing.T, p providers.Provider) providers.Settings {
	t.Helper()
	made, ok := p.(fake)
	if !ok {
		t.Fatalf("the provider is a %T", p)
	}
	return made.Settings
}

func TestLoad(t *testing.T) {
	f := load(t, loader(t, dir(t), good))
	var names []string
	for _, c := range f.Credentials {
		names = append(names, c.Name)
	}
	if want := []string{"broker", "exchanger", "finam"}; !reflect.DeepEqual(names, want) {
		t.Fatalf("credentials %v, want %v", names, want)
	}
	exchanger, finam, broker := find(t, f, "exchanger"), find(t, f, "finam"), find(t, f, "broker")
	e, n, b := made(t, exchanger.Provider), made(t, finam.Provider), made(t, broker.Provider)
	for _, tt := range []struct {
		what      string
		got, want any
	}{
		{"daemon", fmt.Sprint(f.Daemon), "{[] [group:0] [everyone]}"},
		{"default rules", fmt.Sprint(finam.Rules), "{[user:0] [group:0] [everyone]}"},
		{"own rules", fmt.Sprint(exchanger.Rules), "{[] [user:1 user:2] [everyone]}"},
		{"default mode", finam.Lazy, true},
		{"own mode", exchanger.Lazy, false},
		{"default renew_at", finam.RenewAt, 0.5},
		{"own renew_at", exchanger.RenewAt, 0.6},
		{"default timeout", n.Timeout, 3 * time.Second},
		{"own timeout", e.Timeout, 90 * time.Second},
		{"no ttl", n.TTL, time.Duration(0)},
		{"own ttl", e.TTL, 2 * time.Hour},
		{"default url", n.URL, "https://api.finam.example"},
		{"own url", e.URL, "https://exchanger.example.com/api"},
		{"loopback url", b.URL, "http://[::1]:8080"},
		{"default host", finam.Host, "api.finam.example:443"},
		{"own host", exchanger.Host, "exchanger.example.com:443"},
		{"loopback host", broker.Host, "[::1]:8080"},
		{"default header", finam.Headers, []providers.Header{{Name: "Authorization", Format: "{token}"}}},
		{"own header", exchanger.Headers, []providers.Header{
			{Name: "X-Token", Format: "{token} of ops@example.com"}, {Name: "X-Other", Format: "1"},
		}},
		{"header with a key", broker.Headers, []providers.Header{
			{Name: "Authorization", Format: "Bearer {token}"}, {Name: "Et-App-Key", Format: marker + "other"},
		}},
		{"values", e.Values, map[string]string{"email": "ops@example.com", "username_field": "login"}},
		{"inline secret", e.Secrets["password"].Reveal(), marker + "inline"},
		{"file secret", n.Secrets["secret"].Reveal(), marker + "file"},
		{"file secret with CRLF", b.Secrets["app_key"].Reveal(), marker + "other"},
		{"no secret", b.Secrets["pin"].Reveal(), ""},
		{"kind", exchanger.Kind.Name, "simplejwt"},
		{"transport", e.Transport == nil || e.Transport == n.Transport, false},
		{"shared transport", n.Transport == b.Transport, true},
		{"inline needs no reread", exchanger.Reread == nil, true},
		{"file needs a reread", finam.Reread == nil, false},
		{"warnings", len(f.Warnings), 0},
	} {
		if !reflect.DeepEqual(tt.got, tt.want) {
			t.Errorf("%s: %v, want %v", tt.what, tt.got, tt.want)
		}
	}
}

// TestLoad_plain has nothing that is optional.
func TestLoad_plain(t *testing.T) {
	for _, text := range []string{
		"[credentials.finam]\nprovider = 'finam'\nsecret = 'hush-'\n",
		"[credentials]\nfinam = { provider = 'finam', secret = 'hush-' }",
		"credentials.finam.provider = 'finam'\ncredentials.finam.secret = 'hush-'",
		"\ufeff[credentials]\r\n[credentials.finam]\r\nprovider = 'finam'\r\nsecret = '''\r\nhush-\r\n'''\r\n",
		"[credentials . 'finam'] # it\n\"provider\" = \"finam\"\nsecret = \"\\u0068ush-\\n\"\n",
		"credentials = { finam = { provider = 'finam', secret = 'hush-', }, }",
	} {
		f := load(t, loader(t, dir(t), text))
		c := find(t, f, "finam")
		s := made(t, c.Provider)
		if s.Secrets["secret"].Reveal() != marker || s.Timeout != 15*time.Second || c.RenewAt != 0.75 || c.Lazy {
			t.Errorf("%q: %+v %+v", text, c, s)
		}
		if len(c.Rules.Allow)+len(c.Rules.Operate)+len(c.Rules.Observe) != 0 {
			t.Errorf("%q grants %v", text, c.Rules)
		}
	}
}

func TestLoad_none(t *testing.T) {
	for _, text := range []string{"[credentials]", "credentials = {}", "[defaults]\nmode = 'lazy'\n[credentials]\n"} {
		if f := load(t, loader(t, dir(t), text)); len(f.Credentials) != 0 {
			t.Errorf("%q: %v", text, f.Credentials)
		}
	}
}

// change replaces in good, and fails if there is nothing to replace.
func change(t *testing.T, from, to string) string {
	t.Helper()
	if !strings.Contains(good, from) {
		t.Fatalf("no %q in the file", from)
	}
	return strings.Replace(good, from, to, 1)
}

func TestLoad_sums(t *testing.T) {
	d := dir(t)
	before := load(t, loader(t, d, good))
	for _, tt := range []struct {
		name, from, to             string
		credential                 string
		identity, secrets, request bool // changed
	}{
		{"nothing", "[defaults]", "# x\n[defaults]", "exchanger", false, false, false},
		{"url", ".com:443/api/", ".com/v2", "exchanger", true, false, false},
		{"same url", "https://Exchanger.example.com:443/api/", "HTTPS://exchanger.EXAMPLE.com/api", "exchanger", false, false, false},
		{"identity key", "ops@", "dev@", "exchanger", true, false, false},
		{"other identity key", "email    =", "username =", "exchanger", true, false, false},
		{"secret", "hush-inline", "hush-changed", "exchanger", false, true, false},
		{"secret from elsewhere", `"hush-inline"`, `{ file = "@DIR@/secret" }`, "exchanger", false, true, false},
		{"same secret from elsewhere", `{ file = "@DIR@/secret" }`, `"hush-file"`, "finam", false, false, false},
		{"new secret", `"alice"`, "\"alice\"\npin = \"hush-pin\"", "broker", false, true, false},
		{"secret identity key", `{ file = "@DIR@/other" }`, `"hush-key"`, "broker", true, true, false},
		{"provider", `provider = "simplejwt"`, "provider = \"simplejwt\"\nusername_field = \"mail\"", "exchanger", false, false, true},
		{"proxy", "hush-proxy", "hush-changed", "exchanger", false, false, true},
		{"timeout", "1m30s", "1m", "exchanger", false, false, true},
		{"ttl", `"2h"`, `"1h"`, "exchanger", false, false, true},
		{"rules", `["user:1", "user:2"]`, `[]`, "exchanger", false, false, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := change(t, tt.from, tt.to)
			if strings.Contains(tt.to, "username =") {
				text = strings.Replace(text, "of {email}", "", 1)
			}
			after := load(t, loader(t, d, text))
			a, b := find(t, before, tt.credential), find(t, after, tt.credential)
			if got := a.Identity != b.Identity; got != tt.identity {
				t.Errorf("identity changed: %v", got)
			}
			if got := a.Secrets != b.Secrets; got != tt.secrets {
				t.Errorf("secrets changed: %v", got)
			}
			if got := a.Request != b.Request; got != tt.request {
				t.Errorf("request changed: %v", got)
			}
			if before.Sum == after.Sum {
				t.Error("the file's sum is the same")
			}
		})
	}
}

// TestLoad_order: what a credential is does not depend on where it stands.
func TestLoad_order(t *testing.T) {
	d := dir(t)
	blocks := strings.SplitAfter(good, "\n\n")
	one := load(t, loader(t, d, good))
	for shift := range len(blocks) {
		var text strings.Builder
		for i := range blocks {
			text.WriteString(blocks[(i*3+shift)%len(blocks)] + "\n")
		}
		other := load(t, loader(t, d, text.String()))
		for i, a := range one.Credentials {
			b := other.Credentials[i]
			if a.Name != b.Name || a.Identity != b.Identity || a.Secrets != b.Secrets || a.Request != b.Request ||
				!reflect.DeepEqual(a.Rules, b.Rules) || !reflect.DeepEqual(a.Headers, b.Headers) {
				t.Errorf("shift %d: %v and %v differ", shift, a.Name, b.Name)
			}
		}
	}
}

func TestLoad_sumOfFiles(t *testing.T) {
	d := dir(t)
	l := loader(t, d, good)
	sums := map[[sha256.Size]byte]string{load(t, l).Sum: "first"}
	if f := load(t, l); sums[f.Sum] == "" {
		t.Error("another sum without a change")
	}
	for _, tt := range [][2]string{{"secret", "hush-new"}, {"other", "hush-new"}, {"ca.pem", "\n"}} {
		old, err := os.ReadFile(filepath.Join(d, tt[0]))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(d, tt[0]), tt[1]+string(old))
		if f := load(t, l); sums[f.Sum] != "" {
			t.Errorf("%s changed, and the sum is that of %s", tt[0], sums[f.Sum])
		} else {
			sums[f.Sum] = tt[0]
		}
	}
}

// TestLoad_transports: connections of a proxy that is named no longer are closed.
func TestLoad_transports(t *testing.T) {
	d := dir(t)
	l := loader(t, d, good)
	transport := func(text string) any {
		write(t, l.path, strings.ReplaceAll(text, "@DIR@", d))
		return made(t, find(t, load(t, l), "exchanger").Provider).Transport
	}
	first := transport(good)
	if transport(good) != first {
		t.Error("an unchanged file brings a new transport")
	}
	transport(change(t, "hush-proxy", "hush-other"))
	if transport(good) == first {
		t.Error("the unused transport is still there")
	}
}

// TestCheck uses the providers that there are.
func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "credentials.toml")
	write(t, path, "[credentials.finam]\nprovider = \"finam\"\nsecret = \"hush-\"\n")
	if problems, warnings := Check(t.Context(), Options{Path: path}); len(problems)+len(warnings) != 0 {
		t.Errorf("%v, %v", problems, warnings)
	}
	write(t, path, "[credentials.finam]\nprovider = \"finam\"\n")
	if problems, _ := Check(t.Context(), Options{Path: path}); len(problems) != 1 || problems[0].Key != "credentials.finam.secret" {
		t.Errorf("%v", problems)
	}
}

func TestDigest(t *testing.T) {
	if digest(map[string]string{"a": "bc"}) == digest(map[string]string{"ab": "c"}) {
		t.Error("it does not tell where a name ends")
	}
}

func TestLoad_ended(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := loader(t, dir(t), good).Load(ctx); f != nil || !errors.Is(err, context.Canceled) {
		t.Errorf("Load: %v, %v", f, err)
	}
}

func TestLoad_warnings(t *testing.T) {
	d := dir(t)
	l := loader(t, d, strings.NewReplacer("/secret", "/blank", "/other", "/ca.pem").Replace(good)+`
[credentials.bom]
provider = "finam"
secret = { file = "@DIR@/bom" }
`)
	text, err := os.ReadFile(l.path)
	if err != nil {
		t.Fatal(err)
	}
	write(t, l.path, strings.Replace(string(text), `app_key  = { file = "`+d+`/ca.pem" }`, `app_key = "x"`, 1))
	var b strings.Builder
	for _, w := range load(t, l).Warnings {
		b.WriteString(w.String() + "\n")
	}
	want := strings.NewReplacer("FILE", l.path, "DIR", d).Replace(
		`FILE:12:21: credentials.finam.secret.file: DIR/blank: it ends with white space, which is sent as part of the secret
FILE:34:21: credentials.broker.password.file: DIR/blank: it ends with white space, which is sent as part of the secret
FILE:38:19: credentials.bom.secret.file: DIR/bom: it begins with a byte order mark, which is sent as part of the secret
`)
	if b.String() != want {
		t.Errorf("got:\n%swant:\n%s", &b, want)
	}
	problems, warnings := l.check(t.Context())
	if len(problems) != 0 || len(warnings) != 3 {
		t.Errorf("Check: %v, %v", problems, warnings)
	}
}

// TestShown prints all that Load returns, in every way that a log might.
func TestShown(t *testing.T) {
	l := loader(t, dir(t), good)
	f := load(t, l)
	var log bytes.Buffer
	logs := []*slog.Logger{slog.New(slog.NewTextHandler(&log, nil)), slog.New(slog.NewJSONHandler(&log, nil))}
	for _, v := range []any{f, *f, f.Credentials, l, find(t, f, "finam"), find(t, f, "exchanger"), find(t, f, "broker").Provider} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
			text := fmt.Sprintf(verb, v)
			if strings.Contains(text, marker) || strings.Contains(text, fmt.Sprintf("%x", marker)) {
				t.Errorf("%s of a %T shows a secret: %s", verb, v, text)
			}
		}
	}
	for _, log := range logs {
		log.Info("loaded", "provider", find(t, f, "exchanger").Provider)
	}
	if strings.Contains(log.String(), marker) {
		t.Errorf("the log shows a secret: %s", &log)
	}
}
