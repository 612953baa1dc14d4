package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/tokend-project/tokend/daemon/api"
)

// longestAnswer is in bytes; what is longer was not meant.
const longestAnswer = 4 << 10

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
		text, err = readLine(os.Stdin)
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

// readLine reads one line, without its end.
func readLine(r io.Reader) (string, error) {
	line, err := bufio.NewReader(io.LimitReader(r, longestAnswer+1)).ReadString('\n')
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return "", fmt.Errorf("reading the answer from standard input: %w", err)
	case len(line) > longestAnswer:
		return "", usagef("tokenctl answer --help", "what is on standard input is no answer: it has more than %d bytes", longestAnswer)
	}
	return strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r"), nil
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
// us on the way finds the terminal as it was.
func readHidden(tty *os.File, prompt string) (string, error) {
	fd := int(tty.Fd())
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("asking the terminal how it is set: %w", err)
	}
	signals, done := make(chan os.Signal, 1), make(chan struct{})
	defer close(done)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	defer signal.Stop(signals)
	go func() {
		select {
		case s := <-signals:
			_ = term.Restore(fd, before) // nobody is left to tell
			if s == syscall.SIGQUIT {    // by which a Go program shows what it has in memory
				os.Exit(128 + int(syscall.SIGQUIT))
			}
			signal.Reset(s)
			_ = syscall.Kill(os.Getpid(), s.(syscall.Signal)) // so that a shell sees what it was
		case <-done:
		}
	}()
	if _, err := io.WriteString(tty, prompt); err != nil {
		return "", fmt.Errorf("writing to the terminal: %w", err)
	}
	line, err := term.ReadPassword(fd)
	fmt.Fprintln(tty) // that of the person was not shown either
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("reading the answer from the terminal: %w", err)
	}
	return string(line), nil
}
