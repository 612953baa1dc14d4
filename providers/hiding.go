package providers

import "context"

// hidingKey is the key of what a context hides.
type hidingKey struct{}

// Hiding returns a context for Login and Refresh in whose errors these secrets do not
// show, should the provider repeat them: the tokens of before, which a server may name
// that is asked for others, and which a provider does not remember.
func Hiding(ctx context.Context, secrets ...Secret) context.Context {
	return context.WithValue(ctx, hidingKey{}, secrets)
}

// hiding is what the context hides.
func hiding(ctx context.Context) []Secret {
	secrets, _ := ctx.Value(hidingKey{}).([]Secret)
	return secrets
}
