package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// grace is how long calls in flight may take to end once Run was told to.
const grace = time.Second

// Listen binds a free port of 127.0.0.1 and returns the base URL, without a slash
// at its end. Calls queue in the kernel until Run serves them. A second Listen
// returns the same URL.
func (s *Server[K]) Listen() (string, error) {
	listener, err := s.listen()
	if err != nil {
		return "", err
	}
	return "http://" + listener.Addr().String(), nil
}

func (s *Server[K]) listen() (net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener != nil {
		return s.listener, nil
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("opening a loopback port for the sandbox: %w", err)
	}
	s.listener = listener
	return listener, nil
}

// Run serves the port of Listen until ctx ends, and then returns nil. Calls that are
// held or delayed at that moment lose their connection.
func (s *Server[K]) Run(ctx context.Context) error {
	listener, err := s.listen()
	if err != nil {
		return err
	}
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: 10 * time.Second,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	defer s.unlisten(listener)
	select {
	case err := <-served:
		return fmt.Errorf("serving the sandbox on %s: %w", listener.Addr(), err)
	case <-ctx.Done():
	}
	ending, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(ending); err != nil {
		err = server.Close()
		if err != nil && !errors.Is(err, net.ErrClosed) {
			return fmt.Errorf("closing the sandbox on %s: %w", listener.Addr(), err)
		}
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the sandbox on %s: %w", listener.Addr(), err)
	}
	return nil
}

// unlisten forgets a port that is closed, so that Listen opens another.
func (s *Server[K]) unlisten(listener net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.listener == listener {
		s.listener = nil
	}
}
