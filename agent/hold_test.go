package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// ledger is a registry in memory, which answers as it is told.
type ledger struct {
	ttl    time.Duration
	sealed error                                        // why it cannot be opened
	answer func(ctx context.Context, what string) error // nil: all is well

	mu     sync.Mutex
	start  time.Time
	calls  []call
	node   *truth.Node // as it stands there; nil: it does not
	token  int64
	closed bool
}

// call is a question, and when it came.
type call struct {
	what string
	at   time.Duration
	name string
}

func (l *ledger) ask(ctx context.Context, what, name string) error {
	l.mu.Lock()
	if l.closed {
		what += " after close"
	}
	l.calls = append(l.calls, call{what, time.Since(l.start), name})
	l.mu.Unlock()
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New(what + " without a deadline")
	}
	l.mu.Lock()
	answer := l.answer
	l.mu.Unlock()
	if answer == nil {
		return ctx.Err()
	}
	return answer(ctx, what)
}

// answers changes what it answers while it is in use.
func (l *ledger) answers(answer func(ctx context.Context, what string) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

// seal says why it cannot be opened, nil that it can.
func (l *ledger) seal(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sealed = err
}

func (l *ledger) open() (registry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sealed != nil {
		return registry{}, l.sealed
	}
	l.closed = false
	return registry{l, func() error { l.closed = true; return nil }}, nil
}

func (l *ledger) String() string { return "ledger" }

func (l *ledger) Nodes(context.Context) ([]truth.Node, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.node == nil {
		return nil, nil
	}
	return []truth.Node{*l.node}, nil
}

func (l *ledger) Register(ctx context.Context, n truth.Node) (truth.Registration, error) {
	if err := l.ask(ctx, "register", n.Name); err != nil {
		return truth.Registration{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.node = &n
	l.token++
	return truth.Registration{Node: n, Key: "/nodes/" + n.ID, Token: l.token, TTL: l.ttl, Lease: l}, nil
}

func (l *ledger) Renew(ctx context.Context) error { return l.ask(ctx, "renew", "") }

func (l *ledger) Update(ctx context.Context, n truth.Node) error {
	err := l.ask(ctx, "update "+string(n.State), n.Name)
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.node = &n
	}
	return err
}

func (l *ledger) Release(ctx context.Context) error {
	err := l.ask(ctx, "release", "")
	if err == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.node = nil
	}
	return err
}

// said are the calls so far, without their times.
func (l *ledger) said() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := []string{}
	for _, c := range l.calls {
		list = append(list, strings.TrimSpace(c.what+" "+c.name))
	}
	return list
}

// times are when a call came.
func (l *ledger) times(what string) []time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	var list []time.Duration
	for _, c := range l.calls {
		if c.what == what {
			list = append(list, c.at)
		}
	}
	return list
}

// held is a holder at work.
type held struct {
	*holder
	*ledger
	logs    *logtest.Hook
	notices []string // states at the time
	stop    func()
}

// hold runs a holder in a bubble: what it leaves running there fails the test.
func hold(t *testing.T, l *ledger, test func(t *testing.T, h *held)) {
	synctest.Test(t, func(t *testing.T) {
		l.start = time.Now()
		log, logs := logtest.NewNullLogger()
		h := &held{ledger: l, logs: logs}
		h.holder = &holder{
			open: l.open,
			log:  log,
			quit: make(chan struct{}), ended: make(chan struct{}), wake: make(chan struct{}, 1), changed: make(chan struct{}),
			node:   truth.Node{ID: "i-1", BootID: bootID, Name: "web-7", Ordinal: 7, State: truth.StateBooting},
			status: status.Registry{Backend: "ledger", State: "registering"},
		}
		h.notice = func() { h.notices = append(h.notices, h.Status().State) }
		ctx, cancel := context.WithCancel(t.Context())
		h.stop = cancel
		go h.run(ctx)
		test(t, h)
		cancel()
		<-h.ended
		if !l.closed && len(l.calls) > 0 {
			t.Error("the registry is still open")
		}
	})
}

// after waits, in the bubble's time, until nothing moves.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// wantState compares how the holder stands.
func (h *held) wantState(t *testing.T, state, err string) {
	t.Helper()
	if s := h.Status(); s.State != state || s.Error != err || s.Backend != "ledger" {
		t.Errorf("%v: state %q, error %q, want %q, %q", time.Since(h.start), s.State, s.Error, state, err)
	}
}

