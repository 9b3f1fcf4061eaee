package truth

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootagent/bootagent/agent/document"
	"github.com/google/go-cmp/cmp"
)

// script is a source that takes its time, and then answers each attempt with
// the next of its errors, and with the last one ever after. One that is nil is
// a layer.
type script struct {
	name string
	time time.Duration
	errs []error
	n    *int // attempts so far
}

func play(name string, took time.Duration, errs ...error) script {
	return script{name, took, errs, new(int)}
}

func (s script) String() string { return s.name }

func (s script) Fetch(ctx context.Context) ([]document.Layer, error) {
	select {
	case <-time.After(s.time):
	case <-ctx.Done():
		return nil, errors.New("no answer")
	}
	err := s.errs[min(*s.n, len(s.errs)-1)]
	if *s.n++; err != nil {
		return nil, err
	}
	return []document.Layer{{Source: s.name}}, nil
}

var (
	errDown    = errors.New("connection refused")
	errAbsent  = fmt.Errorf("%w (404 Not Found)", ErrAbsent)
	errGarbage = final{errors.New("not a document")}
	errBusy    = after{errors.New("503"), 3 * time.Second}
)

// show is an answer in short.
func show(answers []Answer) []string {
	var list []string
	for _, a := range answers {
		list = append(list, fmt.Sprintf("%s: %d layers, %v, missing: %v", a.Source, len(a.Layers), a.Duration, a.Missing))
	}
	return list
}

func TestFetch(t *testing.T) {
	const minute = time.Minute
	for name, test := range map[string]struct {
		sources []Wanted
		limit   time.Duration
		want    []string
		err     string
		took    time.Duration
	}{
		"none": {limit: minute},
		"in their order, at the same time": {
			sources: []Wanted{{Source: play("slow", 20*time.Second, nil)}, {Source: play("fast", time.Second, nil)}, {Source: play("also slow", 20*time.Second, nil)}},
			limit:   minute, took: 20 * time.Second,
			want: []string{"slow: 1 layers, 20s, missing: <nil>", "fast: 1 layers, 1s, missing: <nil>", "also slow: 1 layers, 20s, missing: <nil>"},
		},
		"asked again": {
			sources: []Wanted{{Source: play("busy", time.Second, errBusy, errBusy, nil)}},
			limit:   minute, took: 9 * time.Second,
			want: []string{"busy: 1 layers, 9s, missing: <nil>"},
		},
		"absent": {
			sources: []Wanted{{Source: play("absent", time.Second, errAbsent)}},
			limit:   minute, took: time.Second,
			err: "absent: no document for this node (404 Not Found)",
		},
		"down": {
			sources: []Wanted{{Source: play("down", time.Second, errDown)}},
			limit:   minute, took: minute,
			err: "down: connection refused (gave up at the deadline)",
		},
		"optional, there": {
			sources: []Wanted{{Source: play("there", time.Second, errBusy, nil), Optional: true, Timeout: 10 * time.Second}},
			limit:   minute, took: 5 * time.Second,
			want: []string{"there: 1 layers, 5s, missing: <nil>"},
		},
		"optional, absent": {
			sources: []Wanted{{Source: play("absent", time.Second, errAbsent), Optional: true, Timeout: 10 * time.Second}, {Source: play("there", 2*time.Second, nil)}},
			limit:   minute, took: 2 * time.Second,
			want: []string{"absent: 0 layers, 1s, missing: no document for this node (404 Not Found)", "there: 1 layers, 2s, missing: <nil>"},
		},
		"optional, down": {
			sources: []Wanted{{Source: play("down", time.Second, errDown), Optional: true, Timeout: 10 * time.Second}},
			limit:   minute, took: 10 * time.Second,
			want: []string{"down: 0 layers, 10s, missing: connection refused (gave up at the deadline)"},
		},
		"optional, silent": {
			sources: []Wanted{{Source: play("silent", time.Hour, nil), Optional: true, Timeout: 10 * time.Second}},
			limit:   minute, took: 10 * time.Second,
			want: []string{"silent: 0 layers, 10s, missing: no answer (gave up at the deadline)"},
		},
		"optional, garbage": {
			sources: []Wanted{{Source: play("garbage", time.Second, errGarbage), Optional: true, Timeout: 10 * time.Second}},
			limit:   minute, took: time.Second,
			err: "garbage: not a document",
		},
		"optional, and the boot ends first": {
			sources: []Wanted{{Source: play("down", time.Second, errDown), Optional: true, Timeout: 10 * time.Second}},
			limit:   5 * time.Second, took: 5 * time.Second,
			err: "down: connection refused (gave up at the deadline)",
		},
		"the first failure ends it": {
			sources: []Wanted{{Source: play("silent", time.Hour, nil)}, {Source: play("garbage", 3*time.Second, errGarbage)}, {Source: play("down", time.Second, errDown)}},
			limit:   minute, took: 3 * time.Second,
			err: "garbage: not a document",
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithTimeout(t.Context(), test.limit)
				defer cancel()
				start := time.Now()
				answers, err := Fetch(ctx, test.sources, nil, func(string, error) {})
				if err == nil && test.err != "" || err != nil && err.Error() != test.err {
					t.Errorf("error %v, want %q", err, test.err)
				}
				if diff := cmp.Diff(test.want, show(answers)); diff != "" {
					t.Errorf("answers (-want +got):\n%s", diff)
				}
				if took := time.Since(start); took != test.took {
					t.Errorf("took %v, want %v", took, test.took)
				}
			})
		})
	}
}

// TestFetchSentinels sees that a caller can tell absent from wrong.
func TestFetchSentinels(t *testing.T) {
	for _, want := range []error{ErrAbsent, ErrFinal} {
		_, err := Fetch(t.Context(), []Wanted{{Source: play("source", 0, fmt.Errorf("%w", want))}}, nil, nil)
		wantErr(t, err, want)
	}
}

// TestFetchWaiting sees that each source is waited for under its own name, at
// the same time: the race detector watches.
func TestFetchWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		told := map[string]int{}
		var sources []Wanted
		for i := range 8 {
			sources = append(sources, Wanted{Source: play(fmt.Sprint("source ", i), time.Second, errBusy, errBusy, nil)})
		}
		_, err := Fetch(t.Context(), sources, nil, func(source string, err error) {
			mu.Lock()
			defer mu.Unlock()
			if told[source]++; err.Error() != "503" {
				t.Errorf("%s is waited for because of %v", source, err)
			}
		})
		ok(t, err)
		for _, s := range sources {
			if told[s.String()] != 2 {
				t.Errorf("%s: told %d times, want 2", s, told[s.String()])
			}
		}
	})
}
