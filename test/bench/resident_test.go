package bench_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

const window = 10 * time.Second // in which the resident is watched

// usage is what the processes of the resident have used up to a moment.
type usage struct {
	cpu       time.Duration
	processes []process
}

// process is one of the resident's.
type process struct {
	name        string
	rss, anon   float64 // MB
	threads     float64
	switches    float64 // voluntary, of all its threads
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

// resident adds what the agent takes while nothing happens: it ships the
// journal, in which nothing is written, and keeps a lease in etcd.
func (r *table) resident(t *testing.T, m *machineUnderTest) {
	t.Helper()
	for range 6 {
		cursor := m.Journal("--lines=0", "--show-cursor")
		before := m.usage(t)
		time.Sleep(window) // this is what is measured
		after := m.usage(t)
		if m.Journal("--lines=0", "--show-cursor") == cursor && len(before.processes) == len(after.processes) {
			r.idle(before, after)
			return
		}
	}
	t.Fatal("resident: the node's journal does not come to rest")
}

// idle adds the difference of two usages, a window apart.
func (r *table) idle(before, after usage) {
	r.section(fmt.Sprintf("resident: idle for %v, journal followed, lease of etcd kept", window))
	for i, p := range after.processes {
		r.one(p.name+": resident memory", "MB", p.rss)
		r.one(p.name+": anonymous memory", "MB", p.anon)
		r.one(p.name+": threads", "", p.threads)
		r.one(p.name+": voluntary context switches", "/s", (p.switches-before.processes[i].switches)/window.Seconds())
	}
	r.one("CPU, both", "ms", float64((after.cpu-before.cpu).Microseconds())/1000)
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
	case "Threads:":
		p.threads = value
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
	r.one("size", "MB", float64(info.Size())/1e6)
}
