package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

// statusEvery is how often the status line is made anew at most.
const statusEvery = time.Second

// notify tells systemd, if it listens.
func (d *daemon) notify(lines ...string) {
	if _, err := systemd.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		d.log.Warn("telling systemd about our state", attrErr, err)
	}
}

// tellReloading begins what systemd calls a reload; tellReady ends it.
func (d *daemon) tellReloading() {
	d.notify(systemd.SdNotifyReloading, systemd.SdNotifyMonotonicUsec())
}

func (d *daemon) tellReady() { d.notify(systemd.SdNotifyReady, "STATUS="+d.status()) }

// report tells systemd that we are ready, then keeps the status line up to date,
// and says in the end that we stop.
func (d *daemon) report(ctx context.Context, socket string) {
	d.log.Info("tokend "+d.cfg.Version+" answers", attrPath, socket)
	d.tellReady()
	if d.cfg.Ready != nil {
		d.cfg.Ready()
	}
	pause := time.NewTimer(statusEvery)
	defer pause.Stop()
	last := ""
	for {
		select {
		case <-d.dirty:
		case <-ctx.Done():
			d.log.Info("stopping")
			d.notify(systemd.SdNotifyStopping, "STATUS=stopping; renewals in flight may finish")
			return
		}
		if status := d.status(); status != last {
			d.notify("STATUS=" + status)
			last = status
		}
		pause.Reset(statusEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// status is one line on how things stand: what is wrong with the file comes first,
// then the states, then the newest problem.
func (d *daemon) status() string {
	states, _ := d.count()
	d.mu.Lock()
	defer d.mu.Unlock()
	var parts []string
	if d.inForce.err != nil {
		parts = append(parts, "credentials file not in force: "+d.inForce.err.Error())
	}
	var counted []string
	for _, state := range api.States {
		if n := states[state]; n > 0 {
			counted = append(counted, fmt.Sprintf("%d %s", n, state))
		}
	}
	if len(counted) == 0 {
		counted = []string{"no credentials"}
	}
	parts = append(parts, strings.Join(counted, ", "))
	if states[api.StateStale]+states[api.StatePending]+states[api.StateRefused]+states[api.StateChallenge] > 0 && d.inForce.newest != "" {
		parts = append(parts, d.inForce.newest)
	}
	return strings.Join(parts, "; ")
}

// counts is a change for people.
func counts(c keeper.Change) string {
	return fmt.Sprintf("%d added, %d changed, %d removed, %d kept", c.Added, c.Changed, c.Removed, c.Kept)
}
