package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/sinks"
	"github.com/bootagent/bootagent/systemd/journal"
)

// Place is where the resident lives on its node.
type Place struct {
	Cursors   string         // the only folder that it writes to, on tmpfs
	Listeners []net.Listener // for its status
	Unit      string         // its own unit's name; empty: it is in none
	Online    bool           // it is in rotation from the start: nobody will say so

	// ExitWhenFailed ends Run with an error if the boot failed, as soon as the
	// reason was shipped, for a unit that then does something to the node.
	ExitWhenFailed bool

	// Own are the agent's own log entries, shipped where there is no journal;
	// nil: the journal is shipped.
	Own *journal.Ring
}

// Run is the resident. It ends some time after ctx does, when it has left. The
// error says that it did not begin, or see Place.ExitWhenFailed.
func (a *Agent) Run(ctx context.Context, place Place) error {
	r, err := a.adopt(place)
	if err != nil {
		return err
	}
	work, stop := context.WithCancel(context.WithoutCancel(ctx)) // leaving takes its time
	defer stop()
	var tasks sync.WaitGroup
	r.ship(work, &tasks)
	r.register(work, &tasks)
	r.serve(work, &tasks)
	a.Notify.Ready()
	r.announce()

	err = r.stay(ctx)
	r.leave(work)
	stop()
	tasks.Wait()
	return err
}

// resident is the resident at work. What it knows of the boot does not change.
type resident struct {
	*Agent
	place   Place
	config  config.Config  // with what the document set of it
	receipt status.Receipt // of the boot, or what is known instead
	known   bool           // whether there is a receipt

	shippers []*sinks.Shipper
	holder   *holder // nil: no registry
	metrics  *metrics

	mu       sync.Mutex
	online   bool
	leaving  bool                        // taken out of rotation, or
	stopping bool                        // on the way out for good
	since    map[string]status.Condition // when conditions changed last
	state    status.State                // as announced last
}

// stay waits until it is time to leave.
func (r *resident) stay(ctx context.Context) error {
	if r.place.ExitWhenFailed && r.receipt.State == status.Failed {
		if err := r.drain(ctx, quietTime, failedTime); err != nil {
			r.Log.WithField("message_id", messageLeaving).WithError(err).Warn("logs left behind")
		}
		return fmt.Errorf("boot failed: %s", r.receipt.Error)
	}
	<-ctx.Done()
	return nil
}

// ship brings the journal of this boot to every sink, from its first entry or
// from where the sink's cursor is.
func (r *resident) ship(ctx context.Context, tasks *sync.WaitGroup) {
	for _, shipper := range r.shippers {
		tasks.Go(func() { _ = shipper.Run(ctx) }) // it ends with ctx only
	}
}

// register keeps the node in the inventory.
func (r *resident) register(ctx context.Context, tasks *sync.WaitGroup) {
	if r.holder != nil {
		tasks.Go(func() { r.holder.run(ctx) })
	}
}

// serve answers who asks. An endpoint that fails is missed by people, and no
// reason to leave the logs and the registry alone.
func (r *resident) serve(ctx context.Context, tasks *sync.WaitGroup) {
	server := status.Server{Agent: r, Metrics: r.metrics.handler()}
	tasks.Go(func() {
		if err := server.Serve(ctx, r.place.Listeners...); err != nil {
			r.Log.WithError(err).Error("status endpoint ended")
		}
	})
}

// Online puts the node in rotation, or takes it out. The registry is told
// before it returns, if it answers in time, and else when it does. A node whose boot failed stays out,
// and so does one that is going down.
func (r *resident) Online(ctx context.Context, online bool) error {
	r.mu.Lock()
	if online && (r.stopping || r.receipt.State != status.Done) {
		r.mu.Unlock()
		return errors.New("the node is not fit: " + string(r.Status().State))
	}
	r.online, r.leaving = online, !online
	r.mu.Unlock()
	r.rememberOnline()
	defer r.announce()
	if r.holder == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, updateTime)
	defer cancel()
	if err := r.holder.update(ctx, r.inventoryState()); err != nil {
		r.Log.WithField("message_id", messageRegistry).WithError(err).Warn("registry not told")
	}
	return nil
}

// updateTime is how long rotation waits for the registry.
const updateTime = 3 * time.Second
