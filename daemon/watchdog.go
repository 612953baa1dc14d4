package daemon

import (
	"context"
	"time"

	systemd "github.com/coreos/go-systemd/v22/daemon"
)

// watchdog pings systemd's watchdog, if the unit has one (sd_watchdog_enabled(3)), for
// as long as the keeper's loop comes round: three times in the time after which
// systemd would end us. A keeper that is stuck leaves systemd without a ping, and the
// log with a line that says why the restart came.
func (d *daemon) watchdog(ctx context.Context) {
	limit, err := systemd.SdWatchdogEnabled(false)
	if err != nil {
		d.log.Warn("the watchdog stays off: what systemd says of it makes no sense", attrErr, err)
		return
	}
	if limit == 0 {
		return
	}
	tick := time.NewTicker(limit / 3)
	defer tick.Stop()
	beats := true
	for {
		if beats = d.beat(ctx, limit/3, beats); beats {
			d.notify(systemd.SdNotifyWatchdog)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// beat says whether the keeper's loop came round within the time; did is whether it
// did the last time.
func (d *daemon) beat(ctx context.Context, within time.Duration, did bool) bool {
	waiting, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	does := d.keeper.Ping(waiting) == nil
	switch {
	case ctx.Err() != nil: // we stop
	case did && !does:
		d.log.Error("tokend is stuck: nothing was renewed for " + within.String() + "; systemd's watchdog restarts it unless it goes on")
	case does && !did:
		d.log.Info("tokend goes on")
	}
	return does
}
