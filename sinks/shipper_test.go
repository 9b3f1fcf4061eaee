package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/bootagent/bootagent/systemd/journal"
)

// receiver is the other side of a sink: it keeps what it takes.
type receiver struct {
	refuse func(batch []journal.Entry) error // nil: takes everything
	delay  time.Duration

	mu       sync.Mutex
	tries    []time.Time
	batches  [][]journal.Entry
	accepted []time.Time
}

func (r *receiver) Send(ctx context.Context, batch []journal.Entry) error {
	select {
	case <-time.After(r.delay):
	case <-ctx.Done():
		return ctx.Err()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tries = append(r.tries, time.Now())
	if r.refuse != nil {
		if err := r.refuse(batch); err != nil {
			return err
		}
	}
	r.batches = append(r.batches, slices.Clone(batch))
	r.accepted = append(r.accepted, time.Now())
	return nil
}

func (r *receiver) String() string { return "receiver" }

// all are the batches it has, and when each came; attempts are the times of all tries.
func (r *receiver) all() ([][]journal.Entry, []time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.batches), slices.Clone(r.accepted)
}

func (r *receiver) attempts() []time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.tries)
}

// messages are the texts of all entries it has.
func (r *receiver) messages() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var texts []string
	for _, batch := range r.batches {
		for _, entry := range batch {
			texts = append(texts, entry.Get("MESSAGE"))
		}
	}
	return texts
}

func entry(text, priority string) journal.Entry {
	return journal.Entry{Fields: []journal.Field{
		{Name: "MESSAGE", Value: []byte(text)}, {Name: "PRIORITY", Value: []byte(priority)},
	}}
}

func fill(ring *journal.Ring, from, to int) {
	for n := from; n < to; n++ {
		ring.Add(entry(strconv.Itoa(n), "6"))
	}
}

func numbers(from, to int) []string {
	var texts []string
	for n := from; n < to; n++ {
		texts = append(texts, strconv.Itoa(n))
	}
	return texts
}

// open makes a ring the journal that a Shipper ships.
func open(ring *journal.Ring) func(context.Context, string) (Reader, error) {
	return func(_ context.Context, after string) (Reader, error) { return ring.Follow(after), nil }
}

// logged is a log, and what is in it.
func logged() (*logrus.Logger, *bytes.Buffer) {
	log, text := logrus.New(), &bytes.Buffer{}
	log.SetOutput(text)
	return log, text
}

// run runs a Shipper until the test ends.
func run(t *testing.T, s *Shipper) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func wantMessages(t *testing.T, r *receiver, want []string) {
	t.Helper()
	if got := r.messages(); !slices.Equal(got, want) {
		t.Errorf("receiver has %d entries %.300q, want %d %.300q", len(got), got, len(want), want)
	}
}

// A batch goes after a second, when it is large, or when it is urgent.
func TestBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, r := &journal.Ring{}, &receiver{}
		s := &Shipper{Sink: r, Open: open(ring), BatchBytes: 5000}
		run(t, s)
		began := time.Now()
		fill(ring, 0, 3)
		time.Sleep(999 * time.Millisecond)
		if len(r.messages()) != 0 {
			t.Errorf("sent early")
		}
		if lag := s.Stats().Lag; lag != 999*time.Millisecond {
			t.Errorf("lag %v", lag)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		wantMessages(t, r, numbers(0, 3))
		if batches, accepted := r.all(); len(batches) != 1 || accepted[0].Sub(began) != time.Second {
			t.Errorf("%d batches after %v", len(batches), accepted[0].Sub(began))
		}

		began = time.Now()
		ring.Add(entry("3", "3"))
		synctest.Wait()
		wantMessages(t, r, numbers(0, 4))

		fill(ring, 4, 104)
		synctest.Wait()
		if time.Since(began) != 0 {
			t.Fatal("time went by")
		}
		sent := len(r.messages())
		if sent < 80 || sent >= 104 {
			t.Errorf("%d entries sent at once, want all but an incomplete batch", sent)
		}
		batches, _ := r.all()
		for _, batch := range batches[2:] {
			size := 0
			for _, entry := range batch {
				size += entry.Size()
			}
			if size < 5000 || size-batch[0].Size() >= 5000 {
				t.Errorf("batch of %d bytes", size)
			}
		}
		time.Sleep(time.Second)
		synctest.Wait()
		wantMessages(t, r, numbers(0, 104))
		stats := s.Stats()
		if stats.Shipped != 104 || stats.Lag != 0 || stats.Lost+stats.Rejected != 0 || stats.Cursor == "" || stats.LastError != "" {
			t.Errorf("%+v", stats)
		}
	})
}

