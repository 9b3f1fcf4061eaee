package bench_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// forgetScript makes the node one that was never booted by the agent.
const forgetScript = `rm -rf /run/bootagent/* /run/bootagent/.c* /run/credstore/*
systemd-tmpfiles --create bootagent.conf
`

// stopwatch runs a program and prints when it started and ended, in seconds of
// the epoch, by the shell's own clock: date would be a process of its own.
const stopwatch = `from=$EPOCHREALTIME; "$@" >/dev/null 2>&1; code=$?; to=$EPOCHREALTIME
echo $from $to; exit $code
`

// execs adds how long the boot takes as a process, on a node that is up and
// has nothing else to do: without systemd, and in its unit.
func (r *table) execs(t *testing.T, m *machineUnderTest) {
	t.Helper()
	m.MustRun("systemctl", "stop", "bootagent-online.service", "bootagent.socket", "bootagent.service", bootUnit)
	var floor, start, commit, exit, ours []time.Duration
	var units []unitTimes
	for range repeats {
		_, took := m.stopwatch(t, "", "/bin/true")
		floor = append(floor, took)
		_, took = m.stopwatch(t, "", "bootagent", "version")
		start = append(start, took)

		began, took := m.stopwatch(t, forgetScript, "bootagent", "boot")
		receipt := parseReceipt(t, m.MustRun("cat", "/run/bootagent/receipt.json"))
		commit, exit = append(commit, committed(t, receipt).Sub(began)), append(exit, took)
		ours = append(ours, start[len(start)-1]+seconds(receipt.Duration))

		m.MustRun("sh", "-c", forgetScript)
		m.MustRun("systemctl", "start", bootUnit)
		units = append(units, m.unitTimes(t))
		m.MustRun("systemctl", "stop", bootUnit)
	}
	r.section("process: on an idle node, file source, without a sandbox")
	r.times("/bin/true, fork to exit", 0, floor)
	r.times("bootagent version, fork to exit", 0, start)
	r.times("bootagent boot, fork to commit", 21*time.Millisecond, commit)
	r.times("bootagent boot, fork to exit", 0, exit)
	r.times("ours: bootagent version + receipt", 50*time.Millisecond, ours)
	r.section(fmt.Sprintf("process: on an idle node, file source, in %s", bootUnit))
	r.unit(units)
}

// stopwatch runs a program in the node after a script, and returns when it
// began and how long it took, from the fork to its end.
func (m *machineUnderTest) stopwatch(t *testing.T, script string, program ...string) (time.Time, time.Duration) {
	t.Helper()
	out := m.MustRun("bash", append([]string{"-c", script + stopwatch, "stopwatch"}, program...)...)
	var from, to time.Time
	for i, field := range strings.Fields(out) {
		var sec, usec int64
		if _, err := fmt.Sscanf(field, "%d.%06d", &sec, &usec); err != nil || i > 1 {
			t.Fatalf("stopwatch: %v in %q", err, out)
		}
		from, to = to, time.UnixMicro(sec*1e6+usec)
	}
	return from, to.Sub(from)
}
