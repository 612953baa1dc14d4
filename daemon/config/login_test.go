package config

import (
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/tokend-project/tokend/providers"
	"github.com/tokend-project/tokend/providers/sandbox"
)

// TestLogin goes all the way from a file to a token, with a PIN and one-time codes
// that a server checks whose clock is wrong.
func TestLogin(t *testing.T) {
	etna := sandbox.New(sandbox.Etna{Users: map[string]sandbox.EtnaUser{
		"alice": {Password: marker + "cred1", TwoFactor: true, TOTP: seed, Pin: "4321"},
	}})
	etna.Skew(-time.Hour)
	server := httptest.NewServer(etna)
	t.Cleanup(server.Close)
	d := dir(t)
	write(t, filepath.Join(d, "pin"), "4321\n")
	l := loader(t, d, `[credentials.broker]
provider = "etna"
url = "`+server.URL+`"
app_key = "yourEttAppKey"
username = "alice"
password = { credential = "secret" }
pin = { file = "@DIR@/pin" }
code = { totp = { command = ["cat", "@DIR@/seed"] } }
`)
	l.kinds = providers.Kinds()
	c := find(t, load(t, l), "broker")
	token, err := c.Provider.Login(t.Context(), nil)
	if err != nil || token.Value.Empty() {
		t.Errorf("%v", err)
	}
	if c.Asks {
		t.Error("a person is asked")
	}
}
