package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/sirupsen/logrus"
)

// Bounds of what is asked of a registry.
const (
	registerTime = 10 * time.Second // one attempt
	leaveTime    = 5 * time.Second  // to leave it
)

// holder keeps the node in the registry: puts it there, renews its lease, and
// takes note when it is lost.
type holder struct {
	open   func() (registry, error) // reads its secrets, which may not be there yet
	links  *truth.Links
	log    *logrus.Logger
	notice func() // what status returns is different now

	registry registry // once it is open

	quit  chan struct{} // closed: leave
	ended chan struct{}
	wake  chan struct{} // the node's state is to be another

	mu      sync.Mutex
	node    truth.Node      // as it is to stand in the registry
	told    truth.State     // what the registry knows of its state
	status  status.Registry // how it stands there
	lost    string          // who has the name that was ours; empty: we do
	changed chan struct{}   // closed when told or status change
}

func newHolder(r *resident) *holder {
	links := r.watchLinks()
	return &holder{
		open:  func() (registry, error) { return r.registry(r.config.Registry, links, r.credential) },
		links: links, log: r.Log, notice: r.announce,
		quit: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}),
		node:   record(r.receipt, r.config, r.inventoryState(), r.Version),
		status: status.Registry{Backend: r.config.Registry.Kind(), State: "registering"},
	}
}

// run holds the node's place until ctx ends, when it is kept for a successor,
// or until leave, when it is given up.
func (h *holder) run(ctx context.Context) {
	defer close(h.ended)
	defer func() { _ = h.links.Close() }()
	defer h.close()
	holding, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-h.quit:
			cancel()
		case <-holding.Done():
		}
	}()
	var lease truth.Lease
	for holding.Err() == nil {
		if registration, ok := h.register(holding); ok {
			lease = registration.Lease
			h.hold(holding, registration)
			h.standAside(holding, registration)
		}
	}
	if ctx.Err() == nil {
		h.release(ctx, lease)
	}
}

// register asks until the registry takes the node. A name that another holds
// is given up: it is never fought for.
func (h *holder) register(ctx context.Context) (registration truth.Registration, ok bool) {
	retry := truth.Retry{
		Links: h.links, Longest: time.Minute,
		Waiting: func(err error) {
			if !errors.Is(err, truth.ErrTaken) { // which was noted, and ends with a place without the name
				h.trouble("registering", err)
			}
		},
	}
	err := retry.Do(ctx, func(ctx context.Context) (err error) {
		ctx, cancel := context.WithTimeout(ctx, registerTime)
		defer cancel()
		if err := h.reopen(); err != nil {
			return err
		}
		registration, err = h.registry.Register(ctx, h.wanted())
		if errors.Is(err, truth.ErrTaken) {
			h.nameless(err)
		} else if err != nil {
			h.close() // the next attempt reads its secrets again
		}
		return err
	})
	if ctx.Err() != nil {
		return registration, false
	} else if err != nil { // final
		h.trouble("registering", err)
		h.pause(ctx, time.Minute)
		return registration, false
	}
	h.good(registration, registration.Node.State)
	h.log.WithFields(logrus.Fields{
		"message_id": messageRegistry, "registry": h.registry.String(), "key": registration.Key,
	}).Info("registered")
	return registration, true
}

// reopen opens the registry unless it is open.
func (h *holder) reopen() (err error) {
	if h.registry.Registry == nil {
		h.registry, err = h.open()
	}
	return err
}

func (h *holder) close() {
	if h.registry.Registry != nil {
		_ = h.registry.close()
		h.registry = registry{}
	}
}

// standAside waits as long as another boot of this identity is registered: a
// machine that was cloned with its id, mostly. To register again would take
// the place from the other one, which would take it back, for ever.
func (h *holder) standAside(ctx context.Context, registration truth.Registration) {
	for h.another(ctx) && h.pause(ctx, cmp.Or(registration.TTL, time.Minute)) {
	}
}

// another tells whether another boot of this identity is registered, or may be.
func (h *holder) another(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, registerTime)
	defer cancel()
	us := h.wanted()
	nodes, err := h.registry.Nodes(ctx)
	if err != nil && len(nodes) == 0 { // else some records could not be read
		h.trouble("lost", err)
		return true // as long as nobody says otherwise
	}
	for _, n := range nodes {
		if n.ID == us.ID && n.BootID != us.BootID {
			h.trouble("lost", fmt.Errorf("%s: another boot of node %s is registered (was its machine-id cloned?)", h.registry, n.ID))
			return true
		}
	}
	return false
}

// hold renews the lease until it is lost or ctx ends. A registry that does not
// answer is asked again until the lease must have expired, counted from when
// the last good renewal was sent.
func (h *holder) hold(ctx context.Context, registration truth.Registration) {
	renewed, pause := time.Now(), interval(registration.TTL)
	for h.pause(ctx, pause) {
		sent := time.Now()
		err := h.refresh(ctx, registration)
		pause = interval(registration.TTL)
		switch {
		case err == nil:
			renewed = sent
			continue
		case ctx.Err() != nil:
			return
		case errors.Is(err, truth.ErrLost), registration.TTL > 0 && time.Since(renewed) > registration.TTL:
			h.trouble("lost", err)
			return
		}
		h.trouble("registered", err)
		pause = min(cmp.Or(pause, time.Minute), refreshAgain)
	}
}

