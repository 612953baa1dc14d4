package providers

import "slices"

// kinds is the table of kinds: a new provider adds one line.
var kinds = []*Kind{
	etnaKind.made(newEtna),
	finamKind.made(newFinam),
	noventiqKind.made(newNoventiq),
	simplejwtKind.made(newSimpleJWT),
}

// made completes a kind. New cannot be part of the value, since providers read it.
func (k Kind) made(provider func(*caller) (Provider, error)) *Kind {
	whole := k
	whole.New = func(settings Settings) (Provider, error) {
		c, err := newCaller(&k, settings)
		if err != nil {
			return nil, err
		}
		return provider(c)
	}
	return &whole
}

// Kinds returns every kind of login endpoint that tokend knows, in alphabetical
// order. The kinds are shared: nobody changes them.
func Kinds() []*Kind { return slices.Clone(kinds) }

// Lookup finds a kind by the name that the credentials file gives it.
func Lookup(name string) (*Kind, bool) {
	for _, kind := range kinds {
		if kind.Name == name {
			return kind, true
		}
	}
	return nil, false
}
