package main

import (
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/bootagent/bootagent/systemd"
	"github.com/bootagent/bootagent/systemd/journal"
	"github.com/sirupsen/logrus"
)

// ringHook makes journal entries of what is logged, for a system without a
// journal: then the agent's own words are what is shipped.
type ringHook struct{ ring *journal.Ring }

// Levels are all.
func (ringHook) Levels() []logrus.Level { return logrus.AllLevels }

// Fire adds one entry. It never blocks.
func (h ringHook) Fire(entry *logrus.Entry) error {
	fields := systemd.Fields(entry)
	fields["MESSAGE"] = systemd.Message(entry)
	fields["PRIORITY"] = strconv.Itoa(int(systemd.Priority(entry.Level)))
	e := journal.Entry{Realtime: time.Now()}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		e.Fields = append(e.Fields, journal.Field{Name: name, Value: []byte(fields[name])})
	}
	h.ring.Add(e)
	return nil
}
