package config

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/tokend-project/tokend/packaging/man"
	"github.com/tokend-project/tokend/providers"
)

// row is what the man page says of a key: what its value is, and what for.
type row struct{ value, text string }

// settingPage has a row for every key of settingTable.
func settingPage() map[string]row {
	const rules = `["RULE"]`
	return map[string]row{
		"url":     {`"URL"`, "the base to which the provider's paths are appended: https, or http to a loopback address; without user, query and fragment"},
		"allow":   {rules, "who may read the token; includes seeing the status"},
		"operate": {rules, "who may renew, retry, answer and drop; includes seeing the status, not reading. In [defaults] also: reload"},
		"observe": {rules, "who may see the status. In [defaults] also: the metrics"},
		"mode":    {`"eager" | "lazy"`, "whether there is always a token, or it is renewed ahead only if somebody read during the present token's life; eager if not given"},
		"renew_at": {"FRACTION", fmt.Sprintf("the part of the lifetime after which to renew, from %v to %v; jitter only makes it earlier, by a tenth of the lifetime at most. Each provider has its own if not given",
			minRenewAt, maxRenewAt)},
		"ttl":     {`"DURATION"`, "the lifetime to assume when the provider states none, and a cap when it does"},
		"header":  {`"NAME: VALUE" | ["NAME: VALUE"]`, "how callers use the token; {token} stands for it, and the name of a key in braces for its value. Each provider has its own if not given"},
		"timeout": {`"DURATION"`, fmt.Sprintf("of one request, from %s to %s; %s if not given", brief(minTimeout), brief(maxTimeout), brief(defaultTimeout))},
		"ca_file": {`"FILE"`, "trust these certificates (PEM) and no others"},
		"proxy":   {`"URL" | "none"`, "the proxy of this credential, whose password is a secret: http, https, socks5 or socks5h; if not given, HTTPS_PROXY and NO_PROXY of the daemon's environment decide"},
	}
}

// sourcePage has a row for every source.
func sourcePage() map[string]row {
	return map[string]row{
		fromFile:       {`"FILE"`, "its absolute path; watched like the credentials file, and with the same permissions"},
		fromCredential: {`"NAME"`, "a systemd credential of the daemon's unit, that is, $CREDENTIALS_DIRECTORY/NAME"},
		fromCommand: {`["PROGRAM", "ARGUMENT"]`, fmt.Sprintf("what the program prints, %s at most; it runs without a shell, for %s at most, with %s alone of the daemon's environment",
			size(maxSecret), brief(commandTime), list(commandEnv[:]))},
		fromEnv:  {`"VARIABLE"`, "of the daemon's environment"},
		fromTOTP: {`"KEY" | SOURCE`, "only for one-time codes: makes one of a key in base32 or an otpauth: URI, which may have a source in turn"},
	}
}

func TestManPage(t *testing.T) {
	settings, sources := settingPage(), sourcePage()
	var keys, from strings.Builder
	for _, s := range settingTable {
		r, ok := settings[s.name]
		if !ok {
			t.Errorf("the man page says nothing of the key %s", s.name)
		}
		text := r.text
		if !s.byDefault {
			text += ". Not in [defaults]"
		}
		keys.WriteString(keyItem(s.name, r.value, text))
		delete(settings, s.name)
	}
	for _, name := range sourceNames {
		from.WriteString(keyItem(name, sources[name].value, sources[name].text))
		delete(sources, name)
	}
	if len(settings)+len(sources) > 0 {
		t.Errorf("the man page has rows for what there is not: %v, %v", settings, sources)
	}
	var kinds strings.Builder
	for _, kind := range providers.Kinds() {
		kinds.WriteString(kindPage(kind))
	}
	man.Check(t, "tokend-credentials.5", map[string]string{"keys": keys.String(), "sources": from.String(), "providers": kinds.String()})
}

func keyItem(name, value, text string) string {
	return man.Item("Ic "+name+" = Ar "+strings.ReplaceAll(strings.ReplaceAll(man.Text(value), `"`, `\(dq`), " | ", ` \(ba `), man.Text(text)+".")
}

// kindPage is the section of one provider.
func kindPage(kind *providers.Kind) string {
	var b strings.Builder
	fmt.Fprintf(&b, ".Ss %s\n%s.\n", kind.Name, man.Text(kind.Help))
	if kind.URL != "" {
		fmt.Fprintf(&b, "The\n.Ic url\nis\n.Lk %s\nif not given, and part of the identity.\n", kind.URL)
	} else {
		b.WriteString("The\n.Ic url\nis required, and part of the identity.\n")
	}
	b.WriteString(".Bl -tag -width Ds\n")
	for _, k := range kind.Keys {
		value := `"TEXT"`
		if k.Secret || k.Late {
			value = "SOURCE"
		}
		b.WriteString(keyItem(k.Name, value, k.Help+marks(kind, k)))
	}
	b.WriteString(".El\n.Pp\nCallers send\n")
	for i, h := range kind.Headers {
		if i > 0 {
			b.WriteString("and\n")
		}
		end := ""
		if i == len(kind.Headers)-1 {
			end = " ."
		}
		fmt.Fprintf(&b, ".Ql %s%s\n", man.Text(h.Name+": "+h.Format), end)
	}
	fmt.Fprintf(&b, "A token is renewed after %v of its lifetime, with at most %d logins a minute.\n", kind.RenewAt, kind.Logins)
	return b.String()
}

// marks says what else is to know of a key.
func marks(kind *providers.Kind, k providers.Key) string {
	var words []string
	switch {
	case k.Group != "":
		others := slices.DeleteFunc(groupOf(kind, k.Group), func(name string) bool { return name == k.Name })
		words = append(words, "this or "+strings.Join(others, " or ")+" is required")
	case k.Required:
		words = append(words, "required")
	case k.Default != "":
		words = append(words, k.Default+" if not given")
	default:
		words = append(words, "optional")
	}
	if k.Secret {
		words = append(words, "secret")
	}
	if k.Late {
		words = append(words, "secret, read when it is needed, also totp")
	}
	if k.Identity {
		words = append(words, "part of the identity")
	}
	return " (" + strings.Join(words, "; ") + ")"
}
