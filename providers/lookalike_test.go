package providers

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/pquerna/otp/totp"

	"github.com/tokend-project/tokend/providers/sandbox"
)

// The providers against the look-alikes: both were written from the documents, and
// neither from the other, so a misreading shows here.

// lookAlike is a sandbox server, whichever API it looks like.
type lookAlike interface {
	http.Handler
	Fail(n int, f sandbox.Fault)
	Sent(user string) (codes int, last string)
}

// system is one of the four, with settings that its look-alike takes.
type system struct {
	server   lookAlike
	settings Settings
	life     time.Duration // of its tokens
}

func systems() map[string]system {
	secret := NewSecret
	return map[string]system{
		"finam": {
			sandbox.New(sandbox.Finam{}), Settings{Secrets: map[string]Secret{"secret": secret("your-api-secret-key")}}, 15 * time.Minute,
		},
		"simplejwt": {sandbox.New(sandbox.SimpleJWT{}), Settings{
			Values: map[string]string{"email": "user@example.com"}, Secrets: map[string]Secret{"password": secret("1234")},
		}, time.Minute},
		"etna": {sandbox.New(sandbox.Etna{}), Settings{
			Values:  map[string]string{"username": "testusername"},
			Secrets: map[string]Secret{"app_key": secret("yourEttAppKey"), "password": secret("testpassword")},
		}, time.Hour},
		"noventiq": {sandbox.New(sandbox.Noventiq{}), Settings{
			Values: map[string]string{"username": "user"}, Secrets: map[string]Secret{"password": secret("1234")},
		}, 24 * time.Hour},
	}
}