// A sink that is down for a day is tried all day, at random times, and not one
// entry that the journal still has is missing; the log tells of it twice.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(24 * time.Hour)
		r := &receiver{refuse: func([]journal.Entry) error {
			if time.Now().Before(end) {
				return errors.New("out of order")
			}
			return nil
		}}
		ring := &journal.Ring{MaxEntries: 100}
		log, text := logged()
		s := &Shipper{Sink: r, Open: open(ring), Log: log, BatchBytes: 2000}
		run(t, s)
		fill(ring, 0, 5)
		time.Sleep(time.Hour)
		synctest.Wait()
		if stats := s.Stats(); stats.LastError != "out of order" || stats.Lag != time.Hour || stats.Shipped != 0 {
			t.Errorf("while it is down: %+v", stats)
		}
		fill(ring, 5, 1000)
		time.Sleep(23*time.Hour + 10*time.Minute)
		synctest.Wait()

		messages := r.messages()
		stats := s.Stats()
		if stats.Lost == 0 || stats.Lost+stats.Shipped != 1000 || int(stats.Shipped) != len(messages) {
			t.Errorf("%+v, %d entries", stats, len(messages))
		}
		if !slices.Equal(messages[len(messages)-100:], numbers(900, 1000)) {
			t.Errorf("got %q", messages)
		}
		if got := strings.Count(text.String(), "\n"); got != 2 || !strings.Contains(text.String(), "sink up") {
			t.Errorf("%d lines: %s", got, text)
		}
		var longest, total time.Duration
		tries := r.attempts()
		_, accepted := r.all()
		failed := len(tries) - len(accepted)
		for n := 1; n < failed; n++ {
			pause := tries[n].Sub(tries[n-1])
			longest, total = max(longest, pause), total+pause
			if most := min(time.Minute, time.Second/2<<min(n-1, 20)); pause > most {
				t.Errorf("pause %d: %v, bound %v", n, pause, most)
			}
		}
		if mean := total / time.Duration(failed); longest < 55*time.Second || mean < 25*time.Second || mean > 35*time.Second {
			t.Errorf("longest pause %v, mean %v: not spread up to a minute", longest, mean)
		}
	})
}

// What a receiver asks for is done, within reason.
func TestRetryAfter(t *testing.T) {
	for _, test := range []struct {
		err         error
		least, most time.Duration
	}{
		{&RetryError{errors.New("busy"), 42 * time.Second}, 42 * time.Second, 42*time.Second + 500*time.Millisecond},
		{fmt.Errorf("x: %w", &RetryError{errors.New("busy"), 24 * time.Hour}), 5 * time.Minute, 5*time.Minute + 500*time.Millisecond},
		{&RetryError{Err: errors.New("busy")}, 0, 500 * time.Millisecond},
		{fmt.Errorf("%w: 401", ErrDenied), 30 * time.Second, time.Minute},
		{errors.New("x"), 0, 500 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			var ring journal.Ring
			r := &receiver{}
			r.refuse = func([]journal.Entry) error {
				if len(r.tries) == 1 {
					return test.err
				}
				return nil
			}
			run(t, &Shipper{Sink: r, Open: open(&ring)})
			ring.Add(entry("x", "0"))
			time.Sleep(time.Hour)
			synctest.Wait()
			tries := r.attempts()
			if pause := tries[1].Sub(tries[0]); pause < test.least || pause > test.most {
				t.Errorf("%v: pause %v, want %v to %v", test.err, pause, test.least, test.most)
			}
		})
	}
}

