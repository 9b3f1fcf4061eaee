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

// coldScript drops the program, which nobody runs, from the page cache: at
// a boot it has to be read and unpacked.
const coldScript = `dd if=/usr/bin/bootagent iflag=nocache count=0 2>/dev/null
`

// stopwatch runs a program and prints when it started and ended, in seconds of
// the epoch, by the shell's own clock: date would be a process of its own.
const stopwatch = `from=$EPOCHREALTIME; "$@" >/dev/null 2>&1; code=$?; to=$EPOCHREALTIME
echo $from $to; exit $code
`

// execTimes are those of processes on a node that is up and has nothing else
// to do.
type execTimes struct {
	floor        []time.Duration // /bin/true, fork to exit
	cold, start  []time.Duration // bootagent version, not in the page cache and in it
	commit, exit []time.Duration // bootagent boot, without systemd
	units        []unitTimes     // and in its unit
}

// execs boots the agent again and again, file source, and stops the resident.
func (m *machineUnderTest) execs(t *testing.T) execTimes {
	t.Helper()
	m.MustRun("systemctl", "stop", "bootagent-online.service", "bootagent.service", "bootagent.socket", bootUnit)
	const config = "/run/bench.yaml" // what its unit has as a credential
	m.MustRun("sh", "-c", `printf %s "$1" >"$2"`, "sh", m.config, config)
	var e execTimes
	for range repeats {
		_, took := m.stopwatch(t, "", "/bin/true")
		e.floor = append(e.floor, took)
		_, took = m.stopwatch(t, coldScript, "bootagent", "version")
		e.cold = append(e.cold, took)
		_, took = m.stopwatch(t, "", "bootagent", "version")
		e.start = append(e.start, took)

		began, took := m.stopwatch(t, forgetScript, "bootagent", "boot", "--config", config)
		receipt := parseReceipt(t, m.MustRun("cat", "/run/bootagent/receipt.json"))
		e.commit, e.exit = append(e.commit, committed(t, receipt).Sub(began)), append(e.exit, took)

		m.MustRun("sh", "-c", forgetScript)
		m.MustRun("systemctl", "reset-failed", bootUnit) // of its limit of starts
		m.MustRun("systemctl", "start", bootUnit)
		e.units = append(e.units, m.unitTimes(t))
		m.MustRun("systemctl", "stop", bootUnit)
	}
	return e
}

// execs adds how long the boot takes as a process.
func (r *table) execs(e execTimes) {
	r.section("process: without systemd, node idle, file source")
	r.times("/bin/true, fork to exit", 0, e.floor)
	r.times("bootagent version, read from the image", 0, e.cold)
	r.times("bootagent version, fork to exit", 0, e.start)
	r.times("bootagent boot, fork to commit", 21*time.Millisecond, e.commit)
	r.times("bootagent boot, fork to exit", 0, e.exit)
	r.section("process: " + bootUnit + ", node idle, file source")
	r.unit(e.units)
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
