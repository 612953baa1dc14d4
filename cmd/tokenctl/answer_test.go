package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// terminal is a new pseudo terminal: the person's side, and the program's.
func terminal(t *testing.T) (person, program *os.File) {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { person.Close() })
	fd := int(person.Fd())
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { program.Close() })
	return person, program
}

// echoes says whether the terminal shows what is typed.
func echoes(t *testing.T, tty *os.File) bool {
	t.Helper()
	state, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	return state.Lflag&unix.ECHO != 0
}

// A person is asked on the terminal, which does not show the answer, and is as it was
// afterwards, whatever ends the question.
func TestAnswerOnTerminal(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	t.Setenv("TOKEND_SOCKET", socket)
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	ln, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	d := &scripted{log: filepath.Join(t.TempDir(), "requests"), answers: map[string][2]string{
		"GET /v1/credentials/broker":         {"200", `{"name":"broker","state":"challenge","challenge":{"step":"VerificationCode","prompt":"Your\u001b[2J code","expires_at":"{+90m}"}}`},
		"POST /v1/credentials/broker/answer": {"200", `{"name":"broker","state":"pending"}`},
	}}
	server := &http.Server{Handler: d}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	const asked = "POST /v1/credentials/broker/answer {\"answer\":\"123456\"}\n"
	for _, tt := range []struct {
		name, typed string
		signal      syscall.Signal // to the program, in the place of what is typed
		want        string         // exit status
		sent        string
	}{
		{"code", "123456\n", 0, "exit status 0", asked},
		{"nothing", "\n", 0, "exit status 2", ""},
		{"Ctrl-C", "123\x03", 0, "signal: interrupt", ""},
		{"Ctrl-\\", "123\x1c", 0, "exit status 131", ""},
		{"TERM", "", syscall.SIGTERM, "signal: terminated", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(d.log)
			person, program := terminal(t)
			cmd := exec.Command("tokenctl", "answer", "broker")
			cmd.Stdin = program
			cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			var shown strings.Builder
			for buf := make([]byte, 256); !strings.HasSuffix(shown.String(), " left): "); {
				n, err := person.Read(buf)
				if err != nil {
					t.Fatalf("after %q: %v", shown.String(), err)
				}
				shown.Write(buf[:n])
			}
			for echoes(t, program) { // the prompt comes first, then the echo goes
			}
			if tt.signal != 0 {
				cmd.Process.Signal(tt.signal)
			} else {
				person.WriteString(tt.typed)
			}
			cmd.Wait()
			if got := cmd.ProcessState.String(); !strings.HasPrefix(got, tt.want) {
				t.Errorf("%s, want %s", got, tt.want)
			}
			if !echoes(t, program) {
				t.Error("the terminal shows nothing any more")
			}
			if want := "broker: Your[2J code (1h29m left): "; shown.String() != want {
				t.Errorf("shown %q, want %q", shown.String(), want)
			}
			program.WriteString("END") // so that the read below has an end
			buf := make([]byte, 256)
			n, _ := person.Read(buf)
			if rest := string(buf[:n]); strings.Contains(rest, "123") {
				t.Errorf("the terminal showed %q", rest)
			}
			requests, _ := os.ReadFile(d.log)
			if _, sent, _ := strings.Cut(string(requests), "\n"); sent != tt.sent {
				t.Errorf("sent %q, want %q", sent, tt.sent)
			}
		})
	}
}