// However long the sink is down, two batches are held.
func TestBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := &journal.Ring{}
		r := &receiver{delay: time.Hour}
		reader := &countingReader{Reader: ring.Follow("")}
		s := &Shipper{Sink: r, BatchBytes: 2500,
			Open: func(context.Context, string) (Reader, error) { return reader, nil }}
		run(t, s)
		fill(ring, 0, 1000)
		time.Sleep(time.Minute / 2)
		synctest.Wait()
		size := entry("100", "6").Size() + len("s=;i=;b=;m=;t=;x=") + 90
		if most := 2*(2500/size+2) + 2; reader.n > most || reader.n < 10 {
			t.Errorf("%d entries in hand, want at most %d", reader.n, most)
		}
	})
}

type countingReader struct {
	Reader
	n int
}

func (c *countingReader) Next(ctx context.Context) (journal.Entry, error) {
	entry, err := c.Reader.Next(ctx)
	c.n++
	return entry, err
}

// One entry that is refused costs nothing but itself.
func TestBisection(t *testing.T) {
	poison := func(cause error) func(batch []journal.Entry) error {
		return func(batch []journal.Entry) error {
			for _, entry := range batch {
				if strings.HasPrefix(entry.Get("MESSAGE"), "secret") {
					return cause
				}
			}
			return nil
		}
	}
	for _, cause := range []error{fmt.Errorf("%w: 400", ErrRejected), fmt.Errorf("%w: EOF", ErrNoAnswer)} {
		synctest.Test(t, func(t *testing.T) {
			ring, r := &journal.Ring{}, &receiver{refuse: poison(cause)}
			log, text := logged()
			s := &Shipper{Sink: r, Open: open(ring), Log: log}
			fill(ring, 0, 100)
			ring.Add(entry("secret one", "6"))
			ring.Add(entry("secret two", "6"))
			fill(ring, 100, 300)
			run(t, s)
			time.Sleep(time.Hour)
			synctest.Wait()

			messages := r.messages()
			messages = slices.DeleteFunc(messages, func(m string) bool { return strings.HasPrefix(m, "log entry refused") })
			if !slices.Equal(messages, numbers(0, 300)) || len(r.messages()) != 302 {
				t.Errorf("%v: %d entries, without stubs %q", cause, len(r.messages()), messages)
			}
			stats := s.Stats()
			if stats.Rejected != 2 || stats.Shipped != 300 || stats.LastError != "" {
				t.Errorf("%v: %+v", cause, stats)
			}
			reader := ring.Follow("")
			for _, stub := range slices.Concat(r.batches...) {
				original, err := reader.Next(t.Context())
				if err != nil || stub.Cursor != original.Cursor || !stub.Realtime.Equal(original.Realtime) {
					t.Fatalf("%v: address %s, want %s", cause, stub.Cursor, original.Cursor)
				}
				if strings.Contains(string(stub.AppendExport(nil)), "secret") {
					t.Errorf("%v: content in %s", cause, stub.AppendJSON(nil))
				}
			}
			if strings.Contains(text.String(), "secret") || strings.Count(text.String(), "log entry rejected") > 2 {
				t.Errorf("log: %s", text)
			}
		})
	}
}

// An entry whose time is refused goes as a stub at the present time.
func TestBisectionTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring := &journal.Ring{}
		r := &receiver{refuse: func(batch []journal.Entry) error {
			for _, entry := range batch {
				if time.Since(entry.Realtime) > 24*time.Hour {
					return fmt.Errorf("%w: 400", ErrRejected)
				}
			}
			return nil
		}}
		old := entry("old", "6")
		old.Realtime = time.Unix(1, 0)
		ring.Add(old)
		ring.Add(entry("new", "6"))
		s := &Shipper{Sink: r, Open: open(ring)}
		run(t, s)
		time.Sleep(time.Hour)
		synctest.Wait()
		all := slices.Concat(r.batches...)
		if len(all) != 2 || all[0].Get("BOOTAGENT_REALTIME") != "1000000" || s.Stats().Rejected != 1 {
			t.Errorf("%d entries, first %v, %+v", len(all), all[0], s.Stats())
		}
	})
}

