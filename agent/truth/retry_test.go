package truth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// attempts runs a Retry in a bubble, where time is fake, and returns when each
// attempt was made. The bubble fails the test if a goroutine is left.
func attempts(t *testing.T, r Retry, limit time.Duration, try func(n int) error) (at []time.Duration, err error) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		start := time.Now()
		err = r.Do(ctx, func(context.Context) error {
			at = append(at, time.Since(start))
			return try(len(at))
		})
		at = append(at, time.Since(start))
	})
	return at[:len(at)-1], err
}

func TestRetryEnds(t *testing.T) {
	down := errors.New("down")
	for name, test := range map[string]struct {
		err  error
		want error
	}{
		"done":           {nil, nil},
		"absent":         {fmt.Errorf("%w (404)", ErrAbsent), ErrAbsent},
		"final":          {final{errors.New("garbage")}, ErrFinal},
		"final, wrapped": {fmt.Errorf("consul: %w", final{errors.New("garbage")}), ErrFinal},
	} {
		t.Run(name, func(t *testing.T) {
			at, err := attempts(t, Retry{}, time.Hour, func(n int) error {
				if n < 3 {
					return down
				}
				return test.err
			})
			if len(at) != 3 || err != test.err || !errors.Is(err, test.want) {
				t.Errorf("%d attempts, error %v", len(at), err)
			}
		})
	}
}

// TestRetryPauses sees that pauses are anywhere in a range that doubles up to
// its limit: that they are spread, and not all in one half.
func TestRetryPauses(t *testing.T) {
	for name, test := range map[string]struct {
		longest time.Duration
		bounds  []time.Duration
	}{
		"default": {0, []time.Duration{100e6, 200e6, 400e6, 800e6, 1600e6, 3200e6, 5e9, 5e9}},
		"longer":  {time.Minute, []time.Duration{100e6, 200e6, 400e6, 800e6, 1600e6, 3200e6, 6400e6, 12800e6, 25600e6, 51200e6, 60e9, 60e9}},
		"shorter": {30 * time.Millisecond, []time.Duration{30e6, 30e6, 30e6}},
	} {
		t.Run(name, func(t *testing.T) {
			low, high := make([]int, len(test.bounds)), make([]int, len(test.bounds))
			const runs = 100
			for range runs {
				at, _ := attempts(t, Retry{Longest: test.longest}, 24*time.Hour, func(n int) error {
					if n > len(test.bounds) {
						return ErrFinal
					}
					return errors.New("down")
				})
				for i, bound := range test.bounds {
					switch pause := at[i+1] - at[i]; {
					case pause < 0 || pause >= bound:
						t.Fatalf("pause %d is %v, want less than %v", i, pause, bound)
					case pause < bound/2:
						low[i]++
					default:
						high[i]++
					}
				}
			}
			for i := range test.bounds { // fails by chance once in 10^18 runs
				if low[i] < 10 || high[i] < 10 {
					t.Errorf("pause %d: %d of %d in the lower half, %d in the upper", i, low[i], runs, high[i])
				}
			}
		})
	}
}

func TestRetryAfter(t *testing.T) {
	at, err := attempts(t, Retry{}, time.Hour, func(n int) error {
		if n == 3 {
			return nil
		}
		return fmt.Errorf("wrapped: %w", after{errors.New("503"), 40 * time.Second})
	})
	if want := []time.Duration{0, 40e9, 80e9}; fmt.Sprint(at) != fmt.Sprint(want) || err != nil {
		t.Errorf("attempts at %v, %v; want %v", at, err, want)
	}
}