func TestHolderRenews(t *testing.T) {
	hold(t, &ledger{ttl: 30 * time.Second}, func(t *testing.T, h *held) {
		after(10 * time.Minute)
		same(t, "first calls", []string{"register web-7", "renew", "renew"}, h.said()[:3])
		times := append(h.times("register"), h.times("renew")...)
		gaps := map[time.Duration]bool{}
		for i, at := range times[1:] {
			gap := at - times[i]
			if gap < 9500*time.Millisecond || gap > 10500*time.Millisecond {
				t.Errorf("renewed after %v", gap)
			}
			gaps[gap] = true
		}
		if len(gaps) < len(times)/2 {
			t.Errorf("%d renewals at %d distances: no jitter", len(times), len(gaps))
		}
		s := h.Status()
		if h.wantState(t, "registered", ""); s.Key != "/nodes/i-1" || s.Token != 1 || time.Since(s.Renewed) > 11*time.Second {
			t.Errorf("%+v", s)
		}
		same(t, "notices", []string{"registered"}, h.notices)
		if len(h.logs.AllEntries()) != 1 {
			t.Errorf("%d entries in the log", len(h.logs.AllEntries()))
		}
		h.stop() // a restart
		<-h.ended
		if slices.Contains(h.said(), "release") {
			t.Error("released")
		}
	})
}

func TestHolderWithoutTTL(t *testing.T) {
	hold(t, new(ledger), func(t *testing.T, h *held) {
		after(24 * time.Hour)
		same(t, "calls", []string{"register web-7"}, h.said())
	})
}

func TestHolderRetries(t *testing.T) {
	down := errors.New("no route to host")
	l := &ledger{ttl: 30 * time.Second, answer: func(context.Context, string) error { return down }}
	hold(t, l, func(t *testing.T, h *held) {
		after(30 * time.Minute)
		h.wantState(t, "registering", "no route to host")
		times := h.times("register")
		if len(times) < 30 || len(times) > 300 {
			t.Errorf("%d attempts in half an hour", len(times))
		}
		bound := 100 * time.Millisecond
		for i, at := range times[1:] {
			if gap := at - times[i]; gap > min(bound, time.Minute) {
				t.Errorf("attempt %d came after %v", i+1, gap)
			}
			bound *= 2
			bound = min(bound, time.Hour)
		}
		if len(h.logs.AllEntries()) != 1 {
			t.Errorf("%d entries in the log", len(h.logs.AllEntries()))
		}
		l.answers(nil)
		after(2 * time.Minute)
		h.wantState(t, "registered", "")
	})
}

// TestHolderOpens asks again for a registry that cannot be opened yet.
func TestHolderOpens(t *testing.T) {
	sealed := errors.New("password: credential etcd: not there")
	l := &ledger{ttl: 30 * time.Second, sealed: sealed}
	hold(t, l, func(t *testing.T, h *held) {
		after(10 * time.Minute)
		h.wantState(t, "registering", sealed.Error())
		same(t, "calls", []string{}, h.said())
		l.seal(nil)
		after(2 * time.Minute)
		h.wantState(t, "registered", "")
	})
}

// TestHolderFinal asks on, now and then, where asking will hardly help.
func TestHolderFinal(t *testing.T) {
	wrong := fmt.Errorf("%w: name too long", truth.ErrFinal)
	l := &ledger{ttl: 30 * time.Second}
	stop := func() {}
	l.answer = func(context.Context, string) error {
		if len(l.said()) > 1000 {
			stop() // or no time would pass
		}
		return wrong
	}
	hold(t, l, func(t *testing.T, h *held) {
		stop = h.stop
		after(time.Hour)
		if n := len(h.said()); n < 10 || n > 500 {
			t.Errorf("asked %d times", n)
		}
		h.wantState(t, "registering", wrong.Error())
		l.answers(nil)
		after(2 * time.Minute)
		h.wantState(t, "registered", "")
	})
}

// TestHolderExpires gives up a lease when nobody answers for as long as it
// lasts, whatever the words of those errors are.
func TestHolderExpires(t *testing.T) {
	down := errors.New("no route to host")
	l := &ledger{ttl: 30 * time.Second}
	hold(t, l, func(t *testing.T, h *held) {
		after(time.Minute)
		last := h.times("renew")
		l.answers(func(context.Context, string) error { return down })
		until := l.start.Add(last[len(last)-1] + 30*time.Second)
		after(time.Until(until) - time.Second)
		h.wantState(t, "registered", "no route to host")
		if again := h.times("renew"); len(again)-len(last) < 5 {
			t.Errorf("asked only %d times more", len(again)-len(last))
		}
		after(10 * time.Second)
		if len(h.times("register")) < 2 {
			t.Error("not registered again")
		}
		if s := h.Status(); s.State == "registered" {
			t.Errorf("without a lease: %+v", s)
		}
		l.answers(nil)
		after(2 * time.Minute)
		h.wantState(t, "registered", "")
		if h.Status().Token != 2 {
			t.Errorf("token %d", h.Status().Token)
		}
		if !slices.Contains(h.notices, "lost") {
			t.Errorf("notices %q", h.notices)
		}
	})
}

