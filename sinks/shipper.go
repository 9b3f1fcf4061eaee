package sinks

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bootagent/bootagent/systemd/journal"
)

// Shipper brings the journal to one Sink. Sink and Open must be set, all else
// may be left zero. It holds two batches at most, one in flight and one that is
// filled meanwhile, however long the sink is down.
type Shipper struct {
	Sink Sink

	// Open opens the journal after the entry with this cursor, or from the
	// first entry of this boot when the cursor is "".
	Open func(ctx context.Context, after string) (Reader, error)

	// CursorFile is where the last delivered position is kept, on tmpfs, so that
	// a restart goes on there; "" nowhere. One file for each Shipper.
	CursorFile string

	// Log is told when the sink goes down and comes back, and of rejected
	// entries at most once a minute: it may end up in this very journal. Nil:
	// nobody.
	Log *logrus.Logger

	// Notice is called when the sink has gone down or come back; nil: nobody.
	Notice func()

	BatchBytes int           // a batch of this size is sent; 0: 1 MiB
	BatchDelay time.Duration // a batch so old is sent; 0: 1 s

	once   sync.Once
	log    *logrus.Logger
	drains chan *drain
	ended  chan struct{}

	shipped, rejected atomic.Uint64

	mu          sync.Mutex
	hurry       chan struct{} // closed when a drain begins; nil during one
	reader      Reader        // nil between two
	lostBefore  uint64        // of the readers before
	cursor      string
	lastError   string
	inFlight    time.Time // of the oldest entry there; zero when none
	building    time.Time
	logRejectAt time.Time // when a rejection was logged last
}

const (
	leastQuiet = 50 * time.Millisecond // of a drain that wants none: it has to come to rest somehow
	batchBytes = 1 << 20
	batchDelay = time.Second
	sendTime   = time.Minute // bound of one Send
)

// prepare makes the zero value useful.
func (s *Shipper) prepare() {
	s.once.Do(func() {
		s.drains = make(chan *drain)
		s.hurry = make(chan struct{})
		s.ended = make(chan struct{})
		if s.log = s.Log; s.log == nil {
			s.log = logrus.New()
			s.log.SetOutput(io.Discard)
		}
		if s.BatchBytes <= 0 {
			s.BatchBytes = batchBytes
		}
		if s.BatchDelay <= 0 {
			s.BatchDelay = batchDelay
		}
	})
}

// Run ships until ctx ends, and returns its error. What is in flight then is
// given up, and sent again by the next Run with this CursorFile; to have
// everything sent, Drain first. Run is called once.
func (s *Shipper) Run(ctx context.Context) error {
	s.prepare()
	defer close(s.ended)
	cursor := s.readCursor()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	l := &loop{
		Shipper: s,
		entries: make(chan journal.Entry),
		work:    make(chan *batch),
		acks:    make(chan *batch),
		next:    &batch{},
	}
	var workers sync.WaitGroup
	workers.Go(func() { s.read(ctx, cursor, l.entries) })
	workers.Go(func() { s.work(ctx, l.work, l.acks) })
	l.run(ctx)
	cancel()
	workers.Wait()
	return context.Cause(ctx)
}

// readCursor is where to go on; a file which makes no sense is worth a line in
// the log and the delivery of the boot once more.
func (s *Shipper) readCursor() string {
	if s.CursorFile == "" {
		return ""
	}
	cursor, err := readCursor(s.CursorFile)
	if err != nil {
		s.log.WithFields(logrus.Fields{"sink": s.Sink.String(), "error": err}).
			Warn("cursor unusable, shipping from the start of the boot")
	}
	s.mu.Lock()
	s.cursor = cursor
	s.mu.Unlock()
	return cursor
}

// read hands the entries of the journal to the loop until ctx ends; it opens
// another Reader when one fails.
func (s *Shipper) read(ctx context.Context, after string, entries chan<- journal.Entry) {
	failed := false
	for try := 0; ctx.Err() == nil; try++ {
		last, err := s.readOne(ctx, after, entries)
		if ctx.Err() != nil {
			return
		}
		if last != after {
			after, try, failed = last, 0, false
		}
		if !failed {
			failed = true
			s.log.WithFields(logrus.Fields{"sink": s.Sink.String(), "error": err}).Warn("journal unreadable")
		}
		_ = s.wait(ctx, s.pause(try, nil)) // the loop looks at ctx itself
	}
}

