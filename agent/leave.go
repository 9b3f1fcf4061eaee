package agent

import (
	"context"
	"sync"
	"time"

	"github.com/bootagent/bootagent/systemd"
	"github.com/sirupsen/logrus"
)

// How the resident leaves. Its unit gives it 30 s, more if it asks.
const (
	quietTime    = 500 * time.Millisecond // journald hands entries on within 250 ms
	drainTime    = 10 * time.Second       // for the last of the logs
	lingerTime   = 100 * time.Second      // for units that stop slowly: DefaultTimeoutStopSec is 90 s
	lingerLook   = 100 * time.Millisecond // between two looks at them
	lingerExtend = 15 * time.Second       // asked for at each look
)

// leave ends the resident's work in good order. On a restart of the agent the
// node goes nowhere: only the cursors are written. Else the registry hears of
// it first; then everybody else's last words are waited for and sent.
func (r *resident) leave(ctx context.Context) {
	r.Notify.Stopping()
	manager, err := systemd.Connect(ctx, r.place.Unit)
	if err != nil {
		manager = nil
	} else {
		defer manager.Close()
	}
	if r.restarts(ctx, manager) {
		r.drain(ctx, 0)
		return
	}
	r.mu.Lock()
	r.online, r.leaving = false, true
	r.mu.Unlock()
	r.rememberOnline()
	if r.holder != nil {
		last, cancel := context.WithTimeout(ctx, leaveTime)
		defer cancel()
		r.holder.leave(last)
	}
	r.announce()
	r.linger(ctx, manager)
	r.drain(ctx, quietTime)
}

// restarts tells whether a successor will be started at once.
func (r *resident) restarts(ctx context.Context, manager *systemd.Manager) bool {
	jobs, err := r.jobs(ctx, manager)
	return err == nil && (jobs.Own == "restart" || jobs.Own == "try-restart")
}

func (r *resident) jobs(ctx context.Context, manager *systemd.Manager) (systemd.Jobs, error) {
	if manager == nil {
		return systemd.Jobs{}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return manager.Jobs(ctx)
}

// linger waits for other units that are being stopped at the same time: they
// may have something to say. Units that are ordered to stop after this one,
// as the network is, wait for it.
func (r *resident) linger(ctx context.Context, manager *systemd.Manager) {
	look := time.NewTicker(lingerLook)
	defer look.Stop()
	for start := time.Now(); time.Since(start) < lingerTime; {
		jobs, err := r.jobs(ctx, manager)
		if err != nil || jobs.Stopping == 0 {
			return
		}
		r.Notify.Extend(lingerExtend)
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// drain sends what the journal holds, to all sinks at the same time, until it
// was quiet for that long.
func (r *resident) drain(ctx context.Context, quiet time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	r.Notify.Extend(drainTime + leaveTime)
	var drains sync.WaitGroup
	for _, shipper := range r.shippers {
		drains.Go(func() {
			if err := shipper.Drain(ctx, quiet); err != nil {
				r.Log.WithFields(logrus.Fields{"message_id": messageLeaving, "sink": shipper.Sink.String()}).WithError(err).Warn("logs left behind")
			}
		})
	}
	drains.Wait()
}
