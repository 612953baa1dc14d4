package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// untilSignal returns a context that SIGTERM, SIGINT or one of the others ends. By
// then all do again what they do to any process, so that the second one ends it at
// once, however soon it comes.
func untilSignal(others ...os.Signal) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, append(others, syscall.SIGTERM, syscall.SIGINT)...)
	go func() {
		defer cancel()
		select {
		case <-signals:
		case <-ctx.Done():
		}
		signal.Stop(signals)
		if ctx.Err() != nil {
			return
		}
		select {
		case second := <-signals: // before we had let go of it
			_ = syscall.Kill(os.Getpid(), second.(syscall.Signal))
		default:
		}
	}()
	return ctx, cancel
}

// outliveReaders has tokend go on when whoever reads what it writes has gone, as a
// log's collector does that is restarted: else SIGPIPE ends a Go program that writes
// to standard output or error, even where systemd has it ignored. The write fails all
// the same. Programs that tokend starts would inherit a signal.Ignore.
func outliveReaders() { signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE) }