// readOne hands on what one Reader gives, and returns the last cursor.
func (s *Shipper) readOne(ctx context.Context, after string, entries chan<- journal.Entry) (string, error) {
	reader, err := s.Open(ctx, after)
	if err != nil {
		return after, err
	}
	s.setReader(reader)
	defer func() {
		_ = reader.Close()
		s.setReader(nil)
	}()
	for {
		entry, err := reader.Next(ctx)
		if err != nil {
			return after, err
		}
		select {
		case entries <- entry:
			after = entry.Cursor
		case <-ctx.Done():
			return after, ctx.Err()
		}
	}
}

// setReader makes reader the one that Stats ask, and remembers the count of the
// one before.
func (s *Shipper) setReader(reader Reader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reader != nil {
		s.lostBefore += s.reader.Lost()
	}
	s.reader = reader
}

// work delivers batches, one at a time, until ctx ends.
func (s *Shipper) work(ctx context.Context, work <-chan *batch, acks chan<- *batch) {
	for {
		select {
		case b := <-work:
			if s.deliver(ctx, b.entries) != nil {
				return
			}
			select {
			case acks <- b:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// Stats may be called at any time.
func (s *Shipper) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	stats := Stats{
		Sink:    s.Sink.String(),
		Shipped: s.shipped.Load(), Rejected: s.rejected.Load(), Lost: s.lostBefore,
		Cursor: s.cursor, LastError: s.lastError,
	}
	if s.reader != nil {
		stats.Lost += s.reader.Lost()
	}
	oldest := s.inFlight
	if oldest.IsZero() {
		oldest = s.building
	}
	if !oldest.IsZero() {
		stats.Lag = max(0, time.Since(oldest))
	}
	return stats
}

// down takes note of a failure; the first one is logged.
func (s *Shipper) down(err error) {
	s.mu.Lock()
	first := s.lastError == ""
	s.lastError = err.Error()
	s.mu.Unlock()
	if first {
		s.log.WithFields(logrus.Fields{"sink": s.Sink.String(), "error": err}).Warn("sink down")
		s.notice()
	}
}

// up takes note of a success; the first one after a failure is logged.
func (s *Shipper) up() {
	s.mu.Lock()
	first := s.lastError != ""
	s.lastError = ""
	s.mu.Unlock()
	if first {
		s.log.WithField("sink", s.Sink.String()).Info("sink up")
		s.notice()
	}
}

func (s *Shipper) notice() {
	if s.Notice != nil {
		s.Notice()
	}
}

// logRejected logs a rejection, one a minute.
func (s *Shipper) logRejected(cause error) {
	s.mu.Lock()
	due := s.logRejectAt.IsZero() || time.Since(s.logRejectAt) >= time.Minute
	if due {
		s.logRejectAt = time.Now()
	}
	s.mu.Unlock()
	if due {
		s.log.WithFields(logrus.Fields{"sink": s.Sink.String(), "error": cause, "rejected": s.rejected.Load()}).
			Warn("log entry rejected")
	}
}

// hasten makes pauses between tries short, beginning with the present one, or
// as long again as they were.
func (s *Shipper) hasten(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if on {
		close(s.hurry)
		s.hurry = nil
	} else {
		s.hurry = make(chan struct{})
	}
}

func (s *Shipper) isDraining() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hurry == nil
}

// reading tells whether there is a journal to read from at present.
func (s *Shipper) reading() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reader != nil
}

// drain is a call of Drain.
type drain struct {
	ctx   context.Context
	quiet time.Duration
	done  chan error
}

// Drain has the running Shipper deliver everything there is in the journal,
// until nothing came for quiet and the sink has it all, and write its cursor.
// Pauses between tries are short meanwhile. The error says how many entries in
// hand were not delivered when ctx ended. Run goes on.
func (s *Shipper) Drain(ctx context.Context, quiet time.Duration) error {
	s.prepare()
	d := &drain{ctx: ctx, quiet: quiet, done: make(chan error, 1)}
	select {
	case s.drains <- d:
	case <-s.ended:
		return errEnded
	case <-ctx.Done():
		return fmt.Errorf("drain: %w", ctx.Err())
	}
	select {
	case err := <-d.done:
		return err
	case <-s.ended:
		return errEnded
	}
}

var errEnded = errors.New("drain: the shipper has ended")
