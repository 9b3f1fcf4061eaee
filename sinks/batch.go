package sinks

import (
	"time"

	"github.com/bootagent/bootagent/systemd/journal"
)

// batch is a run of entries of the journal that are sent at once.
type batch struct {
	entries []journal.Entry
	size    int
	since   time.Time // when the first one came
	urgent  bool      // one is an error or worse: do not wait for more
}

// errorPriority is syslog's "err": this and what is below does not wait.
const errorPriority = 3

func (b *batch) add(entry journal.Entry, now time.Time) {
	if len(b.entries) == 0 {
		b.since = now
	}
	b.entries = append(b.entries, entry)
	b.size += entry.Size()
	b.urgent = b.urgent || entry.Priority() <= errorPriority
}

// last is the cursor to go on after, once the batch is done with.
func (b *batch) last() string { return b.entries[len(b.entries)-1].Cursor }
