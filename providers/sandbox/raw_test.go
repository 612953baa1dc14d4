package sandbox

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
)

// An endless answer ends with its client, and with the server, whoever reads it.
func TestEndlessAnswers(t *testing.T) {
	server := New(Finam{})
	server.Fail(1, Fault{Raw: "HTTP/1.1 200 OK\r\n\r\n", Endless: strings.Repeat("a", 1<<16)})
	api := httptest.NewServer(server)
	defer api.Close()
	res, err := http.Post(api.URL+"/v1/sessions", "", strings.NewReader(finamSecret))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := io.CopyN(io.Discard, res.Body, 10<<20); err != nil {
		t.Errorf("it ended after %d bytes: %v", n, err)
	}
	res.Body.Close()
	if err := server.Wait(t.Context(), 1); err != nil {
		t.Error(err)
	}
}

func TestEndlessAnswerEndsWithTheServer(t *testing.T) {
	server := New(Finam{})
	server.Fail(1, Fault{Raw: "HTTP/1.1 200 OK\r\n\r\n", Endless: "a"})
	base, err := server.Listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- server.Run(ctx) }()
	res, err := http.Post(base+"/v1/sessions", "", strings.NewReader(finamSecret))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	cancel()
	io.Copy(io.Discard, res.Body) // until the connection is closed, or reset
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestResetIsOne(t *testing.T) {
	server := New(Finam{})
	server.Fail(1, Fault{Reset: true})
	got := start(t, server)(finamLogin())
	if !errors.Is(got.err, syscall.ECONNRESET) {
		t.Errorf("error is %v, want a reset", got.err)
	}
}
