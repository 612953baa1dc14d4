package main

import (
	"fmt"
	"net/http"
	"os"
	"strings"
)

// broken are credentials files with a secret (%s) in the midst of what is wrong.
var broken = []string{
	`%s`,
	`SECRET=%s`,
	`secret: %s`,
	"[credentials.x]\nprovider = \"finam\"\nsecret = %s",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\" x",
	"[credentials.x]\nprovider = \"finam\"\nsecret = '%s\nurl = 1",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"\"\"%s\nurl = 1",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"\\q%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"\x01%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"\xff%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nsecret = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = [\"%s\"]",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { file = \"%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { fil = \"%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { file = \"%s\", env = \"%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { env = \"%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { env = \"-%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { credential = \"%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { credential = \"/%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { totp = \"%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { command = \"%s\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { command = [\"%s\", 1] }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { command = [\"./%s\"] }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nurl = \"https://user:%s@example.com\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nurl = \"https://example.com/?key=%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nurl = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nurl = \"https://example.com:%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nproxy = \"http://user:%s@\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nproxy = \"ftp://user:%s@example.com\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nproxy = \"http://us er:%s@example.com\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nheader = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nheader = \"X-Key: %s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nheader = \"X-Key: {%s}\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nheader = [\"X: {secret} {token}\", 7]",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\ntimeout = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nmode = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nrenew_at = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nca_file = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nttl = \"%s\"\nallow = \"%s\"",
	"[credentials.x]\nprovider = \"etna\"\nurl = \"https://example.com\"\nusername = \"u\"\npassword = \"%s\u00e9\"\napp_key = \"%s\\n\"",
	"[credentials.x]\nprovider = \"etna\"\nurl = \"https://example.com\"\nusername = \"u\"\npassword = \"%s\"\napp_key = \"{token}%s\"",
	"[credentials.x]\nprovider = \"etna\"\nurl = \"https://example.com\"\nusername = \"u\"\npassword = \"%s\"\napp_key = \"a\"\ncode = { totp = \"1%s\" }",
	"[credentials.x]\nprovider = \"etna\"\nurl = \"https://example.com\"\nusername = \"u\"\npassword = \"%s\"\napp_key = \"a\"\ncode = { totp = \"otpauth://hotp/x?secret=%s\" }",
	"[credentials.x]\nprovider = \"etna\"\nurl = \"https://example.com\"\nusername = \"u\"\npassword = \"%s\"\napp_key = \"a\"\ncode = { totp = { totp = \"%s\" } }",
	"[credentials.x]\nprovider = \"etna\"\nurl = \"https://example.com\"\nusername = \"u\"\npassword = \"%s\"\napp_key = \"a\"\npin = [\"%s\"]\ncode = 1",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\n[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { file = \"OPEN\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = { file = \"BYTES\" }",
	"[credentials.x]\nprovider = \"finam\"\nsecret = \"%s\"\nca_file = \"BYTES\"",
}

// breakFiles puts every broken file in the place of the good one, and it back at last.
func (v *vault) breakFiles() {
	v.t.Helper()
	good, err := os.ReadFile(v.path("credentials.toml"))
	v.must(err)
	for nth, text := range broken {
		secret := v.plant(fmt.Sprint("the secret of broken file ", nth))[:16] // a word
		v.write("given/bytes", "\xff"+secret)
		v.write("given/open", secret+"\n")
		v.must(os.Chmod(v.path("given/open"), 0o644))
		v.write("credentials.toml", strings.NewReplacer("%s", secret, "OPEN", v.path("given/open"), "BYTES", v.path("given/bytes")).Replace(text))
		if status := v.ask(http.MethodPost, "/v1/reload"); status != http.StatusUnprocessableEntity {
			v.t.Errorf("broken file %d is answered with %d:\n%s", nth, status, text)
		}
		if nth%8 == 0 {
			v.ctl("11", "", "reload")
			v.ctl("0", "", "list") // warns
			v.exitsOtherwise()
		}
	}
	v.write("credentials.toml", string(good))
	v.ctl("0", "", "reload")
}
