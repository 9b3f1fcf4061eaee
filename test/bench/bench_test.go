// Package bench_test measures what the agent costs a node, on real nodes:
// what it adds to a boot, and what it takes when it is idle. `make bench`
// prints the figures as one table. A slow machine fails nothing here; figures
// are for people to compare, with those of the same run above all: where
// /bin/true takes long, everything does.
//
// How long a function takes is measured in its package, by its benchmarks.
package bench_test

import (
	"os"
	"testing"

	"github.com/bootagent/bootagent/test/rig"
)

// repeats is how often everything is measured but the resident.
const repeats = 20

func TestBench(t *testing.T) {
	if os.Getenv("BOOTAGENT_BENCH") != "1" {
		t.Skip("takes minutes and proves nothing: needs BOOTAGENT_BENCH=1")
	}
	rig.Need(t)
	w := newWorld(t)
	bare, file, served := w.bare(t), w.file(t), w.served(t)

	boots := measureBoots(t, bare, file, served)
	file.start(t)
	quiet := file.idle(t)
	execs := file.execs(t)
	file.Kill()
	served.start(t)
	leased := served.idle(t)

	var r table
	r.boots(boots, execs)
	r.execs(execs)
	r.resident("no registry", quiet)
	r.resident("lease of etcd kept", leased)
	r.program(t, w.program)
	r.print(os.Stdout, machine(t, served))
}

// measureBoots boots the machines in turn, one at a time, so that whatever
// slows this machine down for a while slows down all of them.
func measureBoots(t *testing.T, machines ...*machineUnderTest) [][]bootTimes {
	t.Helper()
	measured := make([][]bootTimes, len(machines))
	for range repeats {
		for i, m := range machines {
			m.start(t)
			measured[i] = append(measured[i], m.bootTimes(t))
			m.Kill()
		}
	}
	return measured
}
