package bench_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The resident is watched for a number of windows, one after the other: the
// first ones have the end of what the boot has left to do.
const (
	window  = 10 * time.Second
	windows = 4
)

// usage is what the processes of the resident have used up to a moment.
type usage struct {
	cpu       time.Duration
	processes []process
}

// process is one of the resident's.
type process struct {
	name      string
	rss, anon float64 // MB
	switches  float64 // voluntary, of all its threads
}

// usageScript prints the CPU time of a unit, then what the kernel says of each
// process and of each of its threads.
const usageScript = `cd /sys/fs/cgroup/system.slice/bootagent.service
cat cpu.stat
for pid in $(cat cgroup.procs); do
	cat /proc/$pid/status
	for task in /proc/$pid/task/*; do
		grep ctxt_switches $task/status | sed s/^/task_/
	done
done
`

// idle is what the resident has used before, between and after windows in
// which nothing was written to the journal that it follows.
func (m *machineUnderTest) idle(t *testing.T) []usage {
	t.Helper()
	for range 3 {
		cursor := m.Journal("--lines=0", "--show-cursor")
		seen, stable := []usage{m.usage(t)}, true
		for range windows {
			time.Sleep(window) // this is what is measured
			seen = append(seen, m.usage(t))
			stable = stable && len(seen[len(seen)-1].processes) == len(seen[0].processes)
		}
		if stable && m.Journal("--lines=0", "--show-cursor") == cursor {
			return seen
		}
	}
	t.Fatal("resident: the node's journal does not come to rest")
	return nil
}

// resident adds what the resident takes.
func (r *table) resident(how string, seen []usage) {
	r.section(fmt.Sprintf("resident: %v in which nothing is logged, %s", window, how))
	for i, p := range seen[0].processes {
		r.numbers(p.name+": resident memory", "MB", collect(seen, func(u usage) float64 { return u.processes[i].rss }))
		r.numbers(p.name+": anonymous memory", "MB", collect(seen, func(u usage) float64 { return u.processes[i].anon }))
		r.numbers(p.name+": voluntary context switches", "/s", increments(collect(seen, func(u usage) float64 {
			return u.processes[i].switches / window.Seconds()
		})))
	}
	r.numbers("CPU of both", "ms", increments(collect(seen, func(u usage) float64 { return ms(u.cpu) })))
}

// increments are the differences from each value to the next.
func increments(values []float64) []float64 {
	var differences []float64
	for i, value := range values[1:] {
		differences = append(differences, value-values[i])
	}
	return differences
}

// usage reads the resident's.
func (m *machineUnderTest) usage(t *testing.T) usage {
	t.Helper()
	var u usage
	for line := range strings.Lines(m.MustRun("sh", "-c", usageScript)) {
		fields := strings.Fields(line)
		if fields[0] == "Name:" {
			u.processes = append(u.processes, process{name: fields[1]})
			continue
		}
		value, err := strconv.ParseFloat(fields[min(1, len(fields)-1)], 64)
		if err != nil {
			continue // not a number, not for us
		}
		if fields[0] == "usage_usec" {
			u.cpu = time.Duration(value) * time.Microsecond
		} else if len(u.processes) > 0 {
			u.processes[len(u.processes)-1].add(fields[0], value)
		}
	}
	if len(u.processes) == 0 || u.cpu == 0 {
		t.Fatal("resident: not running")
	}
	return u
}

// add takes a line of /proc/PID/status, or one of a thread's.
func (p *process) add(key string, value float64) {
	switch key {
	case "VmRSS:":
		p.rss = value / 1024
	case "RssAnon:":
		p.anon = value / 1024
	case "task_voluntary_ctxt_switches:":
		p.switches += value
	}
}

// program adds the size of the binary.
func (r *table) program(t *testing.T, path string) {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	r.section("program")
	r.numbers("size", "MB", []float64{float64(info.Size()) / 1e6})
}
