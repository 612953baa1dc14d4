package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	systemd "github.com/coreos/go-systemd/v22/daemon"

	"github.com/tokend-project/tokend/daemon/api"
	"github.com/tokend-project/tokend/daemon/keeper"
)

const (
	// statusEvery is how often the status line is made anew at most.
	statusEvery = time.Second
	// longestStatus keeps a message below the 4,096 bytes (NOTIFY_BUFFER_MAX in
	// systemd's manager.c) beyond which systemd drops it whole, a READY=1 in it too.
	longestStatus = 1000

	// extendEvery is how often systemd is asked for more time while a file is read: a
	// directory service may be slow to say who somebody is, and a network disk to answer.
	extendEvery = 10 * time.Second
	// mostExtensions is where that ends: ten minutes are no reading any more.
	mostExtensions = 60
	// drain is the time to ask for at a stop: the grace, and some for the store.
	drain = grace + 5*time.Second
)

// notify tells systemd, if it listens.
func (d *daemon) notify(lines ...string) {
	if _, err := systemd.SdNotify(false, strings.Join(lines, "\n")); err != nil {
		d.log.Warn("telling systemd about our state", attrErr, err)
	}
}

// statusIs is the assignment that `systemctl status` shows.
func statusIs(text string) string { return "STATUS=" + oneLine(text) }

// extendBy asks systemd for so much time from now, for whatever is under way.
func extendBy(t time.Duration) string {
	return fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", t.Microseconds())
}

// oneLine is the text as one line of UTF-8 that is not too long: anything else would be
// another assignment, or have systemd drop the message.
func oneLine(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
	if len(text) > longestStatus {
		text = strings.ToValidUTF8(text[:longestStatus], "") + "…"
	}
	return text
}

// tellReloading begins what systemd calls a reload; tellReady ends it. Neither is
// said once we stop: READY=1 would take that back.
func (d *daemon) tellReloading() {
	d.telling.Lock()
	defer d.telling.Unlock()
	if !d.stopping {
		d.notify(systemd.SdNotifyReloading, strings.TrimSpace(systemd.SdNotifyMonotonicUsec()))
	}
}

func (d *daemon) tellReady() {
	d.telling.Lock()
	defer d.telling.Unlock()
	if !d.stopping {
		d.told = d.status()
		d.notify(systemd.SdNotifyReady, statusIs(d.told))
	}
}

// tellStatus tells the status line if it is another one by now.
func (d *daemon) tellStatus() {
	d.telling.Lock()
	defer d.telling.Unlock()
	if status := d.status(); status != d.told && !d.stopping {
		d.told = status
		d.notify(statusIs(status))
	}
}

// tellStopping is the last thing said but for the end of a failure. The time is asked
// for in advance: what drains is bounded.
func (d *daemon) tellStopping() {
	d.telling.Lock()
	defer d.telling.Unlock()
	d.stopping = true
	d.notify(systemd.SdNotifyStopping, extendBy(drain), "STATUS=stopping; renewals in flight may finish")
}

// unhurried runs f and has systemd wait for it.
func (d *daemon) unhurried(f func()) {
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(extendEvery)
		defer tick.Stop()
		for range mostExtensions {
			select {
			case <-tick.C:
				d.notify(extendBy(3 * extendEvery))
			case <-done:
				return
			}
		}
	}()
	defer func() { close(done); <-ended }()
	f()
}

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
	for {
		select {
		case <-d.dirty:
		case <-ctx.Done():
			d.log.Info("stopping")
			d.tellStopping()
			return
		}
		d.settle(ctx)
		d.tellStatus()
		pause.Reset(statusEvery)
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

// settle waits until the readers' views show what the latest event was about: it is
// told before they do. A keeper that is stuck is the watchdog's business.
func (d *daemon) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, statusEvery)
	defer cancel()
	_ = d.keeper.Ping(ctx)
}

// status is one line on how things stand: what is wrong with the file comes first,
// then the states, then the newest problem.
func (d *daemon) status() string {
	states, _ := d.count()
	d.mu.Lock()
	newest, bad := d.inForce.newest, d.inForce.err
	d.mu.Unlock()
	var parts []string
	if bad != nil {
		parts = append(parts, "credentials file not in force: "+bad.Error())
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
	if p := d.problem(newest); p != "" {
		parts = append(parts, p)
	}
	return strings.Join(parts, "; ")
}

// problem is what is wrong with the named credential, or with the first that has a
// problem if that one has none any more; "" if all is well.
func (d *daemon) problem(name string) string {
	if c := d.keeper.Cell(name); c != nil {
		if s := c.Status(); s.Error != nil {
			return name + ": " + s.Error.Detail
		}
	}
	for _, c := range d.keeper.Cells() {
		if s := c.Status(); s.Error != nil {
			return c.Name() + ": " + s.Error.Detail
		}
	}
	return ""
}

// counts is a change for people.
func counts(c keeper.Change) string {
	return fmt.Sprintf("%d added, %d changed, %d removed, %d kept", c.Added, c.Changed, c.Removed, c.Kept)
}
