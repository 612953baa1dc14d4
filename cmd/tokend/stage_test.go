package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// longest is how long a script waits for anything; it only ends what hangs.
const longest = 30 * time.Second

// stage is what one script has beside its files: look-alikes of the APIs, a daemon,
// its log, and what it tells systemd.
type stage struct {
	servers   map[string]server
	held      map[string]chan struct{} // calls that wait for a release, by look-alike
	closing   []func()
	books     map[string]*book // log, told, and what followed commands say
	log, told *book
	secrets   []string // patterns of what must not be in either
	cmd       *exec.Cmd
	exit      chan error
}

func newStage() *stage {
	s := &stage{log: newBook(), told: newBook(), servers: map[string]server{}, held: map[string]chan struct{}{}}
	s.books = map[string]*book{"log": s.log, "told": s.told}
	return s
}

// close ends what the script has left running.
func (s *stage) close() {
	if s.cmd != nil {
		s.cmd.Process.Kill()
		<-s.exit
	}
	for _, f := range s.closing {
		f()
	}
}

// hearNotifications is systemd's side of sd_notify(3).
func (s *stage) hearNotifications(path string) error {
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	var done sync.WaitGroup
	done.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			s.told.Write(append(buf[:n:n], '\n'))
		}
	})
	s.closing = append(s.closing, func() {
		conn.Close()
		done.Wait()
	})
	return nil
}