// refreshAgain is the pause after a renewal that got no answer.
const refreshAgain = 2 * time.Second

// interval is a third of the TTL, give or take a tenth, so that a fleet which
// booted at once does not renew at once; 0, never, without a TTL.
func interval(ttl time.Duration) time.Duration {
	if ttl == 0 {
		return 0
	}
	return ttl/3 - ttl/60 + rand.N(ttl/30)
}

// pause waits for d, for ever if it is 0, or until the node's state is to be
// another. It is false when ctx has ended.
func (h *holder) pause(ctx context.Context, d time.Duration) bool {
	var due <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		due = timer.C
	}
	select {
	case <-due:
	case <-h.wake:
	case <-ctx.Done():
	}
	return ctx.Err() == nil
}

// refresh renews the lease, and tells the registry of another state.
func (h *holder) refresh(ctx context.Context, registration truth.Registration) error {
	ctx, cancel := context.WithTimeout(ctx, registerTime)
	defer cancel()
	wanted := h.wanted()
	h.mu.Lock()
	told := h.told == wanted.State
	h.mu.Unlock()
	if err := registration.Renew(ctx); err != nil {
		return err
	}
	if !told {
		if err := registration.Update(ctx, wanted); err != nil {
			return err
		}
	}
	h.good(registration, wanted.State)
	return nil
}

// update wants another state in the registry, and waits until it is there.
func (h *holder) update(ctx context.Context, state truth.State) error {
	h.mu.Lock()
	h.node.State = state
	h.mu.Unlock()
	select {
	case h.wake <- struct{}{}:
	default:
	}
	for {
		h.mu.Lock()
		told, changed, last := h.told, h.changed, h.status
		h.mu.Unlock()
		if told == state {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return fmt.Errorf("%s: not told that the node is %s: %s", last.Backend, state, cmp.Or(last.Error, "no answer in time"))
		}
	}
}

// leave gives up the node's place, and waits until that is done.
func (h *holder) leave(ctx context.Context) {
	close(h.quit)
	select {
	case <-h.ended:
	case <-ctx.Done():
	}
}

// release removes the node from the registry. If that is not to be had, the
// registry's TTL does it.
func (h *holder) release(ctx context.Context, lease truth.Lease) {
	ctx, cancel := context.WithTimeout(ctx, leaveTime)
	defer cancel()
	lease, err := h.claimed(ctx, lease)
	if err == nil && lease != nil {
		err = lease.Release(ctx)
	}
	backend := h.Status().Backend // the registry itself may not be open
	h.set(func() {
		h.status.State, h.status.Error = "left", ""
		if err != nil {
			h.status.Error = err.Error()
		}
	})
	entry := h.log.WithFields(logrus.Fields{"message_id": messageRegistry, "registry": backend})
	if err != nil {
		entry.WithError(err).Warn("deregistration without an answer")
		return
	}
	entry.Info("deregistered")
}

// claimed is the lease, or that of a name which the boot has claimed and this
// holder did not come to adopt; nil if there is neither.
func (h *holder) claimed(ctx context.Context, lease truth.Lease) (truth.Lease, error) {
	if lease != nil || h.wanted().Ordinal == 0 {
		return lease, nil
	}
	if err := h.reopen(); err != nil {
		return nil, err
	}
	registration, err := h.registry.Register(ctx, h.wanted())
	return registration.Lease, err
}

// wanted is the record as it is to be.
func (h *holder) wanted() truth.Node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.node
}

// nameless goes on without the name that another has.
func (h *holder) nameless(err error) {
	h.trouble("lost", err)
	h.set(func() { h.lost, h.node.Name, h.node.Ordinal = err.Error(), "", 0 })
}

// good takes note that the registry holds the node.
func (h *holder) good(registration truth.Registration, told truth.State) {
	h.set(func() {
		h.told = told
		h.status = status.Registry{
			Backend: h.registry.String(), State: "registered", Key: registration.Key, Token: registration.Token, Renewed: time.Now(),
		}
		if h.lost != "" {
			h.status.State, h.status.Error = "lost", h.lost
		}
	})
}

// trouble takes note of an error and of what it leads to; what is new is logged.
func (h *holder) trouble(state string, err error) {
	h.mu.Lock()
	known := h.status.State == state && h.status.Error == err.Error()
	h.mu.Unlock()
	if known {
		return
	}
	h.log.WithField("message_id", messageRegistry).WithError(err).Warn("registry")
	h.set(func() { h.status.State, h.status.Error = state, err.Error() })
}

// set changes what others may look at, and tells them.
func (h *holder) set(change func()) {
	h.mu.Lock()
	before := h.status.State
	change()
	after := h.status.State
	close(h.changed)
	h.changed = make(chan struct{})
	h.mu.Unlock()
	if before != after {
		h.notice()
	}
}

// Status is how the node stands in the registry.
func (h *holder) Status() status.Registry {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.status
}
