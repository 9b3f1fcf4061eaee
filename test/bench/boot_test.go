package bench_test

import (
	"encoding/json"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
)

const bootUnit = "bootagent-boot.service"

// bootTimes are those of one boot.
type bootTimes struct {
	app  time.Duration // from basic.target to the application, as systemd sees it
	unit unitTimes     // zero without the agent
}

// unitTimes are those of one run of bootagent-boot.service, from the moment
// that PID 1 forked its process.
type unitTimes struct {
	first  time.Duration // to the agent's first step: sandbox and start of the process
	commit time.Duration // to the end of the step that publishes
	exit   time.Duration
	agent  time.Duration // what the agent says it took, in its receipt
}

// bootTimes asks the node for its times, once it is up.
func (m *machineUnderTest) bootTimes(t *testing.T) bootTimes {
	t.Helper()
	active := "ActiveEnterTimestampMonotonic"
	b := bootTimes{app: m.stamp(t, "app.service", active) - m.stamp(t, "basic.target", active)}
	if m.config != "" {
		b.unit = m.unitTimes(t)
	}
	return b
}

func (u unitTimes) steps() time.Duration { return u.agent }

func (m *machineUnderTest) unitTimes(t *testing.T) unitTimes {
	t.Helper()
	text := m.property(bootUnit, "ExecMainStartTimestamp")
	forked, err := time.Parse("Mon 2006-01-02 15:04:05 MST", text)
	if err != nil {
		t.Fatal(err)
	}
	r := parseReceipt(t, m.MustRun("cat", "/run/bootagent/receipt.json"))
	return unitTimes{
		first:  r.Started.Sub(forked),
		commit: committed(t, r).Sub(forked),
		exit:   m.stamp(t, bootUnit, "ExecMainExitTimestampMonotonic") - m.stamp(t, bootUnit, "ExecMainStartTimestampMonotonic"),
		agent:  seconds(r.Duration),
	}
}

// property is a property of a unit; points in time are UTC, to the microsecond.
func (m *machineUnderTest) property(unit, name string) string {
	return strings.TrimSpace(m.MustRun("systemctl", "show", "--timestamp=us+utc", "-P", name, unit))
}

// stamp is a point in time of the monotonic clock.
func (m *machineUnderTest) stamp(t *testing.T, unit, name string) time.Duration {
	t.Helper()
	usec, err := strconv.ParseInt(m.property(unit, name), 10, 64)
	if err != nil || usec == 0 {
		t.Fatalf("%s of %s: %d, %v", name, unit, usec, err)
	}
	return time.Duration(usec) * time.Microsecond
}

// parseReceipt parses the receipt of a boot that has to have gone well.
func parseReceipt(t *testing.T, text string) *status.Receipt {
	t.Helper()
	r := new(status.Receipt)
	if err := json.Unmarshal([]byte(text), r); err != nil || r.Error != "" || r.Step("write") == nil {
		t.Fatalf("receipt: %v: %s", err, text)
	}
	return r
}

// committed is when the configuration was published.
func committed(t *testing.T, r *status.Receipt) time.Time {
	t.Helper()
	write := r.Step("write")
	return write.Started.Add(seconds(write.Duration))
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// boots adds what the agent costs a boot: measured are a bare node, one with
// a file as its source, and one that asks servers.
func (r *table) boots(measured [][]bootTimes, e execTimes) {
	bare, file, served := measured[0], measured[1], measured[2]
	app := func(b bootTimes) time.Duration { return b.app }
	unit := func(b bootTimes) unitTimes { return b.unit }
	r.section("boot: from basic.target active to the application active")
	r.times("without the agent", 0, collect(bare, app))
	r.times("after the boot, file source", 0, collect(file, app))
	r.times("after the boot, https source and etcd", 0, collect(served, app))
	r.times("added by the agent, file source", 150*time.Millisecond, pairs(collect(file, app), -1, collect(bare, app)))
	r.times("added by the agent, https source and etcd", 0, pairs(collect(served, app), -1, collect(bare, app)))

	r.section("boot: " + bootUnit + ", file source")
	units := collect(file, unit)
	r.unit(units)
	r.times("ours: cold start of the process, below, + steps", 50*time.Millisecond, pairs(collect(units, unitTimes.steps), +1, e.cold))
	r.section("boot: " + bootUnit + ", https source and etcd")
	r.unit(collect(served, unit))
}

// unit adds the times of a unit's runs.
func (r *table) unit(runs []unitTimes) {
	r.times("fork to first step (sandbox, process start)", 0, collect(runs, func(u unitTimes) time.Duration { return u.first }))
	r.times("the agent's steps (receipt)", 0, collect(runs, unitTimes.steps))
	r.times("fork to commit", 0, collect(runs, func(u unitTimes) time.Duration { return u.commit }))
	r.times("fork to exit", 0, collect(runs, func(u unitTimes) time.Duration { return u.exit }))
}
