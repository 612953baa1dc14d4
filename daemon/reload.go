package daemon

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/config"
	"github.com/tokend-project/tokend/daemon/keeper"
)

// reload reads the credentials file and puts it in force. The watch, SIGHUP and the
// socket's reload call all come here.
func (d *daemon) reload(ctx context.Context) (api.Reloaded, *api.Error) {
	d.reloading.Lock()
	defer d.reloading.Unlock()
	d.tellReloading()
	defer d.tellReady()
	file, err := d.load(ctx)
	switch {
	case ctx.Err() != nil:
		return api.Reloaded{}, api.Stopping()
	case err != nil:
		return api.Reloaded{}, invalid(err, "the file on disk changes nothing")
	}
	change, err := d.apply(context.WithoutCancel(ctx), file) // though who asked may have gone
	if err != nil {
		return api.Reloaded{}, api.Stopping()
	}
	return api.Reloaded(change), nil
}

// load reads the file. A bad one is told to everybody who should know; nothing else
// changes.
func (d *daemon) load(ctx context.Context) (*config.File, error) {
	var file *config.File
	var err error
	d.unhurried(func() { file, err = d.loader.Load(ctx) })
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	d.metrics.loaded(time.Now(), err)
	d.mu.Lock()
	was := d.inForce.err
	d.inForce.err = err
	d.mu.Unlock()
	d.mark()
	if err == nil {
		if was != nil { // even if it says what is in force already
			d.log.Info("credentials file in order again", attrPath, d.cfg.Credentials)
		}
		return file, nil
	}
	for _, p := range problems(err) {
		d.log.Error("credentials file not in force", attrPath, d.cfg.Credentials, attrErr, p.String())
	}
	return nil, err
}

// apply puts the file in force. One of the same bytes may still say something new:
// a user or a group can have got another number.
func (d *daemon) apply(ctx context.Context, file *config.File) (keeper.Change, error) {
	change, err := d.keeper.Apply(ctx, file.Credentials)
	if err != nil {
		return change, err
	}
	path := slog.String(attrPath, d.cfg.Credentials)
	if same := d.took(file); same && change == (keeper.Change{Kept: change.Kept}) {
		d.log.LogAttrs(ctx, slog.LevelDebug, "credentials file read again; nothing changed", path)
		return change, nil
	}
	for _, w := range file.Warnings {
		d.log.LogAttrs(ctx, slog.LevelWarn, "credentials file: "+w.String(), path)
	}
	d.log.LogAttrs(ctx, slog.LevelInfo, "credentials file in force: "+counts(change), path)
	return change, nil
}

// took notes that the file is in force, and says whether one of the same bytes was.
func (d *daemon) took(file *config.File) (same bool) {
	d.mu.Lock()
	same = !d.inForce.loadedAt.IsZero() && d.inForce.sum == file.Sum
	d.inForce.rules, d.inForce.sum = file.Daemon, file.Sum
	d.inForce.loadedAt = time.Now().UTC().Truncate(time.Second)
	d.mu.Unlock()
	d.mark()
	return same
}

// ready is what calls are answered with while no file was ever in force.
func (d *daemon) ready() *api.Error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case !d.inForce.loadedAt.IsZero():
		return nil
	case d.inForce.err == nil: // mended, and about to be in force
		return api.Errorf(api.CodePending, "the credentials file is being put in force").After(time.Second)
	}
	return invalid(d.inForce.err, "no credentials file was ever in force")
}

// invalid is the error of the file as callers see it; so says what that means.
func invalid(err error, so string) *api.Error {
	e := api.Errorf(api.CodeInvalid, "%s: %v", so, err).WithHint("`tokend check` shows every problem")
	if e.Problems = problems(err); len(e.Problems) > 1 {
		e.Detail = fmt.Sprintf("%s: it has %d problems", so, len(e.Problems))
	}
	return e
}

func problems(err error) []api.Problem {
	if inv, ok := errors.AsType[*config.Invalid](err); ok {
		return inv.Problems
	}
	return []api.Problem{{Detail: err.Error()}}
}

// watch reloads when the file or one of its secrets' files changes.
func (d *daemon) watch(ctx context.Context) {
	err := d.loader.Watch(ctx, func() { _, _ = d.reload(ctx) }) // load tells everybody
	if err != nil && ctx.Err() == nil {
		d.log.Error("the credentials file is not watched any more; use `tokenctl reload`", attrErr, err)
	}
}

// hangups reloads for every SIGHUP.
func (d *daemon) hangups(ctx context.Context) {
	for {
		select {
		case <-d.cfg.Hangup:
			_, _ = d.reload(ctx) // who sent it reads the log
		case <-ctx.Done():
			return
		}
	}
}

// options are what the credentials file is read with.
func (cfg Config) options() config.Options {
	return config.Options{Path: cfg.Credentials, Log: cfg.Log, Service: cfg.Service}
}

// Check reads the credentials file as a start with these settings would, without
// touching network, store or commands, and returns what is wrong with it and what is
// odd.
func Check(ctx context.Context, cfg Config) (problems, warnings []api.Problem) {
	return config.Check(ctx, cfg.options())
}

// CheckLogin reads the file like a start does, and logs in once with the named
// credential. The status says what came, never the token.
func CheckLogin(ctx context.Context, cfg Config, name string) (api.Status, *api.Error) {
	file, err := config.NewLoader(cfg.options()).Load(ctx)
	if err != nil {
		return api.Status{}, invalid(err, "no login")
	}
	for _, c := range file.Credentials {
		if c.Name == name {
			return keeper.Try(ctx, c)
		}
	}
	return api.Status{}, api.Unknown(name).WithHint("") // no daemon need run
}
