package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokend-project/tokend/daemon/access"
	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/providers"
)

// phone is a provider that asks for a code, which is 123456.
type phone struct{}

func (phone) Login(_ context.Context, a *providers.Answer) (providers.Token, error) {
	now := time.Now()
	if a == nil || a.Text.Reveal() != "123456" {
		return providers.Token{}, &providers.Challenge{Step: "VerificationCode", Prompt: "Expecting confirmation code", Expires: now.Add(time.Hour)}
	}
	return providers.Token{Value: providers.NewSecret("asked"), Issued: now, Expires: now.Add(time.Hour)}, nil
}

// TestAnswer asserts what becomes of answers, and that no part of one is in the log
// or goes back.
func TestAnswer(t *testing.T) {
	broker := credential(t, "broker", phone{})
	broker.Asks = true
	f := start(t, nil, broker)
	w := f.watch(t, 2000, "")
	for w.status().State != api.StateChallenge {
	}
	for _, tt := range []struct {
		uid    int
		body   string
		status int
	}{
		{1001, `{"answer":"123456"}`, 403},
		{2000, "", 400},
		{2000, "{}", 400},
		{2000, `{"answer":""}`, 400},
		{2000, `{"answer":" \n"}`, 400},
		{2000, `{"answer":123456}`, 400},
		{2000, `{"answer":"123456","again":"123456"}`, 400},
		{2000, `"123456"`, 400},
		{2000, `{"answer":"123456"`, 400},
		{2000, `{"answer":"999999"}`, 409},
		{2000, `{"answer":"123456"}`, 200},
		{2000, `{"answer":"123456"}`, 409}, // there is nothing to answer any more
	} {
		a := f.do(t, tt.uid, "POST", "/v1/credentials/broker/answer?wait=1m", tt.body)
		if a.StatusCode != tt.status || strings.Contains(a.body, "123456") {
			t.Errorf("%s as %d: %s %s", tt.body, tt.uid, a.Status, a.body)
		}
	}
	w.until("broker", "asked")
	for _, secret := range []string{"123456", "999999"} {
		if strings.Contains(f.logged.String()+f.counts.String(), secret) {
			t.Errorf("%s was logged: %s", secret, f.logged)
		}
	}
}

// TestClient has the public client answer, and watch what comes of it.
func TestClient(t *testing.T) {
	broker := credential(t, "broker", phone{})
	broker.Asks = true
	f := start(t, func(s *Server) {
		s.peerOf = access.PeerOf
		s.limits.beat = time.Millisecond
	}, broker)
	client := &api.Client{Sockets: []string{f.socket}}
	var told []api.State
	err := client.Watch(t.Context(), []string{"broker", "later"}, func(s api.Status) error {
		told = append(told, s.State)
		switch {
		case s.Name == "later" && s.State == api.StateRemoved:
		case s.State == api.StateChallenge:
			if _, err := client.Answer(t.Context(), "broker", "123456", new(time.Minute)); err != nil {
				return err
			}
		case s.Usable:
			go f.stop()
		}
		return nil
	})
	if e, ok := errors.AsType[*api.Error](err); !ok || e.Detail != f.socket+": tokend ended the watch" {
		t.Errorf("the watch ended with %v", err)
	}
	if !slices.Contains(told, api.StateRemoved) || !slices.Contains(told, api.StateChallenge) || told[len(told)-1] != api.StateFresh {
		t.Errorf("told %v", told)
	}
}
