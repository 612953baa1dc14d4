package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"time"
)

// patience is how long one call may take: a restart on a busy machine.
const patience = time.Minute

// errNoAnswer says that a connection ended before the first byte of an answer.
var errNoAnswer = errors.New("the connection ended without an answer")

// call gets the path until ctx ends, and says how that went; anything but a 200 is an
// error. The calls count in the file named by COUNT, if there is one, so that others
// can see them go on.
func call(ctx context.Context, socket, path string, again bool) error {
	good, bad, worst := 0, 0, time.Duration(0)
	progress := os.Getenv("COUNT")
	for ctx.Err() == nil {
		begun := time.Now()
		err := once(socket, path, io.Discard)
		if again && errors.Is(err, errNoAnswer) {
			err = once(socket, path, io.Discard)
		}
		worst = max(worst, time.Since(begun))
		if err != nil {
			bad++
			fmt.Fprintln(os.Stderr, begun.Format("15:04:05.000000"), err)
		} else {
			good++
		}
		if progress != "" {
			if err := count(progress, good); err != nil {
				return err
			}
		}
	}
	fmt.Printf("%d calls answered, %d failed, the slowest took %s\n", good, bad, worst.Round(time.Millisecond))
	if bad > 0 || good == 0 {
		return errors.New("calls were lost")
	}
	return nil
}

// count writes the number in one step.
func count(path string, n int) error {
	if err := os.WriteFile(path+".new", fmt.Appendln(nil, n), 0o644); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// once makes one call as a program does that knows nothing of connections: connect,
// ask, read until the end.
func once(socket, path string, out io.Writer) error {
	conn, err := net.DialTimeout("unix", socket, patience)
	if err != nil {
		return fmt.Errorf("connecting: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	_, asked := io.WriteString(conn, "GET "+path+" HTTP/1.1\r\nHost: tokend\r\nConnection: close\r\n\r\n")
	in := bufio.NewReader(conn)
	if _, err := in.Peek(1); err != nil {
		return fmt.Errorf("%w: %w", errNoAnswer, errors.Join(asked, err))
	}
	resp, err := http.ReadResponse(in, nil)
	if err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("reading the answer: %w", err)
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("the answer is %s: %.200s", resp.Status, body)
	}
	_, err = out.Write(body)
	return err
}
