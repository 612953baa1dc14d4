package main

import (
	"io"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// What the daemon said last is why a wait was in vain, though the time was over while
// it was asked once more.
func TestWait_cutShort(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Setenv("TOKEND_SOCKET", socket)
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var watches atomic.Int64
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/v1/watch":
			io.WriteString(w, "{}")
		case watches.Add(1) == 1:
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			io.WriteString(w, `{"code":"invalid","detail":"no file yet"}`)
		default:
			<-r.Context().Done()
		}
	})}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	cmd := exec.Command("tokenctl", "wait", "broker", "--timeout", "2s")
	said, _ := cmd.CombinedOutput()
	if code := cmd.ProcessState.ExitCode(); code != 11 || !strings.Contains(string(said), "no file yet") {
		t.Errorf("exit %d, %s", code, said)
	}
}
