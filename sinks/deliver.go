package sinks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/bootagent/bootagent/systemd/journal"
)

// How often a batch is sent again.
const (
	retryFirst = 500 * time.Millisecond // bound of the first random pause, doubled
	retryMost  = time.Minute            // each time up to this
	retryAfter = 5 * time.Minute        // most that a receiver may ask for
	retryDrain = time.Second            // bound while draining: no time is left

	// noAnswers is how often the other side may hang up on one batch before the
	// batch is suspected rather than the other side.
	noAnswers = 6
)

// Fields of the stub that takes the place of a rejected entry.
const (
	fieldRejected = "BOOTAGENT_REJECTED" // what the entry was: its size
	fieldRealtime = "BOOTAGENT_REALTIME" // its time, where the stub has another
)

// deliver sends entries until the other side has them, except for those it does
// not take: these are sought by halving, and a stub is sent for each. The error
// is that of ctx.
func (s *Shipper) deliver(ctx context.Context, entries []journal.Entry) error {
	for {
		err := s.send(ctx, entries)
		switch {
		case err == nil:
			s.shipped.Add(uint64(len(entries)))
			return nil
		case ctx.Err() != nil:
			return ctx.Err()
		case len(entries) > 1:
			half := len(entries) / 2
			if err := s.deliver(ctx, entries[:half]); err != nil {
				return err
			}
			entries = entries[half:]
		default:
			return s.reject(ctx, entries[0], err)
		}
	}
}

// reject deals with an entry that was refused alone. Whether that is its own
// fault, a stub tells: a receiver that takes not even a stub takes nothing,
// which is no reason to throw entries away. So they are offered in turn, slowly,
// until one is taken.
func (s *Shipper) reject(ctx context.Context, entry journal.Entry, cause error) error {
	for try := 0; ; try++ {
		for _, stub := range stubs(entry, cause) {
			err := s.send(ctx, []journal.Entry{stub})
			if err == nil && errors.Is(cause, ErrNoAnswer) {
				// It answers now. If it takes the entry too, it was only away.
				if err := s.send(ctx, []journal.Entry{entry}); err == nil {
					s.shipped.Add(1)
					return nil
				}
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err == nil {
				s.rejected.Add(1)
				s.logRejected(cause)
				return nil
			}
		}
		s.down(fmt.Errorf("everything is refused: %v", cause))
		if err := s.wait(ctx, s.pause(try, ErrDenied)); err != nil {
			return err
		}
		if err := s.send(ctx, []journal.Entry{entry}); err == nil {
			s.shipped.Add(1)
			return nil
		}
	}
}

// stubs are what is sent in place of an entry: it with nothing but the reason;
// the same at the present time, as the entry's own may be what is refused.
func stubs(entry journal.Entry, cause error) [2]journal.Entry {
	stub := entry
	stub.Fields = []journal.Field{
		{Name: "PRIORITY", Value: []byte("4")},
		{Name: "SYSLOG_IDENTIFIER", Value: []byte("bootagent")},
		{Name: fieldRejected, Value: fmt.Appendf(nil, "%d bytes in %d fields", entry.Size(), len(entry.Fields))},
		{Name: "MESSAGE", Value: fmt.Appendf(nil, "log entry refused by its receiver, %d bytes cut: %v", entry.Size(), cause)},
	}
	now := stub
	now.Realtime = time.Now()
	now.Fields = append(stub.Fields[:len(stub.Fields):len(stub.Fields)],
		journal.Field{Name: fieldRealtime, Value: fmt.Append(nil, entry.Realtime.UnixMicro())})
	return [2]journal.Entry{stub, now}
}

// send tries until it succeeds; it gives up on ctx, on a rejection, and on a
// batch that the other side has hung up on too often.
func (s *Shipper) send(ctx context.Context, entries []journal.Entry) error {
	hangups := 0
	for try := 0; ; try++ {
		err := s.try(ctx, entries)
		if err == nil || ctx.Err() != nil || errors.Is(err, ErrRejected) {
			return err
		}
		if errors.Is(err, ErrNoAnswer) {
			if hangups++; hangups == noAnswers {
				return err
			}
		} else {
			hangups = 0
		}
		if err := s.wait(ctx, s.pause(try, err)); err != nil {
			return err
		}
	}
}

// try sends once, within a bound, and takes note of the outcome.
func (s *Shipper) try(ctx context.Context, entries []journal.Entry) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	err := s.Sink.Send(ctx, entries)
	switch {
	case err == nil:
		s.up()
	case !errors.Is(err, ErrRejected):
		s.down(err)
	}
	return err
}

// pause is how long to wait after the try-th failure: random between nothing
// and a bound that doubles ("full jitter"), so that a fleet does not come back
// as one; what the other side asks for; or long, when only a person can help.
func (s *Shipper) pause(try int, err error) time.Duration {
	most := min(retryMost, retryFirst<<min(try, 10))
	if asked, ok := errors.AsType[*RetryError](err); ok && asked.After > 0 {
		return min(asked.After, retryAfter) + rand.N(most)
	}
	switch {
	case s.isDraining():
		most = min(most, retryDrain)
	case errors.Is(err, ErrDenied):
		return retryMost/2 + rand.N(retryMost/2)
	}
	return rand.N(most)
}

// wait waits, until a drain begins at most.
func (s *Shipper) wait(ctx context.Context, pause time.Duration) error {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	s.mu.Lock()
	hurry := s.hurry
	s.mu.Unlock()
	select {
	case <-timer.C:
	case <-hurry:
	case <-ctx.Done():
		return ctx.Err()
	}
	return nil
}