// tokend starts the daemon: tokend [-inherit] [-sh FILE] [ARG…]. With -inherit it
// gets its socket as systemd passes one; FILE is a shell script to start it from,
// which ends in exec "$@".
func (s *stage) tokend(ts *testscript.TestScript, args []string) {
	if s.cmd != nil {
		ts.Fatalf("a daemon runs already")
	}
	s.log.skip() // what an earlier one said is not for await
	s.told.skip()
	argv := []string{"tokend"}
	var files []*os.File
	for ; len(args) > 0; args = args[1:] {
		switch args[0] {
		case "-inherit":
			files = []*os.File{s.listen(ts)}
			argv = append([]string{"sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$@"`, "sh"}, argv...)
			continue
		case "-sh":
			argv = append([]string{"sh", ts.MkAbs(args[1])}, argv...)
			args = args[1:]
			continue
		}
		break
	}
	argv = append(argv, args...)
	path, err := lookPath(argv[0])
	ts.Check(err)
	s.cmd = &exec.Cmd{Path: path, Args: argv, Env: environment(ts), Dir: ts.MkAbs("."), Stdout: s.log, Stderr: s.log, ExtraFiles: files}
	if err := s.cmd.Start(); err != nil {
		s.cmd = nil
		ts.Fatalf("%v", err)
	}
	s.exit = make(chan error, 1)
	go func(cmd *exec.Cmd, exit chan<- error) { exit <- cmd.Wait() }(s.cmd, s.exit)
	for _, f := range files {
		ts.Check(f.Close())
	}
}

// lookPath is where the program is: ours, or one of the host.
func lookPath(name string) (string, error) {
	if name == "tokend" || name == "tokenctl" {
		return os.Getenv("TOKEND_TEST_BIN") + "/" + name, nil
	}
	return exec.LookPath(name)
}

// listen makes the socket that systemd would pass.
func (s *stage) listen(ts *testscript.TestScript) *os.File {
	path := ts.Getenv("TOKEND_SOCKET")
	os.Remove(path)
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	ts.Check(err)
	l.SetUnlinkOnClose(false)
	file, err := l.File()
	ts.Check(err)
	ts.Check(l.Close())
	return file
}

// start is tokend, and returns when it answers.
func (s *stage) start(ts *testscript.TestScript, args []string) {
	s.tokend(ts, args)
	s.await(ts, []string{"told", "^READY=1"})
}

// await waits until a line of the log, of what systemd was told, or of what a
// followed command says is like the pattern. Each await goes on behind the last:
// await log|told|NAME PATTERN.
func (s *stage) await(ts *testscript.TestScript, args []string) {
	need(ts, args, 2, "await log|told|NAME PATTERN")
	b, ok := s.books[args[0]]
	if !ok {
		ts.Fatalf("there is no %q to read", args[0])
	}
	if err := b.await(regexp.MustCompile("(?m)" + args[1])); err != nil {
		ts.Fatalf("%v in %s:\n%s\nthe log:\n%s", err, args[0], b, s.log)
	}
}

// follow runs a command beside the script, for await to read what it says; its last
// line is "ended with" and the exit code or signal: follow NAME COMMAND [ARG…].
func (s *stage) follow(ts *testscript.TestScript, args []string) {
	need(ts, args, 2, "follow NAME COMMAND [ARG...]")
	path, err := lookPath(args[1])
	ts.Check(err)
	b := newBook()
	s.books[args[0]] = b
	cmd := &exec.Cmd{Path: path, Args: args[1:], Env: environment(ts), Dir: ts.MkAbs("."), Stdout: b, Stderr: b}
	ts.Check(cmd.Start())
	var done sync.WaitGroup
	done.Go(func() { fmt.Fprintf(b, "ended with %s\n", outcome(cmd.Wait())) })
	s.closing = append(s.closing, func() {
		cmd.Process.Kill()
		done.Wait()
	})
}

// signal sends the daemon a signal: signal TERM.
func (s *stage) signal(ts *testscript.TestScript, args []string) {
	need(ts, args, 1, "signal TERM|INT|HUP")
	number, ok := map[string]syscall.Signal{"TERM": syscall.SIGTERM, "INT": syscall.SIGINT, "HUP": syscall.SIGHUP, "KILL": syscall.SIGKILL}[args[0]]
	if !ok || s.cmd == nil {
		ts.Fatalf("no such signal, or nobody to send it to")
	}
	ts.Check(s.cmd.Process.Signal(number))
}

// ended waits for the daemon's end and checks its exit code, or the signal that ended
// it; nothing of what has to be hidden may have been shown: ended CODE|SIGNAL.
func (s *stage) ended(ts *testscript.TestScript, args []string) {
	need(ts, args, 1, "ended CODE|SIGNAL")
	if s.cmd == nil {
		ts.Fatalf("no daemon runs")
	}
	select {
	case err := <-s.exit:
		s.cmd = nil
		if got := outcome(err); got != args[0] {
			ts.Fatalf("the daemon ended with %s, want %s; the log:\n%s", got, args[0], s.log)
		}
	case <-time.After(longest):
		ts.Fatalf("the daemon does not end; the log:\n%s", s.log)
	}
	ts.Check(os.WriteFile(ts.MkAbs("log"), []byte(s.log.String()), 0o600))
	for _, secret := range s.secrets {
		for name, b := range map[string]*book{"the log": s.log, "what systemd was told": s.told} {
			if found := regexp.MustCompile(secret).FindString(b.String()); found != "" {
				ts.Fatalf("%s shows a secret, %q:\n%s", name, found, b)
			}
		}
	}
}

// halt ends the daemon as systemd does.
func (s *stage) halt(ts *testscript.TestScript, _ []string) {
	s.signal(ts, []string{"TERM"})
	s.ended(ts, []string{"0"})
}

// book is a text that grows while it is read.
type book struct {
	mu    sync.Mutex
	text  []byte
	read  int           // up to where await has found what it looked for
	grown chan struct{} // closed and replaced at each write
}

func newBook() *book { return &book{grown: make(chan struct{})} }

// Write appends.
func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.text = append(b.text, p...)
	close(b.grown)
	b.grown = make(chan struct{})
	return len(p), nil
}

// String is the text so far.
func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return string(b.text)
}

// skip takes all there is for read.
func (b *book) skip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read = len(b.text)
}

// await returns once what was not read yet is like the pattern.
func (b *book) await(pattern *regexp.Regexp) error {
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	defer cancel()
	for {
		b.mu.Lock()
		found, grown := pattern.FindIndex(b.text[b.read:]), b.grown
		if found != nil {
			b.read += found[1]
		}
		b.mu.Unlock()
		if found != nil {
			return nil
		}
		select {
		case <-grown:
		case <-ctx.Done():
			return fmt.Errorf("nothing like %q came", pattern)
		}
	}
}