// connect makes the provider of the kind, with the look-alike as its API.
func (s system) connect(t *testing.T, kind string) Provider {
	t.Helper()
	api := httptest.NewServer(s.server)
	t.Cleanup(api.Close)
	s.settings.URL = api.URL
	k, ok := Lookup(kind)
	if !ok {
		t.Fatalf("no kind %q", kind)
	}
	p, err := k.New(s.settings)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantClass checks that a login or refresh failed as the class.
func wantClass(t *testing.T, err error, want Class) {
	t.Helper()
	if e, ok := errors.AsType[*Error](err); !ok || e.Class != want {
		t.Errorf("got %v, want %v", err, want)
	}
}

func TestLookAlikesGrantTokens(t *testing.T) {
	for kind, s := range systems() {
		t.Run(kind, func(t *testing.T) {
			p := s.connect(t, kind)
			token, err := Login(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			if off := (time.Until(token.Expires) - s.life).Abs(); off > 5*time.Second {
				t.Errorf("the token lives %v, want %v", time.Until(token.Expires), s.life)
			}
			again, err := Login(t.Context(), p, nil)
			if err != nil || again.Value.Equal(token.Value) {
				t.Errorf("the second login: %v", err)
			}
		})
	}
}

// Each fault, of which every API knows the same, and the class that it is.
func TestLookAlikesFail(t *testing.T) {
	for name, row := range map[string]struct {
		fault sandbox.Fault
		class Class
	}{
		"500":           {sandbox.Fault{Status: 500}, Transient},
		"503":           {sandbox.Fault{Status: 503}, Transient},
		"busy":          {sandbox.Fault{Status: 503, RetryAfter: "7"}, Throttled},
		"504":           {sandbox.Fault{Status: 504}, Transient},
		"bad gateway":   {sandbox.Fault{HTML: true}, Transient},
		"firewall":      {sandbox.Fault{HTML: true, Status: 403}, Blocked},
		"empty":         {sandbox.Fault{Empty: true, Status: 200}, Malformed},
		"truncated":     {sandbox.Fault{Truncated: true}, Malformed},
		"redirect":      {sandbox.Fault{Location: "https://elsewhere.example.com/"}, Misconfigured},
		"dropped":       {sandbox.Fault{Drop: true}, Transient},
		"dropped late":  {sandbox.Fault{Drop: true, Late: true}, Transient},
		"other message": {sandbox.Fault{Body: `{"ok":true}`}, Malformed},
	} {
		for kind, s := range systems() {
			t.Run(kind+"/"+name, func(t *testing.T) {
				p := s.connect(t, kind)
				s.server.Fail(1, row.fault)
				_, err := Login(t.Context(), p, nil)
				wantClass(t, err, row.class)
				if _, err := Login(t.Context(), p, nil); err != nil {
					t.Errorf("afterwards: %v", err)
				}
			})
		}
	}
}

func TestLookAlikesRefuseWrongSecrets(t *testing.T) {
	for kind, s := range systems() {
		for key := range s.settings.Secrets {
			t.Run(kind+"/"+key, func(t *testing.T) {
				s := systems()[kind]
				s.settings.Secrets[key] = NewSecret("wrong")
				want := Refused
				if key == "app_key" {
					want = Misconfigured
				}
				_, err := Login(t.Context(), s.connect(t, kind), nil)
				wantClass(t, err, want)
			})
		}
	}
}

func TestLookAlikeRefreshes(t *testing.T) {
	for name, row := range map[string]struct {
		knobs sandbox.SimpleJWT
		keeps bool // the refresh token
		spent Class
	}{
		"kept":        {sandbox.SimpleJWT{}, true, 0},
		"rotated":     {sandbox.SimpleJWT{Rotate: true}, false, 0},
		"blacklisted": {sandbox.SimpleJWT{Rotate: true, Blacklist: true}, false, RefreshRefused},
	} {
		t.Run(name, func(t *testing.T) {
			s := systems()["simplejwt"]
			s.server = sandbox.New(row.knobs)
			p := s.connect(t, "simplejwt").(Refresher)
			first, err := Login(t.Context(), p, nil)
			if err != nil || first.Refresh.Empty() {
				t.Fatalf("login: %v", err)
			}
			second, err := Refresh(t.Context(), p, first)
			if err != nil || second.Refresh.Empty() != row.keeps {
				t.Fatalf("refresh: %v, another refresh token %v", err, !second.Refresh.Empty())
			}
			_, err = Refresh(t.Context(), p, first)
			if row.spent == 0 && err != nil {
				t.Errorf("refreshing again: %v", err)
			} else if row.spent != 0 {
				wantClass(t, err, row.spent)
			}
		})
	}
}

func TestLookAlikeWithoutRefresh(t *testing.T) {
	s := systems()["simplejwt"]
	s.server = sandbox.New(sandbox.SimpleJWT{NoRefresh: true})
	p := s.connect(t, "simplejwt").(Refresher)
	first, err := Login(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Refresh(t.Context(), p, first)
	wantClass(t, err, NoRefresh)
}

// broker is an etna with this owner.
func broker(owner sandbox.EtnaUser) system {
	s := systems()["etna"]
	owner.Password = "testpassword"
	s.server = sandbox.New(sandbox.Etna{Users: map[string]sandbox.EtnaUser{"testusername": owner}})
	return s
}

func TestLookAlikeAsksAPerson(t *testing.T) {
	s := broker(sandbox.EtnaUser{TwoFactor: true, Pin: "4321"})
	s.settings.Secrets["pin"] = NewSecret("4321")
	p := s.connect(t, "etna")
	answer := func(c *Challenge, text string) (Token, *Challenge) {
		t.Helper()
		token, err := Login(t.Context(), p, &Answer{Challenge: *c, Text: NewSecret(text)})
		next, ok := errors.AsType[*Challenge](err)
		if err != nil && !ok {
			t.Fatal(err)
		}
		return token, next
	}
	_, err := Login(t.Context(), p, nil)
	challenge, ok := errors.AsType[*Challenge](err)
	if !ok || challenge.Step != "VerificationCode" {
		t.Fatalf("the first step: %v", err)
	}
	codes, code := s.server.Sent("testusername")
	_, again := answer(challenge, "no-code")
	if again == nil {
		t.Fatal("a wrong code was taken")
	}
	token, _ := answer(again, code)
	if off := (time.Until(token.Expires) - 24*time.Hour).Abs(); off > 5*time.Second || codes != 1 {
		t.Errorf("%d codes, and the token lives %v", codes, time.Until(token.Expires))
	}
}

func TestLookAlikeTakesConfiguredAnswers(t *testing.T) {
	const seed = "JBSWY3DPEHPK3PXP"
	owner := sandbox.EtnaUser{TwoFactor: true, TOTP: seed, Pin: "4321"}
	s := broker(owner)
	s.settings.Secrets["pin"] = NewSecret("4321")
	s.settings.Late = map[string]Source{"code": func(_ context.Context, at time.Time) (Secret, error) {
		code, err := totp.GenerateCode(seed, at)
		return NewSecret(code), err
	}}
	if _, err := Login(t.Context(), s.connect(t, "etna"), nil); err != nil {
		t.Errorf("with the right answers: %v", err)
	}
	for name, spoil := range map[string]func(*system){
		"pin": func(s *system) { s.settings.Secrets["pin"] = NewSecret("1111") },
		"code": func(s *system) {
			s.settings.Late["code"] = func(context.Context, time.Time) (Secret, error) {
				return NewSecret("000000"), nil
			}
		},
	} {
		wrong := broker(owner)
		wrong.settings.Secrets["pin"], wrong.settings.Late = s.settings.Secrets["pin"], map[string]Source{"code": s.settings.Late["code"]}
		spoil(&wrong)
		_, err := Login(t.Context(), wrong.connect(t, "etna"), nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Class != Refused {
			t.Errorf("a wrong %s: %v", name, err)
		}
	}
}

func TestLookAlikeWantsItsOwnerToActElsewhere(t *testing.T) {
	for name, owner := range map[string]sandbox.EtnaUser{"expired password": {Expired: true}, "pin not set": {NoPin: true}} {
		_, err := Login(t.Context(), broker(owner).connect(t, "etna"), nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Class != Refused {
			t.Errorf("%s: %v", name, err)
		}
	}
}
