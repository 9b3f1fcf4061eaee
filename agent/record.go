package agent

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/sirupsen/logrus"
)

// recorder keeps the receipt of a boot as true as it can be: it is written
// anew when a step begins or ends, and when what a step waits for changes.
type recorder struct {
	log       *logrus.Logger
	directory string // where the receipt is; empty: nowhere, there is no tmpfs
	point     func(name string)

	mu      sync.Mutex // while a step runs, of what it waits for
	receipt status.Receipt
	started time.Time         // on the monotonic clock
	current *status.Step      // the step that runs
	waits   map[string]string // what it waits for, by whom
}

// save writes the receipt. A boot that cannot tell of itself goes no further.
func (r *recorder) save() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.saveLocked()
}

func (r *recorder) saveLocked() error {
	if r.directory == "" {
		return nil
	}
	r.receipt.Duration = time.Since(r.started).Seconds()
	return r.receipt.Write(r.directory)
}

// step runs one step, and tells of it before and after. The error names the
// step.
func (r *recorder) step(ctx context.Context, name string, do func(context.Context) error) error {
	start := time.Now()
	r.point("before " + name)
	r.mu.Lock()
	r.current, r.waits = r.receipt.Step(name), map[string]string{}
	r.current.State, r.current.Started = status.StepRunning, start
	err := r.saveLocked()
	r.mu.Unlock()
	if err == nil {
		err = do(ctx)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	took := time.Since(start)
	r.current.Duration, r.current.State, r.current.Error = took.Seconds(), status.StepDone, ""
	entry := r.log.WithFields(logrus.Fields{
		"message_id": messageBootStep, "step": name, "result": "done", "duration_usec": took.Microseconds(),
	})
	if err != nil {
		r.current.State, r.current.Error = status.StepFailed, err.Error()
		entry.WithField("result", "failed").Warn("boot step")
		return fmt.Errorf("%s: %w", name, err)
	}
	entry.Info("boot step")
	r.note()
	return nil
}

// waiting is told that a source did not answer yet. What is new is written
// down and logged, once.
func (r *recorder) waiting(source string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.waits[source] == err.Error() {
		return
	}
	r.waits[source] = err.Error()
	lines := make([]string, 0, len(r.waits))
	for _, name := range slices.Sorted(maps.Keys(r.waits)) {
		lines = append(lines, name+": "+r.waits[name])
	}
	r.current.Error = "waiting for " + strings.Join(lines, "; ")
	r.log.WithFields(logrus.Fields{"message_id": messageBootWaits, "source": source}).WithError(err).Warn("boot waits")
	r.note()
}

// note writes down what is done already, and would not be undone by a receipt
// that cannot be written.
func (r *recorder) note() {
	if err := r.saveLocked(); err != nil {
		r.log.WithError(err).Warn("receipt not written")
	}
}

// end writes down how the boot ended, logs it, and returns why it failed.
func (r *recorder) end(state status.State, cause error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.receipt.State = state
	if cause != nil {
		r.receipt.Error = cause.Error()
		r.log.WithField("message_id", messageBootFailed).WithError(cause).Error("boot failed")
	} else {
		r.log.WithFields(logrus.Fields{
			"message_id": messageBootDone, "duration_usec": time.Since(r.started).Microseconds(),
		}).Info("boot done")
	}
	r.note()
	return cause
}
