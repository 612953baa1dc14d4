package sandbox

import (
	"context"
	"net/http"
	"strings"
	"testing"
)

func TestRun(t *testing.T) {
	server := New(Finam{})
	base, err := server.Listen()
	if err != nil {
		t.Fatal(err)
	}
	if again, err := server.Listen(); err != nil || again != base || !strings.HasPrefix(base, "http://127.0.0.1:") {
		t.Fatalf("Listen: %s, and then %s (%v)", base, again, err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if got := send(t.Context(), client, base, finamLogin()); got.status != 200 {
		t.Fatalf("login: %d %s (%v)", got.status, got.body, got.err)
	}
	server.Fail(1, Fault{Hold: make(chan struct{})})
	held := make(chan response, 1)
	go func() { held <- send(t.Context(), client, base, finamLogin()) }()
	if err := server.Wait(t.Context(), 2); err != nil {
		t.Fatal(err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("Run: %v", err)
	}
	if got := <-held; got.err == nil {
		t.Errorf("the held call was answered with %d", got.status)
	}
	if got := send(t.Context(), client, base, finamLogin()); got.err == nil {
		t.Errorf("after Run: %d", got.status)
	}
	next, err := server.Listen()
	if err != nil {
		t.Fatalf("Listen after Run: %v", err)
	}
	ended = make(chan error, 1)
	ctx, stop = context.WithCancel(t.Context())
	go func() { ended <- server.Run(ctx) }()
	if got := send(t.Context(), client, next, finamLogin()); got.status != 200 {
		t.Errorf("second run: %d (%v)", got.status, got.err)
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestRunWithoutListen(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if err := New(Noventiq{}).Run(ctx); err != nil {
		t.Error(err)
	}
}

func TestRunSaysThatItsPortIsGone(t *testing.T) {
	server := New(Noventiq{})
	if _, err := server.Listen(); err != nil {
		t.Fatal(err)
	}
	if err := server.listener.Close(); err != nil {
		t.Fatal(err)
	}
	err := server.Run(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "serving the sandbox on 127.0.0.1:") {
		t.Errorf("got %v", err)
	}
}