// TestHolderRecovers renews in time after some that got no answer.
func TestHolderRecovers(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	hold(t, l, func(t *testing.T, h *held) {
		after(time.Second)
		for range 10 {
			l.answers(func(context.Context, string) error { return errors.New("busy") })
			after(15 * time.Second)
			h.wantState(t, "registered", "busy")
			l.answers(nil)
			after(3 * time.Second)
			h.wantState(t, "registered", "")
		}
		if n := len(h.times("register")); n != 1 {
			t.Errorf("registered %d times", n)
		}
	})
}

// TestHolderHangs takes no answer for as long as it asks as none.
func TestHolderHangs(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	hold(t, l, func(t *testing.T, h *held) {
		after(time.Second)
		l.answers(func(ctx context.Context, _ string) error { <-ctx.Done(); return ctx.Err() })
		after(30*time.Second + registerTime)
		if s := h.Status(); s.State == "registered" {
			t.Errorf("%+v", s)
		}
		l.answers(nil)
		after(time.Minute + registerTime)
		h.wantState(t, "registered", "")
	})
}

func TestHolderLost(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	l.answer = func(_ context.Context, what string) error {
		if what == "renew" && len(l.said()) == 2 {
			return fmt.Errorf("etcd: %w", truth.ErrLost)
		}
		return nil
	}
	hold(t, l, func(t *testing.T, h *held) {
		after(15 * time.Second)
		same(t, "calls", []string{"register web-7", "renew", "register web-7"}, h.said())
		same(t, "notices", []string{"registered", "lost", "registered"}, h.notices)
		h.wantState(t, "registered", "")
	})
}

// TestHolderTaken never fights for a name.
func TestHolderTaken(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	taken := fmt.Errorf("%w: web-7 is held by node i-2", truth.ErrTaken)
	l.answer = func(_ context.Context, what string) error {
		if what == "register" && len(l.said()) == 1 {
			return taken
		}
		return nil
	}
	hold(t, l, func(t *testing.T, h *held) {
		after(10 * time.Minute)
		same(t, "calls", []string{"register web-7", "register", "renew"}, h.said()[:3])
		if l.node.Ordinal != 0 || h.Status().Key == "" {
			t.Errorf("%+v, %+v", l.node, h.Status())
		}
		h.wantState(t, "lost", taken.Error())
		l.answers(func(_ context.Context, what string) error {
			if what == "renew" {
				return truth.ErrLost
			}
			return nil
		})
		after(15 * time.Second)
		l.answers(nil)
		after(time.Minute)
		h.wantState(t, "lost", taken.Error())
	})
}

// TestHolderUpdate waits until the registry knows.
func TestHolderUpdate(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	hold(t, l, func(t *testing.T, h *held) {
		after(time.Second)
		before := time.Now()
		ok(t, h.update(t.Context(), truth.StateReady))
		if took := time.Since(before); took > 0 || l.node.State != truth.StateReady {
			t.Errorf("after %v: %s", took, l.node.State)
		}
		same(t, "calls", []string{"register web-7", "renew", "update ready web-7"}, h.said())
		ok(t, h.update(t.Context(), truth.StateReady)) // again: nothing to tell
		after(time.Minute)
		if n := len(h.times("update ready")); n != 1 {
			t.Errorf("told %d times", n)
		}

		l.answers(func(_ context.Context, what string) error { return errors.New("read-only replica") })
		ctx, cancel := context.WithTimeout(t.Context(), updateTime)
		defer cancel()
		before = time.Now()
		err := h.update(ctx, truth.StateLeaving)
		if err == nil || err.Error() != "ledger: not told that the node is leaving: read-only replica" || time.Since(before) != updateTime {
			t.Errorf("after %v: %v", time.Since(before), err)
		}
		l.answers(nil)
		after(refreshAgain)
		if l.node.State != truth.StateLeaving {
			t.Errorf("not told later: %s", l.node.State)
		}
	})
}

