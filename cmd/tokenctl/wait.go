package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokend-project/tokend/daemon/api"
)

// retryEvery is how soon a daemon that did not answer is asked again.
const retryEvery = 250 * time.Millisecond

// errUsable ends a watch: there is nothing left to wait for.
var errUsable = errors.New("all are usable")

// waiting is a wait under way.
type waiting struct {
	client  api.Client
	names   []string              // that were given
	seen    map[string]api.Status // newest of those to wait for
	missing map[string]bool       // those that are not usable, or not seen yet
}

// waitFor returns once the tokens are there. Without --timeout it waits for as long
// as it takes, but not for a daemon that is not there; one that has answered may be
// away for as long as a restart takes.
func (c *call) waitFor() error {
	ctx, cancel := c.endless()
	defer cancel()
	w := waiting{client: api.Client{Sockets: c.client.Sockets}, names: c.names}
	var answered time.Time // by the daemon, last
	if _, err := w.client.Health(c.ctx); err == nil {
		answered = time.Now()
	}
	var last error // of the round before
	for {
		w.seen = map[string]api.Status{}
		err := w.once(ctx)
		e, known := errors.AsType[*api.Error](err)
		switch {
		case err == nil && len(w.seen) == 0:
			c.notes = append(c.notes, "there is no credential that you may read",
				"hint: tokenctl whoami prints as whom the daemon knows you")
			return nil
		case err == nil:
			return nil
		case ctx.Err() != nil:
			if known && e.Code == api.CodeUnreachable { // since we asked too late for an answer
				err = cmp.Or(last, err)
			}
			return c.tooLate(&w, err)
		case !known || !mayPass(e.Code):
			return err
		case e.Code != api.CodeUnreachable || len(w.seen) > 0:
			answered = time.Now()
		case !c.opt.timeout.set && time.Since(answered) > patience:
			return err
		}
		select {
		case <-ctx.Done():
			return c.tooLate(&w, err)
		case <-time.After(retryEvery):
			last = err
		}
	}
}

// mayPass says whether waiting may cure a problem.
func mayPass(code api.Code) bool {
	switch code {
	case api.CodeUnreachable, api.CodePending, api.CodeThrottled, api.CodeInvalid:
		return true
	}
	return false
}

// once watches until all are usable. Any error is that of the daemon's last word.
func (w *waiting) once(ctx context.Context) error {
	names := w.names
	if len(names) == 0 {
		var err error
		if names, err = w.readable(ctx); err != nil || len(names) == 0 {
			return err
		}
	}
	w.missing = map[string]bool{}
	for _, name := range names {
		w.missing[name] = true
	}
	err := w.client.Watch(ctx, w.names, func(s api.Status) error {
		if !slices.Contains(names, s.Name) {
			return nil
		}
		return w.look(ctx, s)
	})
	if errors.Is(err, errUsable) {
		return nil
	}
	return err
}

// readable names the credentials that we may read.
func (w *waiting) readable(ctx context.Context) (names []string, err error) {
	me, err := w.client.Whoami(ctx)
	if err != nil {
		return nil, err
	}
	for _, g := range me.Grants {
		if slices.Contains(g.Rights, "read") {
			names = append(names, g.Name)
		}
	}
	return names, nil
}

// look takes a status, and returns errUsable once nothing is missing.
func (w *waiting) look(ctx context.Context, s api.Status) error {
	switch {
	case s.State == api.StateRemoved && len(w.names) > 0:
		// The status cannot say whether the credential is gone or our right to it.
		if _, err := w.client.Credential(ctx, s.Name); err != nil {
			return err
		}
		return nil // it is back, and a line about it comes
	case s.State == api.StateRemoved:
		delete(w.missing, s.Name)
	case s.Usable:
		delete(w.missing, s.Name)
		w.seen[s.Name] = s
	default:
		w.missing[s.Name] = true
		w.seen[s.Name] = s
	}
	if s.State == api.StateIdle && !s.Usable {
		return w.wake(ctx, s.Name)
	}
	if len(w.missing) == 0 {
		return errUsable
	}
	return nil
}

// wake has a lazy credential get its token: a reader is what it waits for.
func (w *waiting) wake(ctx context.Context, name string) error {
	never := time.Duration(0)
	_, err := w.client.Token(ctx, name, api.TokenOptions{Wait: &never})
	if e, ok := errors.AsType[*api.Error](err); ok && e.Code == api.CodeDenied {
		return err
	}
	return nil // the watch tells what came of it
}

// tooLate says why the wait was in vain: with the worst of what stands in the way,
// unless the daemon did not answer at all.
func (c *call) tooLate(w *waiting, err error) error {
	if len(w.seen) == 0 {
		return err
	}
	var all []*api.Error
	for _, name := range slices.Sorted(maps.Keys(w.missing)) {
		if s, ok := w.seen[name]; ok {
			all = append(all, api.Errorf(verdict(&s, nil, time.Now()), "%s: %s", name, cause(&s)).For(name))
		}
	}
	slices.SortStableFunc(all, func(a, b *api.Error) int { return rank(a.Code) - rank(b.Code) })
	last := len(all) - 1
	if last < 0 {
		return err
	}
	for _, e := range all[:last] {
		c.notes = append(c.notes, e.Detail)
	}
	return all[last]
}

// cause is why there is no token, in a line.
func cause(s *api.Status) string {
	if text := problem(s); text != "" && !s.Usable {
		return text
	}
	return meaning(s.State, s.Usable)
}

// rank is the higher, the less a problem passes by itself.
func rank(code api.Code) int {
	return slices.Index([]api.Code{api.CodePending, api.CodeThrottled, api.CodeChallenge, api.CodeRefused}, code)
}

// watch prints every change until the daemon stops. A line that cannot be written
// ends it too, and so does a reader who has gone: the next line may be hours away.
func (c *call) watch() error {
	ctx, cancel := c.endless()
	defer cancel()
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() {
		if unread() {
			stop(errUnread)
		}
	}()
	var failed error
	c.client.Raw = func(line []byte) { failed = writeOut(line) }
	err := c.client.Watch(ctx, c.names, func(api.Status) error { return failed })
	if failed == nil && errors.Is(context.Cause(ctx), errUnread) {
		return errUnread
	}
	return err
}

// errUnread is what writing to standard output would say.
var errUnread = fmt.Errorf("writing to standard output: %w", syscall.EPIPE)

// unread returns once nobody reads standard output any more, as head(1) does after
// its last line; false says that it cannot be known.
func unread() bool {
	out := []unix.PollFd{{Fd: int32(syscall.Stdout)}} // an end is told without being asked for, poll(2)
	for {
		switch n, err := unix.Poll(out, -1); {
		case n > 0:
			return out[0].Revents&(unix.POLLERR|unix.POLLHUP) != 0
		case !errors.Is(err, syscall.EINTR):
			return false
		}
	}
}
