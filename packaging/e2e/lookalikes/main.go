// Command lookalikes is what the test under a real systemd has inside the booted
// system: the look-alikes of the APIs on fixed loopback ports, and a client of tokend
// that forgives nothing.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/tokend-project/tokend/providers/sandbox"
)

const usage = `usage:
  lookalikes serve                serve until TERM: finam on 8101, simplejwt 8102, etna 8103, noventiq 8104
  lookalikes logins KIND          print how many logins there were, and how many of them were granted
  lookalikes delay KIND DURATION  delay every answer from now on
  lookalikes get SOCKET PATH      GET it once, and print the answer
  lookalikes call SOCKET PATH     GET it again and again until TERM, each time over a new connection
  lookalikes recall SOCKET PATH   likewise, and once more where a connection ends without an answer
`

// control is where a serving process is asked.
const control = "127.0.0.1:8100"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "lookalikes:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve(ctx)
	case len(args) == 2 && args[0] == "logins":
		return ask(ctx, http.MethodGet, "/"+args[1])
	case len(args) == 3 && args[0] == "delay":
		return ask(ctx, http.MethodPost, "/"+args[1]+"?delay="+args[2])
	case len(args) == 3 && args[0] == "get":
		return once(args[1], args[2], os.Stdout)
	case len(args) == 3 && (args[0] == "call" || args[0] == "recall"):
		return call(ctx, args[1], args[2], args[0] == "recall")
	}
	fmt.Fprint(os.Stderr, usage)
	return errors.New("wrong usage")
}

// lookAlike is a server of package sandbox, whichever API it looks like.
type lookAlike interface {
	http.Handler
	Logins() (tried, granted int)
	Latency(d time.Duration)
}

// stands are the look-alikes, each with its port.
func stands() map[string]stand {
	return map[string]stand{
		"finam":     {sandbox.New(sandbox.Finam{}), "127.0.0.1:8101"},
		"simplejwt": {sandbox.New(sandbox.SimpleJWT{}), "127.0.0.1:8102"},
		"etna":      {sandbox.New(sandbox.Etna{}), "127.0.0.1:8103"},
		"noventiq":  {sandbox.New(sandbox.Noventiq{}), "127.0.0.1:8104"},
	}
}

type stand struct {
	lookAlike
	address string
}

// serve serves them all, and their control.
func serve(ctx context.Context) error {
	failed := make(chan error, 8)
	start := func(address string, h http.Handler) {
		s := &http.Server{Addr: address, Handler: h, ReadHeaderTimeout: 10 * time.Second}
		go func() { failed <- s.ListenAndServe() }()
	}
	mux := http.NewServeMux()
	for kind, s := range stands() {
		start(s.address, s)
		mux.HandleFunc("GET /"+kind, func(w http.ResponseWriter, _ *http.Request) {
			tried, granted := s.Logins()
			fmt.Fprintln(w, tried, granted)
		})
		mux.HandleFunc("POST /"+kind, func(w http.ResponseWriter, r *http.Request) {
			d, err := time.ParseDuration(r.FormValue("delay"))
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
			s.Latency(d)
		})
	}
	start(control, mux)
	select {
	case err := <-failed:
		return fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		return nil
	}
}

// ask asks the serving process, and prints what it says.
func ask(ctx context.Context, method, path string) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+control+path, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, path, resp.Status)
	}
	_, err = io.Copy(os.Stdout, resp.Body)
	return err
}
