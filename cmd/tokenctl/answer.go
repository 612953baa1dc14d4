package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"

	"github.com/tokend-project/tokend/daemon/api"
)

// longestAnswer is in bytes; what is longer was not meant. A terminal drops what
// goes beyond it (termios(3), canonical mode), so it cannot be told from a whole line.
const longestAnswer = 4<<10 - 2

// answer sends what a person knows. The person may take any time, so that of the
// call begins afterwards.
func (c *call) answer() error {
	name := c.names[0]
	var text string
	var err error
	switch {
	case len(c.names) > 1:
		text = c.names[1]
	case term.IsTerminal(int(os.Stdin.Fd())):
		text, err = c.ask(name)
	default:
		text, err = readLine(os.Stdin, "standard input")
	}
	if err != nil {
		return err
	}
	if text == "" {
		return usagef("tokenctl answer --help", "the answer is empty")
	}
	ctx, cancel := context.WithTimeout(context.Background(), c.limit())
	defer cancel()
	return c.act(c.client.Answer(ctx, name, text, c.opt.wait.pointer()))
}

// readLine reads one line, without its end, or what there is up to the end of the
// file.
func readLine(r io.Reader, where string) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, longestAnswer+2)).ReadString('\n')
	switch line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"); {
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("reading the answer from %s: %w", where, err)
	case len(line) > longestAnswer:
		return "", usagef("tokenctl answer --help", "what is on %s is no answer: it has more than %d bytes", where, longestAnswer)
	}
	return line, nil
}

// ask shows what the provider wants, and has the person type the answer.
func (c *call) ask(name string) (string, error) {
	s, err := c.client.Credential(c.ctx, name)
	if err != nil {
		return "", err
	}
	if s.Challenge == nil {
		return "", api.Errorf(api.CodeChallenge, "%s: there is nothing to answer: %s", name, cause(s)).For(name)
	}
	prompt := s.Name + ": " + s.Challenge.Prompt
	if !s.Challenge.ExpiresAt.IsZero() {
		prompt += " (" + human(time.Until(s.Challenge.ExpiresAt)) + " left)"
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", fmt.Errorf("opening the terminal: %w", err)
	}
	defer func() { _ = tty.Close() }() // nothing is lost that way
	return readHidden(tty, clean(prompt)+": ")
}

// readHidden reads a line from the terminal without showing it. A signal that ends
// us on the way finds the terminal as it was. One that stops us leaves it to the
// shell, which sets it as it likes; when we go on it is asked and hidden again.
func readHidden(tty *os.File, prompt string) (string, error) {
	fd := int(tty.Fd())
	before, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return "", fmt.Errorf("asking the terminal how it is set: %w", err)
	}
	hidden := *before
	hidden.Lflag = hidden.Lflag&^unix.ECHO | unix.ICANON | unix.ISIG
	hidden.Iflag |= unix.ICRNL
	signals, done := make(chan os.Signal, 4), make(chan struct{})
	// One that is ignored from the start, as after nohup(1), would be so again when we
	// are to end by it, on a terminal that shows what is typed by then.
	signal.Notify(signals, slices.DeleteFunc([]os.Signal{
		syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGCONT,
	}, signal.Ignored)...)
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			select {
			case s := <-signals:
				if s != syscall.SIGCONT {
					_ = unix.IoctlSetTermios(fd, setTermios, before) // nobody is left to tell
					die(s.(syscall.Signal))
					return
				}
				_ = unix.IoctlSetTermios(fd, setTermios, &hidden) // else it shows what is typed
				_, _ = io.WriteString(tty, prompt)
			case <-done:
				return
			}
		}
	})
	defer func() {
		signal.Stop(signals)
		close(done)
		watching.Wait()
		// What was pasted behind the answer is not for the shell.
		_ = unix.IoctlSetTermios(fd, setTermiosFlush, before)
	}()
	if err := unix.IoctlSetTermios(fd, setTermios, &hidden); err != nil {
		return "", fmt.Errorf("hiding what is typed: %w", err)
	}
	if _, err := io.WriteString(tty, prompt); err != nil {
		return "", fmt.Errorf("writing to the terminal: %w", err)
	}
	line, err := readLine(tty, "the terminal")
	fmt.Fprintln(tty) // that of the person was not shown either
	return line, err
}

// die ends us by the signal, so that a shell sees what it was.
func die(s syscall.Signal) {
	if s == syscall.SIGQUIT { // by which a Go program shows what it has in memory
		os.Exit(128 + int(s))
	}
	signal.Reset(s)
	_ = syscall.Kill(os.Getpid(), s)
}
