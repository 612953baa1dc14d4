package main

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"

	"github.com/tokend-project/tokend/daemon/api"
)

// format is one way to print a token.
type format struct {
	name  string
	print func(*call, *api.Token) error
}

func formats() []format {
	return []format{
		{"token", (*call).printToken},
		{"header", (*call).printHeaders},
		{"json", (*call).printJSON},
		{"curl", (*call).printCurl},
		{"env", (*call).printEnv},
		{"exec-credential", (*call).printExecCredential},
	}
}

func findFormat(name string) (func(*call, *api.Token) error, error) {
	var known []string
	for _, f := range formats() {
		if f.name == name {
			return f.print, nil
		}
		known = append(known, f.name)
	}
	return nil, usagef("tokenctl get --help", "unknown format %q%s; there are %s", name, didYouMean(name, known, quoted), strings.Join(known, ", "))
}

func (c *call) printToken(t *api.Token) error {
	if err := fitForLines(t); err != nil {
		return err
	}
	c.out.WriteString(t.Token + "\n")
	return nil
}

// control says of a character that it is none to print. A tab is harmless, and may be
// in the value of a header (RFC 9110, section 5.5).
func control(r rune) bool { return unicode.IsControl(r) && r != '\t' }

// fitForLines refuses a token that would be more than one line to whoever reads it,
// or drive the terminal that it is printed on.
func fitForLines(t *api.Token) error {
	if strings.ContainsFunc(t.Token, control) {
		return api.Errorf(api.CodeInternal, "the token has a line break or another control character").
			For(t.Name).WithHint("-o json prints it as JSON")
	}
	return nil
}

func (c *call) printJSON(*api.Token) error {
	c.printRaw()
	return nil
}

// headers are those of the token, as lines without their end. A line break within
// one would be another header to whoever reads the lines.
func headers(t *api.Token) ([]string, error) {
	if len(t.Headers) == 0 {
		return nil, api.Errorf(api.CodeInternal, "the daemon's answer has no headers").For(t.Name)
	}
	var lines []string
	for _, h := range t.Headers {
		if strings.ContainsFunc(h.Name+h.Value, control) {
			return nil, api.Errorf(api.CodeInternal, "the daemon's answer has a header with a line break or another control character").For(t.Name)
		}
		lines = append(lines, h.Name+": "+h.Value)
	}
	return lines, nil
}

func (c *call) printHeaders(t *api.Token) error {
	lines, err := headers(t)
	for _, line := range lines {
		c.out.WriteString(line + "\n")
	}
	return err
}

// printCurl prints a config file of curl, whose quoted values know \\ and \" among
// others, curl(1) at --config.
func (c *call) printCurl(t *api.Token) error {
	lines, err := headers(t)
	for _, line := range lines {
		c.out.WriteString(`header = "` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(line) + "\"\n")
	}
	return err
}

// printEnv prints an assignment that a shell, and systemd's EnvironmentFile=, read
// as it is meant.
func (c *call) printEnv(t *api.Token) error {
	name, err := variable(t.Name)
	if err != nil {
		return err
	}
	if err := fitForLines(t); err != nil {
		return err
	}
	c.out.WriteString(name + "=" + shellQuoted(t.Token) + "\n")
	return nil
}

// shellQuoted is the text as one word of a POSIX shell. What needs no quotes gets
// none, for the readers of such files that know no quotes, as docker's --env-file.
func shellQuoted(text string) string {
	const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.+/=:,@%"
	if text != "" && strings.Trim(text, plain) == "" {
		return text
	}
	return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'"
}

// printExecCredential prints what kubectl and the other clients of Kubernetes read
// from an exec plugin: version v1 of client.authentication.k8s.io.
func (c *call) printExecCredential(t *api.Token) error {
	type status struct {
		Expires time.Time `json:"expirationTimestamp,omitzero"`
		Token   string    `json:"token"`
	}
	text, err := json.Marshal(struct {
		Version string `json:"apiVersion"`
		Kind    string `json:"kind"`
		Status  status `json:"status"`
	}{"client.authentication.k8s.io/v1", "ExecCredential", status{t.ExpiresAt.UTC(), t.Token}})
	if err != nil {
		return api.Errorf(api.CodeInternal, "encoding the credential: %v", err)
	}
	c.out.Write(append(text, '\n'))
	return nil
}
