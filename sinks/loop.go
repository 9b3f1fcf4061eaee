package sinks

import (
	"context"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bootagent/bootagent/systemd/journal"
)

// loop is the part of a Shipper that decides: when a batch is complete, what is
// remembered, when a drain is done. One goroutine, no lock; reading and sending
// go on in two others, so that neither makes the other wait.
type loop struct {
	*Shipper
	entries chan journal.Entry
	work    chan *batch // to the worker
	acks    chan *batch // and back, delivered

	next    *batch // being filled
	current *batch // in flight, nil when none
	due     bool   // next is old enough

	unstored bool // the cursor file could not be written, and that was logged

	drain   *drain // under way, nil when none
	drained bool   // nothing came for long enough
}

func (l *loop) run(ctx context.Context) {
	delay, quiet := stopped(), stopped()
	for {
		in, out := l.gates()
		select {
		case entry := <-in:
			if l.add(entry) {
				delay.Reset(l.BatchDelay)
			}
			l.rest(quiet)
		case out <- l.next:
			delay.Stop()
			if in == nil {
				l.rest(quiet) // there was no room: nothing could come
			}
			l.sent()
		case b := <-l.acks:
			l.acked(b)
		case <-delay.C:
			l.due = true
		case l.drain = <-l.drainable():
			l.hasten(true)
			l.rest(quiet)
		case <-quiet.C:
			if l.drained = l.reading(); !l.drained {
				l.rest(quiet)
			}
		case <-l.drainEnd():
			l.finish(fmt.Errorf("drain: %d entries left: %w", l.left(), l.drain.ctx.Err()))
		case <-ctx.Done():
			return
		}
		if l.drain != nil && l.drained && l.left() == 0 {
			l.finish(nil)
		}
	}
}

// stopped is a timer that does not run yet.
func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

// gates are the channels that are open: entries come in while there is room, a
// batch goes out when it is complete. A nil channel never gets its turn.
func (l *loop) gates() (in <-chan journal.Entry, out chan<- *batch) {
	full := l.next.size >= l.BatchBytes
	if !full {
		in = l.entries
	}
	complete := full || l.due || l.next.urgent || l.drain != nil && l.drained
	if complete && len(l.next.entries) > 0 && l.current == nil {
		out = l.work
	}
	return in, out
}

// add puts an entry into the next batch, and tells whether it is the first.
func (l *loop) add(entry journal.Entry) bool {
	l.next.add(entry, time.Now())
	if len(l.next.entries) > 1 {
		return false
	}
	l.mu.Lock()
	l.building = entry.Realtime
	l.mu.Unlock()
	return true
}

// sent takes note that the batch is in flight, and starts another.
func (l *loop) sent() {
	l.current, l.next, l.due = l.next, &batch{}, false
	l.mu.Lock()
	l.inFlight, l.building = l.building, time.Time{}
	l.mu.Unlock()
}

// acked takes note that a batch is done with.
func (l *loop) acked(b *batch) {
	l.current = nil
	l.mu.Lock()
	l.inFlight, l.cursor = time.Time{}, b.last()
	l.mu.Unlock()
	l.store(b.last())
}

// store writes the cursor file. For each batch: it is far cheaper than to send
// one, and so a crash repeats no more than the batch in flight. Where it does
// not work, a restart repeats more, which is no loss.
func (l *loop) store(cursor string) {
	if l.CursorFile == "" {
		return
	}
	err := writeCursor(l.CursorFile, cursor)
	if err != nil && !l.unstored {
		l.log.WithFields(logrus.Fields{"sink": l.Sink.String(), "error": err}).Warn("cursor not written")
	}
	l.unstored = err != nil
}

// left is how many entries are in hand.
func (l *loop) left() int {
	n := len(l.next.entries)
	if l.current != nil {
		n += len(l.current.entries)
	}
	return n
}

// drainable is where the next drain comes from: one at a time.
func (l *loop) drainable() <-chan *drain {
	if l.drain != nil {
		return nil
	}
	return l.drains
}

func (l *loop) drainEnd() <-chan struct{} {
	if l.drain == nil {
		return nil
	}
	return l.drain.ctx.Done()
}

// rest starts the time of rest that a drain waits for anew.
func (l *loop) rest(quiet *time.Timer) {
	if l.drain != nil {
		l.drained = false
		quiet.Reset(max(l.drain.quiet, leastQuiet))
	}
}

// finish ends a drain.
func (l *loop) finish(err error) {
	l.drain.done <- err
	l.drain, l.drained = nil, false
	l.hasten(false)
}
