package main

import (
	"fmt"
	"io"
	"maps"
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

// question is a daemon that wants an answer, and has what was asked of it; more is
// what it answers besides.
func question(t *testing.T, more map[string][2]string) *scripted {
	t.Helper()
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
	maps.Copy(d.answers, more)
	server := &http.Server{Handler: d}
	go server.Serve(ln)
	t.Cleanup(func() { server.Close() })
	return d
}

// sent is what the daemon was asked after the question itself.
func (d *scripted) sent() string {
	requests, _ := os.ReadFile(d.log)
	_, rest, _ := strings.Cut(string(requests), "\n")
	return rest
}

const prompt = "broker: Your[2J code (1h29m left): "

// asked starts the verb on the terminal, behind the words of prefix if there are any,
// and returns when the person is asked.
func asked(t *testing.T, person, program *os.File, prefix ...string) *exec.Cmd {
	t.Helper()
	argv := append(prefix, "tokenctl", "answer", "broker")
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdin = program
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	shows(t, person, prompt)
	if echoes(t, program) {
		t.Error("it shows what is typed")
	}
	return cmd
}

// shows reads from the terminal what has to come next.
func shows(t *testing.T, person *os.File, want string) {
	t.Helper()
	buf := make([]byte, len(want))
	if n, err := io.ReadFull(person, buf); err != nil || string(buf) != want {
		t.Fatalf("shown %q, %v; want %q", buf[:n], err, want)
	}
}

// A person is asked on the terminal, which does not show the answer, and is as it was
// afterwards, whatever ends the question.
func TestAnswerOnTerminal(t *testing.T) {
	d := question(t, nil)
	answered := func(text string) string {
		return "POST /v1/credentials/broker/answer {\"answer\":\"" + text + "\"}\n"
	}
	for _, tt := range []struct {
		name, typed string
		signal      syscall.Signal // to the program, in the place of what is typed
		want        string         // exit status
		sent        string
	}{
		{"code", "123456\n", 0, "exit status 0", answered("123456")},
		{"a code at the end of the file", "123456\x04\x04", 0, "exit status 0", answered("123456")},
		{"the end of the file", "\x04", 0, "exit status 2", ""},
		{"more than letters", "пароль 日本\n", 0, "exit status 0", answered("пароль 日本")},
		{"no UTF-8", "caf\xe9\n", 0, "exit status 2", ""},
		{"erased and typed again", "129\x7f3456\n", 0, "exit status 0", answered("123456")},
		{"a line thrown away", "xyz\x15123456\n", 0, "exit status 0", answered("123456")},
		{"Enter in raw mode", "123456\r", 0, "exit status 0", answered("123456")},
		{"as much as there is room for", strings.Repeat("1", 4094) + "\n", 0, "exit status 0", answered(strings.Repeat("1", 4094))},
		{"more than there is room for", strings.Repeat("1", 5000) + "\n", 0, "exit status 2", ""},
		{"Ctrl-Z where nobody would have us go on", "9\x1a123456\n", 0, "exit status 0", answered("123456")},
		{"nothing", "\n", 0, "exit status 2", ""},
		{"Ctrl-C", "123\x03", 0, "signal: interrupt", ""},
		{"Ctrl-\\", "123\x1c", 0, "exit status 131", ""},
		{"TERM", "", syscall.SIGTERM, "signal: terminated", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			os.Remove(d.log)
			person, program := terminal(t)
			cmd := asked(t, person, program)
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
			program.WriteString("END") // so that the read below has an end
			buf := make([]byte, 256)
			n, _ := person.Read(buf)
			if rest := string(buf[:n]); strings.Contains(rest, "123") {
				t.Errorf("the terminal showed %q", rest)
			}
			if sent := d.sent(); sent != tt.sent {
				t.Errorf("sent %q, want %q", sent, tt.sent)
			}
		})
	}
}

// A signal that is ignored from the start, as after nohup(1), stays so.
func TestAnswerOnTerminal_nohup(t *testing.T) {
	d := question(t, nil)
	person, program := terminal(t)
	cmd := asked(t, person, program, "sh", "-c", `trap "" HUP; exec "$@"`, "sh")
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, ignored, _ := strings.Cut(string(status), "\nSigIgn:\t")
	var mask uint64
	if _, err := fmt.Sscanf(ignored, "%x", &mask); err != nil || mask&1 == 0 { // its first bit is for SIGHUP
		t.Errorf("it would not ignore SIGHUP: %x, %v", mask, err)
	}
	cmd.Process.Signal(syscall.SIGHUP)
	person.WriteString("123456\n")
	cmd.Wait()
	if got, sent := cmd.ProcessState.String(), d.sent(); got != "exit status 0" || !strings.Contains(sent, "123456") {
		t.Errorf("%s, sent %q", got, sent)
	}
}

// Who is stopped and goes on asks again, and hides again what a shell has shown in
// between. What is pasted behind the answer is not for the shell.
func TestAnswerOnTerminal_stopped(t *testing.T) {
	d := question(t, nil)
	person, program := terminal(t)
	cmd := asked(t, person, program)
	pause := func() {
		t.Helper()
		cmd.Process.Signal(syscall.SIGSTOP)
		var status unix.WaitStatus
		if _, err := unix.Wait4(cmd.Process.Pid, &status, unix.WUNTRACED, nil); err != nil || !status.Stopped() {
			t.Fatalf("stopping it: %v, %v", status, err)
		}
	}
	pause()
	state, err := unix.IoctlGetTermios(int(program.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	state.Lflag |= unix.ECHO
	if err := unix.IoctlSetTermios(int(program.Fd()), unix.TCSETS, state); err != nil {
		t.Fatal(err)
	}
	cmd.Process.Signal(syscall.SIGCONT)
	shows(t, person, prompt)
	if echoes(t, program) {
		t.Error("it shows what is typed")
	}
	pause()
	const pasted = "123456\nls -l\n"
	person.WriteString(pasted)
	for n := 0; n < len(pasted); {
		if n, err = unix.IoctlGetInt(int(program.Fd()), unix.TIOCINQ); err != nil {
			t.Fatal(err)
		}
	}
	cmd.Process.Signal(syscall.SIGCONT)
	if cmd.Wait(); cmd.ProcessState.String() != "exit status 0" {
		t.Errorf("ended with %s", cmd.ProcessState)
	}
	if want := "POST /v1/credentials/broker/answer {\"answer\":\"123456\"}\n"; d.sent() != want {
		t.Errorf("sent %q, want %q", d.sent(), want)
	}
	if n, err := unix.IoctlGetInt(int(program.Fd()), unix.TIOCINQ); err != nil || n != 0 {
		t.Errorf("%d bytes are left for the shell, %v", n, err)
	}
}
