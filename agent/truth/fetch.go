package truth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/bootagent/bootagent/agent/document"
	"golang.org/x/sync/errgroup"
)

// Wanted is a source, and how much a boot depends on it.
type Wanted struct {
	Source
	Optional bool          // absent is fine, and so is down, after Timeout
	Timeout  time.Duration // of an optional source, all attempts together
}

// Answer is what a source said.
type Answer struct {
	Source   string
	Layers   []document.Layer
	Duration time.Duration
	Missing  error // why an optional source has no layers; nil if it has
}

// Fetch reads all sources at the same time, each until it answers or ctx
// ends, and returns their answers in the order of the sources. Waiting is told
// what a source is waited for; it may be called from several goroutines.
func Fetch(ctx context.Context, sources []Wanted, links *Links, waiting func(source string, err error)) ([]Answer, error) {
	answers := make([]Answer, len(sources))
	group, ctx := errgroup.WithContext(ctx)
	for i, w := range sources {
		group.Go(func() (err error) {
			retry := Retry{Links: links, Waiting: func(err error) { waiting(w.String(), err) }}
			answers[i], err = w.fetch(ctx, retry)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return answers, nil
}

func (w Wanted) fetch(ctx context.Context, retry Retry) (Answer, error) {
	start := time.Now()
	answer := Answer{Source: w.String()}
	timed := ctx
	if w.Optional {
		var cancel context.CancelFunc
		timed, cancel = context.WithTimeout(ctx, w.Timeout)
		defer cancel()
	}
	err := retry.Do(timed, func(ctx context.Context) (err error) {
		answer.Layers, err = w.Fetch(ctx)
		return err
	})
	answer.Duration = time.Since(start)
	if err != nil && w.Optional && forgiven(err) && ctx.Err() == nil { // when ctx ends, all of it does
		answer.Missing, err = err, nil
	}
	if err != nil {
		return Answer{}, fmt.Errorf("%s: %w", w, err)
	}
	return answer, nil
}

// forgiven tells whether an optional source may do without an answer: what is
// absent or down, but not what answered and is wrong.
func forgiven(err error) bool {
	return errors.Is(err, ErrAbsent) || !errors.Is(err, ErrFinal)
}
