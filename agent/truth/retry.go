package truth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"
)

// Bounds of the pauses between attempts. A boot is waited for by people, and
// its deadline bounds the sum; so the pauses stay short.
const (
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	settle       = 20 * time.Millisecond // after a change of the links, which come in bursts
	longSettle   = time.Second           // after one of many: a network that never rests is no reason to rush

	longestPatience = 400 * time.Millisecond // with an attempt to connect, after a change
)

// Retry tries something until it is done, final, or out of time.
type Retry struct {
	// Links, if not nil, ends a pause when the network changes.
	Links *Links

	// Longest bounds the pauses; 5 s if zero.
	Longest time.Duration

	// Waiting, if not nil, is told the error after which another attempt will
	// be made.
	Waiting func(err error)
}

// Do calls try until it returns nil, or an error that is final or ErrAbsent,
// or ctx ends. Pauses between attempts are random up to a bound that doubles
// (full jitter), unless the other side said how long to wait. When time is
// out, the error is that of the last attempt which ended by itself: it says
// more than that a deadline passed.
func (r Retry) Do(ctx context.Context, try func(context.Context) error) error {
	var last error
	longest := cmp.Or(r.Longest, longestPause)
	calm := settle
	for bound := min(firstPause, longest); ; bound = min(2*bound, longest) {
		changed := r.Links.Changed()
		err := try(ctx)
		if err == nil || errors.Is(err, ErrAbsent) || errors.Is(err, ErrFinal) {
			return err
		}
		if ctx.Err() == nil || last == nil {
			last = err
		}
		if ctx.Err() == nil {
			if r.Waiting != nil {
				r.Waiting(err)
			}
			if wait(ctx, changed, delay(err, bound), calm) {
				calm = min(2*calm, longSettle)
			} else {
				calm = settle
			}
		}
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			return fmt.Errorf("%w (gave up at the deadline)", last)
		} else if ctx.Err() != nil {
			return fmt.Errorf("%w (interrupted)", last)
		}
	}
}

// wait ends after d, or a calm after the network changed, or with ctx. It
// tells whether the network has changed.
func wait(ctx context.Context, changed <-chan struct{}, d, calm time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-changed:
		timer.Reset(calm)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		return true
	}
	return false
}

// delay is how long to wait after err.
func delay(err error, bound time.Duration) time.Duration {
	if a, ok := errors.AsType[after](err); ok {
		return a.delay
	}
	return rand.N(bound)
}
