package providers

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestKinds(t *testing.T) {
	names := []string{}
	for _, kind := range Kinds() {
		names = append(names, kind.Name)
		if found, ok := Lookup(kind.Name); !ok || found != kind {
			t.Errorf("%s is not found", kind.Name)
		}
		checkKind(t, kind)
	}
	if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("kinds are %v", names)
	}
	if _, ok := Lookup("Finam"); ok {
		t.Error("names are found in any case")
	}
	Kinds()[0] = nil
	if Kinds()[0] == nil {
		t.Error("the table can be changed")
	}
}

// checkKind holds for every row of the table.
func checkKind(t *testing.T, kind *Kind) {
	if kind.Help == "" || kind.RenewAt < 0.1 || kind.RenewAt > 0.95 || kind.Logins < 1 || kind.New == nil || len(kind.Headers) == 0 {
		t.Errorf("%s is incomplete", kind.Name)
	}
	settings := Settings{URL: kind.URL, Values: map[string]string{}, Secrets: map[string]Secret{}}
	if settings.URL == "" {
		if _, err := kind.New(settings); err == nil || !strings.HasPrefix(err.Error(), "url: ") {
			t.Errorf("%s without its url gives %v", kind.Name, err)
		}
		settings.URL = "https://api.example/base"
	}
	name := regexp.MustCompile(`^[a-z][a-z_]*$`)
	placeholders := []string{"token"}
	for _, key := range kind.Keys {
		placeholders = append(placeholders, key.Name)
		if !name.MatchString(key.Name) || key.Help == "" {
			t.Errorf("%s: key %+v", kind.Name, key)
		}
		if key.Required {
			if _, err := kind.New(settings); err == nil || err.Error() != key.Name+": missing" {
				t.Errorf("%s without %s gives %v", kind.Name, key.Name, err)
			}
		}
		if key.Secret {
			settings.Secrets[key.Name] = NewSecret("some value")
		} else {
			settings.Values[key.Name] = "some value"
		}
	}
	if _, err := kind.New(settings); err != nil {
		t.Errorf("%s: %v", kind.Name, err)
	}
	for _, header := range kind.Headers {
		for _, hole := range regexp.MustCompile(`\{([^}]*)\}`).FindAllStringSubmatch(header.Format, -1) {
			if !slices.Contains(placeholders, hole[1]) {
				t.Errorf("%s: header %s has {%s}", kind.Name, header.Name, hole[1])
			}
		}
	}
}