// A receiver that refuses everything, in whichever way, is not a reason to throw
// anything away.
func TestRefusesEverything(t *testing.T) {
	for _, cause := range []error{ErrRejected, ErrNoAnswer, ErrDenied, errors.New("x")} {
		synctest.Test(t, func(t *testing.T) {
			end := time.Now().Add(3 * time.Hour)
			ring := &journal.Ring{}
			r := &receiver{refuse: func([]journal.Entry) error {
				if time.Now().Before(end) {
					return cause
				}
				return nil
			}}
			s := &Shipper{Sink: r, Open: open(ring)}
			run(t, s)
			fill(ring, 0, 100)
			time.Sleep(2 * time.Hour)
			if stats := s.Stats(); stats.LastError == "" || len(r.attempts()) > 2000 {
				t.Errorf("%v: %+v, %d tries", cause, stats, len(r.attempts()))
			}
			time.Sleep(2 * time.Hour)
			synctest.Wait()
			got := slices.DeleteFunc(r.messages(), func(m string) bool { return strings.HasPrefix(m, "log entry") })
			if !slices.Equal(got, numbers(0, 100)) || s.Stats().Rejected != 0 {
				t.Errorf("%v: %d entries, %+v", cause, len(got), s.Stats())
			}
		})
	}
}

func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, r := &journal.Ring{}, &receiver{delay: 10 * time.Millisecond}
		path := filepath.Join(t.TempDir(), "cursor.x")
		s := &Shipper{Sink: r, Open: open(ring), CursorFile: path, BatchBytes: 2000, BatchDelay: time.Hour}
		stop := run(t, s)
		fill(ring, 0, 1000)
		go func() { // words of those who end meanwhile
			for n := range 5 {
				time.Sleep(400 * time.Millisecond)
				fill(ring, 1000+n, 1001+n)
			}
		}()
		began := time.Now()
		if err := s.Drain(t.Context(), 500*time.Millisecond); err != nil {
			t.Error(err)
		}
		if took := time.Since(began); took < 2500*time.Millisecond || took > 3500*time.Millisecond {
			t.Errorf("took %v", took)
		}
		wantMessages(t, r, numbers(0, 1005))
		if cursor, err := readCursor(path); err != nil || cursor != s.Stats().Cursor || cursor == "" {
			t.Errorf("cursor %q, %v, want %q", cursor, err, s.Stats().Cursor)
		}
		began = time.Now()
		if err := s.Drain(t.Context(), 500*time.Millisecond); err != nil || time.Since(began) != 500*time.Millisecond {
			t.Errorf("nothing to drain: %v after %v", err, time.Since(began))
		}
		stop()
		if err := s.Drain(t.Context(), time.Second); err == nil {
			t.Error("drained after the end")
		}
	})
}

// While there is no room for entries, that none comes does not mean that there
// are none.
func TestDrainFull(t *testing.T) {
	for range 50 {
		synctest.Test(t, func(t *testing.T) {
			ring, r := &journal.Ring{}, &receiver{}
			r.refuse = func([]journal.Entry) error {
				if len(r.tries) == 1 {
					time.Sleep(time.Second)
				}
				return nil
			}
			s := &Shipper{Sink: r, Open: open(ring), BatchBytes: 1}
			fill(ring, 0, 10)
			run(t, s)
			if err := s.Drain(t.Context(), 100*time.Millisecond); err != nil {
				t.Error(err)
			}
			wantMessages(t, r, numbers(0, 10))
		})
	}
}