// TestRetryDeadline sees that the error at the end is the one that says most:
// not that of an attempt which the deadline cut off, unless it is all there is.
func TestRetryDeadline(t *testing.T) {
	refused := errors.New("connection refused")
	for name, test := range map[string]struct {
		try   func(ctx context.Context, n int) error
		cause func(parent context.Context) (context.Context, context.CancelFunc)
		want  string
		took  time.Duration
	}{
		"in a pause": {
			try:  func(context.Context, int) error { return after{refused, time.Hour} },
			want: "connection refused (gave up at the deadline)", took: 10 * time.Second,
		},
		"in an attempt": {
			try: func(ctx context.Context, n int) error {
				if n == 1 {
					return refused
				}
				<-ctx.Done()
				return errors.New("no answer")
			},
			want: "connection refused (gave up at the deadline)", took: 10 * time.Second,
		},
		"in the first attempt": {
			try: func(ctx context.Context, n int) error {
				<-ctx.Done()
				return errors.New("no answer")
			},
			want: "no answer (gave up at the deadline)", took: 10 * time.Second,
		},
		"stopped": {
			try: func(ctx context.Context, n int) error { return after{refused, time.Hour} },
			cause: func(parent context.Context) (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(parent)
				time.AfterFunc(4*time.Second, cancel)
				return ctx, cancel
			},
			want: "connection refused (interrupted)", took: 4 * time.Second,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				if test.cause != nil {
					ctx, cancel = test.cause(ctx)
					defer cancel()
				}
				start, n := time.Now(), 0
				err := Retry{}.Do(ctx, func(ctx context.Context) error {
					if n++; ctx.Err() != nil {
						t.Error("attempt without time")
					}
					return test.try(ctx, n)
				})
				if err == nil || err.Error() != test.want || time.Since(start) != test.took {
					t.Errorf("error %v after %v, want %s after %v", err, time.Since(start), test.want, test.took)
				}
			})
		})
	}
}

// TestRetryLastErrorStays sees that a caller can still tell what the error at
// the deadline was.
func TestRetryLastErrorStays(t *testing.T) {
	sentinel := errors.New("refused")
	_, err := attempts(t, Retry{}, time.Second, func(int) error { return sentinel })
	if !errors.Is(err, sentinel) {
		t.Errorf("error %v does not wrap its cause", err)
	}
}

func TestRetryWaiting(t *testing.T) {
	var told []string
	r := Retry{Waiting: func(err error) { told = append(told, err.Error()) }}
	_, err := attempts(t, r, time.Hour, func(n int) error {
		if n == 3 {
			return nil
		}
		return fmt.Errorf("attempt %d", n)
	})
	if got := fmt.Sprint(told); err != nil || got != "[attempt 1 attempt 2]" {
		t.Errorf("told of %s, %v", got, err)
	}
}

// TestRetryLinks sees that a change of the network ends a pause, soon but not
// at once, and that one during the attempt counts, too.
func TestRetryLinks(t *testing.T) {
	for name, change := range map[string]func(l *Links){
		"in the pause":   func(l *Links) { time.AfterFunc(7*time.Second, l.tell) },
		"in the attempt": func(l *Links) { l.tell(); time.Sleep(7 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				links := &Links{changed: make(chan struct{})}
				start, n := time.Now(), 0
				err := Retry{Links: links}.Do(t.Context(), func(context.Context) error {
					if n++; n > 1 {
						return nil
					}
					change(links)
					return after{errors.New("unreachable"), time.Minute}
				})
				if took := time.Since(start); err != nil || took != 7*time.Second+settle {
					t.Errorf("again after %v, %v", took, err)
				}
			})
		})
	}
}

// TestRetryRestlessLinks sees that a network which changes all the time makes
// nobody ask all the time.
func TestRetryRestlessLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		links := &Links{changed: make(chan struct{})}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		var restless sync.WaitGroup
		restless.Go(func() {
			for ctx.Err() == nil {
				time.Sleep(10 * time.Millisecond)
				links.tell()
			}
		})
		defer restless.Wait()
		defer cancel()
		n := 0
		_ = Retry{Links: links}.Do(ctx, func(context.Context) error {
			n++
			return after{errors.New("unreachable"), time.Hour}
		})
		if n < 30 || n > 80 {
			t.Errorf("asked %d times in a minute", n)
		}
	})
}