// TestHolderUpdateWhileRegistering tells the registry as soon as it answers.
func TestHolderUpdateWhileRegistering(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	slow := 5 * time.Second
	l.answer = func(_ context.Context, what string) error {
		if what == "register" {
			time.Sleep(slow)
		}
		return nil
	}
	hold(t, l, func(t *testing.T, h *held) {
		after(time.Second)
		before := time.Now()
		ok(t, h.update(t.Context(), truth.StateReady))
		if took := time.Since(before); took != slow-time.Second || l.node.State != truth.StateReady {
			t.Errorf("after %v: %s", took, l.node.State)
		}
	})
}

func TestHolderLeaves(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	hold(t, l, func(t *testing.T, h *held) {
		after(time.Minute)
		before := time.Now()
		h.leave(t.Context())
		h.wantState(t, "left", "")
		if l.node != nil || time.Since(before) > 0 {
			t.Errorf("after %v: %v", time.Since(before), l.node)
		}
		if said := h.said(); said[len(said)-1] != "release" {
			t.Errorf("after the release: %q", said)
		}
		after(time.Hour)
		if said := h.said(); said[len(said)-1] != "release" {
			t.Errorf("after the release: %q", said)
		}
	})
}

// TestHolderLeavesInTime leaves a registry that hangs, at whatever it is.
func TestHolderLeavesInTime(t *testing.T) {
	for _, hanging := range []string{"register", "renew", "update ready", "release"} {
		t.Run(hanging, func(t *testing.T) {
			l := &ledger{ttl: 30 * time.Second}
			l.answer = func(ctx context.Context, what string) error {
				if what == hanging {
					<-ctx.Done()
					return ctx.Err()
				}
				return nil
			}
			hold(t, l, func(t *testing.T, h *held) {
				after(time.Second)
				if hanging == "update ready" {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					defer cancel()
					if h.update(ctx, truth.StateReady) == nil {
						t.Error("no error")
					}
				}
				for hanging != "release" && len(h.times(hanging)) == 0 {
					after(100 * time.Millisecond)
				}
				before := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), leaveTime)
				defer cancel()
				h.leave(ctx)
				took := time.Since(before)
				if want := map[bool]time.Duration{true: leaveTime}[hanging == "release" || hanging == "register"]; took != want {
					t.Errorf("took %v", took)
				}
				released := slices.Contains(h.said(), "release")
				if released != (hanging != "register") {
					t.Errorf("released: %v", released)
				}
				synctest.Wait()
				if hanging == "release" {
					h.wantState(t, "left", context.DeadlineExceeded.Error())
					if e := h.logs.LastEntry(); e.Level != logrus.WarnLevel {
						t.Errorf("logged %s", e.Message)
					}
				}
			})
		})
	}
}

func TestInterval(t *testing.T) {
	if interval(0) != 0 {
		t.Error("without a TTL")
	}
	for range 1000 {
		if d := interval(time.Second); d < 316*time.Millisecond || d >= 350*time.Millisecond {
			t.Errorf("%v", d)
		}
	}
}

// TestHolderStandsAside loses its place to another boot of its identity, and
// does not take it back while that one is there.
func TestHolderStandsAside(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second}
	hold(t, l, func(t *testing.T, h *held) {
		after(time.Second)
		l.mu.Lock()
		clone := *l.node
		clone.BootID = "another"
		l.node = &clone
		l.mu.Unlock()
		l.answers(func(_ context.Context, what string) error {
			if what == "renew" {
				return truth.ErrLost
			}
			return nil
		})
		after(time.Hour)
		if s := h.Status(); s.State != "lost" || !strings.Contains(s.Error, "another boot") {
			t.Errorf("state %s: %s", s.State, s.Error)
		}
		if n := len(h.times("register")); n != 1 {
			t.Errorf("registered %d times", n)
		}
		l.mu.Lock()
		l.node = nil // the clone has gone
		l.mu.Unlock()
		l.answers(nil)
		after(time.Minute)
		h.wantState(t, "registered", "")
	})
}

// TestHolderLeavesARegistryThatIsDown has nothing to give back, and no registry
// that is open.
func TestHolderLeavesARegistryThatIsDown(t *testing.T) {
	l := &ledger{ttl: 30 * time.Second, answer: func(context.Context, string) error { return errors.New("down") }}
	hold(t, l, func(t *testing.T, h *held) {
		h.holder.mu.Lock()
		h.holder.node.Name, h.holder.node.Ordinal = "", 0
		h.holder.mu.Unlock()
		after(time.Minute)
		h.leave(t.Context())
		h.wantState(t, "left", "")
	})
}