// A journal that is not there is not one that is dry.
func TestDrainNoJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, r := &journal.Ring{}, &receiver{}
		fill(ring, 0, 10)
		back := time.Now().Add(20 * time.Second)
		s := &Shipper{Sink: r, Open: func(ctx context.Context, after string) (Reader, error) {
			if time.Now().Before(back) {
				return nil, errors.New("not now")
			}
			return ring.Follow(after), nil
		}}
		run(t, s)
		time.Sleep(10 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := s.Drain(ctx, 10*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("no journal: %v", err)
		}
		if err := s.Drain(t.Context(), 10*time.Millisecond); err != nil || time.Since(back) > 2*time.Second {
			t.Errorf("journal: %v, %v later", err, time.Since(back))
		}
		wantMessages(t, r, numbers(0, 10))
	})
}

// A drain does not wait for a long pause to pass, and ends with its context.
func TestDrainDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		end := time.Now().Add(time.Hour)
		ring := &journal.Ring{}
		r := &receiver{refuse: func([]journal.Entry) error {
			if time.Now().Before(end) {
				return errors.New("x")
			}
			return nil
		}}
		s := &Shipper{Sink: r, Open: open(ring)}
		run(t, s)
		fill(ring, 0, 10)
		time.Sleep(time.Until(end) - 9*time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		err := s.Drain(ctx, time.Second)
		if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "10 entries left") {
			t.Errorf("down: %v", err)
		}
		if err := s.Drain(t.Context(), time.Second); err != nil || time.Since(end) > 2*time.Second {
			t.Errorf("up: %v, %v later", err, time.Since(end))
		}
		wantMessages(t, r, numbers(0, 10))
	})
}

// A journal that fails is opened again where reading stopped.
func TestReaderFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ring, r := &journal.Ring{}, &receiver{}
		log, text := logged()
		opened := 0
		s := &Shipper{Sink: r, Log: log, Open: func(_ context.Context, after string) (Reader, error) {
			if opened++; opened%2 == 1 {
				return nil, errors.New("not now")
			}
			return &failingReader{Reader: ring.Follow(after), left: 10}, nil
		}}
		run(t, s)
		fill(ring, 0, 100)
		time.Sleep(time.Hour)
		synctest.Wait()
		wantMessages(t, r, numbers(0, 100))
		if opened < 20 || s.Stats().Lost != 0 {
			t.Errorf("opened %d times, %+v", opened, s.Stats())
		}
		if !strings.Contains(text.String(), "journal unreadable") {
			t.Errorf("log: %s", text)
		}
	})
}

type failingReader struct {
	Reader
	left int
}

func (f *failingReader) Next(ctx context.Context) (journal.Entry, error) {
	if f.left--; f.left < 0 {
		return journal.Entry{}, errors.New("bad message")
	}
	return f.Reader.Next(ctx)
}

// The agent is killed at any moment: what the receiver has then is complete, and
// no more than one batch came twice for each time.
func TestCrash(t *testing.T) {
	for seed := range uint64(20) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 1))
			ring := &journal.Ring{}
			r := &receiver{delay: 20 * time.Millisecond}
			path := filepath.Join(t.TempDir(), "cursor.x")
			written, repeated := 0, 0
			for range 10 {
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan bool)
				s := &Shipper{Sink: r, Open: open(ring), CursorFile: path, BatchBytes: 4000}
				go func() {
					defer close(done)
					s.Run(ctx)
				}()
				more := random.IntN(200)
				fill(ring, written, written+more)
				written += more
				time.Sleep(rand.N(1200 * time.Millisecond))
				before, err := os.ReadFile(path) // as a kill leaves it
				if err != nil && !errors.Is(err, os.ErrNotExist) {
					t.Fatal(err)
				}
				cancel()
				<-done
				if before == nil {
					os.Remove(path)
				} else if err := os.WriteFile(path, before, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			run(t, &Shipper{Sink: r, Open: open(ring), CursorFile: path, BatchBytes: 4000})
			time.Sleep(time.Minute)
			synctest.Wait()
			seen, most := map[string]bool{}, 0
			for _, batch := range r.batches {
				most = max(most, len(batch))
			}
			for _, m := range r.messages() {
				if seen[m] {
					repeated++
				}
				seen[m] = true
			}
			if len(seen) != written || repeated > 10*most {
				t.Errorf("%d of %d entries, %d twice, batches of %d", len(seen), written, repeated, most)
			}
		})
	}
}
