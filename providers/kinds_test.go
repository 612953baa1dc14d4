package providers

import (
	"fmt"
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
	groups := map[string]bool{}
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
		switch {
		case key.Secret:
			settings.Secrets[key.Name] = NewSecret("some value")
		case !key.Late && !groups[key.Group]:
			settings.Values[key.Name] = "some value"
			groups[key.Group] = key.Group != ""
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
	if kind.Person != "" && !slices.ContainsFunc(kind.Keys, func(k Key) bool { return k.Name == kind.Person && k.Late }) {
		t.Errorf("%s: there is no late key %s", kind.Name, kind.Person)
	}
}

func TestGroups(t *testing.T) {
	kind := &Kind{Name: "testkind", Keys: []Key{{Name: "a", Group: "g"}, {Name: "b", Group: "g", Secret: true}, {Name: "c", Group: "h"}}}
	tests := []struct{ a, b, c, want string }{
		{"1", "", "1", "<nil>"},
		{"", "1", "1", "<nil>"},
		{"1", "1", "1", "b: given beside a, which stands for the same"},
		{"", "", "1", "a: missing, as are the keys that may stand for it"},
		{"1", "", "", "c: missing, as are the keys that may stand for it"},
	}
	for _, test := range tests {
		_, err := newCaller(kind, Settings{
			URL:     "https://api.example",
			Values:  map[string]string{"a": test.a, "c": test.c},
			Secrets: map[string]Secret{"b": NewSecret(test.b)},
		})
		if text := fmt.Sprint(err); text != test.want {
			t.Errorf("%+v: error is %s", test, text)
		}
	}
}
