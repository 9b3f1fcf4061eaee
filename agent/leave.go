package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bootagent/bootagent/systemd"
	"golang.org/x/sync/errgroup"
)

// How the resident leaves. Its unit gives it 30 s, more if it asks.
const (
	blindTime    = 3 * time.Second        // as long as that, if other units may be stopping unseen
	quietTime    = 500 * time.Millisecond // journald hands entries on within 250 ms
	drainTime    = 10 * time.Second       // for the last of the logs
	restartTime  = time.Second            // for the last of the logs, if a successor goes on with them
	failedTime   = 5 * time.Minute        // for the reason of a failed boot, before the node is shot
	lingerTime   = 100 * time.Second      // for units that stop slowly: DefaultTimeoutStopSec is 90 s
	lingerLook   = 100 * time.Millisecond // between two looks at them
	lingerExtend = 15 * time.Second       // asked for at each look
)

// leave ends the resident's work in good order. On a restart of the agent the
// node goes nowhere: only the cursors are written. Else the registry hears of
// it first; then everybody else's last words are waited for and sent.
func (r *resident) leave(ctx context.Context) {
	r.Notify.Stopping()
	manager := r.manager(ctx)
	defer manager.Close()
	if r.restarts(ctx, manager) {
		_ = r.drain(ctx, 0, restartTime) // what is left is the successor's
		return
	}
	r.mu.Lock()
	r.online, r.leaving, r.stopping = false, true, true // until the next start: the mark of `online` stays
	r.mu.Unlock()
	if r.holder != nil {
		last, cancel := context.WithTimeout(ctx, leaveTime)
		defer cancel()
		r.holder.leave(last)
	}
	r.announce()
	if err := r.drain(ctx, r.linger(ctx, manager), drainTime); err != nil {
		r.Log.WithField("message_id", messageLeaving).WithError(err).Warn("logs left behind")
	}
}

// manager is a connection to systemd; nil without one.
func (r *resident) manager(ctx context.Context) *systemd.Manager {
	if r.place.Unit == "" || !systemd.Booted() {
		return nil
	}
	manager, err := systemd.Connect(ctx, r.place.Unit)
	if err != nil {
		r.Log.WithError(err).Warn("no word from systemd")
	}
	return manager
}

// restarts tells whether a successor will be started at once. Where systemd
// does not say so, a node that goes down was taken out of rotation before.
func (r *resident) restarts(ctx context.Context, manager *systemd.Manager) bool {
	jobs, err := manager.Jobs(ctx)
	if errors.Is(err, systemd.ErrNoBus) && r.place.Unit != "" {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.online
	}
	return err == nil && jobs.Restarts
}

// linger waits for other units that are being stopped at the same time: they
// may have something to say. Units that are ordered to stop after this one,
// as the network is, wait for it. It returns for how long the journal has to
// be quiet then: longer, where systemd does not tell about other units.
func (r *resident) linger(ctx context.Context, manager *systemd.Manager) (quiet time.Duration) {
	look := time.NewTicker(lingerLook)
	defer look.Stop()
	for start := time.Now(); time.Since(start) < lingerTime; {
		jobs, err := manager.Jobs(ctx)
		if err != nil && r.place.Unit != "" {
			r.Log.WithField("message_id", messageLeaving).WithError(err).Warn("other units may be stopping unseen")
			return blindTime
		}
		if jobs.Stopping == 0 {
			return quietTime
		}
		r.Notify.Extend(lingerExtend)
		select {
		case <-look.C:
		case <-ctx.Done():
			return quietTime
		}
	}
	return quietTime
}

// drain sends what the journal holds, to all sinks at the same time, until it
// was quiet for that long, or the most time has passed. The error is of the
// first sink that did not get everything.
func (r *resident) drain(ctx context.Context, quiet, most time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	r.Notify.Extend(most + leaveTime)
	var drains errgroup.Group
	for _, shipper := range r.shippers {
		drains.Go(func() error {
			if err := shipper.Drain(ctx, quiet); err != nil {
				return fmt.Errorf("%s: %v", shipper.Sink, err)
			}
			return nil
		})
	}
	return drains.Wait()
}
