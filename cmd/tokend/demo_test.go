package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/tokend-project/tokend/daemon/api"
)

// startDemo starts the demo; said is its standard output.
func startDemo(t *testing.T) (cmd *exec.Cmd, said io.ReadCloser, dir string) {
	t.Helper()
	dir = t.TempDir()
	cmd = exec.Command(tokendPath(), "demo")
	cmd.Env = append(os.Environ(), "TMPDIR="+dir, "GORACE=atexit_sleep_ms=0")
	said, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill() })
	return cmd, said, dir
}

// Callers who hang up before they are answered do not end the demo.
func TestDemo_hungUp(t *testing.T) {
	cmd, said, _ := startDemo(t)
	client := &api.Client{}
	for lines := bufio.NewScanner(said); !strings.HasPrefix(lines.Text(), "  tail -f "); { // the last of its lines
		if !lines.Scan() {
			t.Fatalf("the demo ended: %v", cmd.Wait())
		}
		if _, socket, ok := strings.Cut(lines.Text(), "serves their tokens from "); ok {
			client.Sockets = []string{socket}
		}
	}
	for range 50 {
		c, err := net.Dial("unix", client.Sockets[0])
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, "GET /v1/credentials HTTP/1.1\r\nHost: x\r\n\r\n")
		c.Close()
		if _, err := client.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// Once nobody reads what it prints, the demo ends and leaves nothing behind.
func TestDemo_unread(t *testing.T) {
	cmd, said, dir := startDemo(t)
	if _, err := bufio.NewReader(said).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	said.Close()
	cmd.Wait()
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 || cmd.ProcessState.ExitCode() != exitFailure {
		t.Errorf("ended with %s, left %v, %v", cmd.ProcessState, left, err)
	}
}
