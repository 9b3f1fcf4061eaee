// Package demo_test shows the agent's whole job on one real node, for people
// to look at: `make demo-node` runs it and idles until Ctrl-C. Without that
// wish it runs through, so that the demo is a test, too, and does not rot.
//
// It shows and proves little: proofs are in test/node.
package demo_test

import (
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/test/build"
	"github.com/bootagent/bootagent/test/rig"
)

func TestDemo(t *testing.T) {
	rig.Need(t)
	t.Cleanup(func() { explain(t) })
	say("Starting the servers …")
	w := newWorld(t)
	say("Building the package …")
	var built build.Cache
	t.Cleanup(built.Remove)
	image := w.image(built.Deb(t, "1.0.0", ""))
	say("Booting a node with a sealed root …")
	node := rig.Boot(t, image)
	node.MustRun("bootagent", "status", "--wait", "--timeout", "30s")
	w.awaitJournal(t, node)
	show(t, w, node)

	page := forward(t)
	title("its status page")
	say("  %s  for this machine; also /status /receipt /metrics /healthz", page)
	say("  http://127.0.0.1:2016/  and %s on the node itself", statusSocket)
	if os.Getenv("BOOTAGENT_DEMO") == "1" && os.Getenv("BOOTAGENT_DEMO_EXIT") != "1" {
		idle()
	}
	leave(t, w, node)
}

// explain tells why there was nothing to see, which go test does not.
func explain(t *testing.T) {
	if t.Skipped() {
		say("Nothing to show: a node needs root, and a machine that allows namespaces. Try: sudo make demo-node")
	}
}

// idle waits for Ctrl-C. A second one ends the demo as it is: everything it
// started goes with it.
func idle() {
	say("\nThe node runs. Press Ctrl-C to power it off.")
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	<-signals
	signal.Stop(signals)
	say("")
}

// show prints what the boot has done, as the node and its servers see it.
func show(t *testing.T, w world, node *rig.Node) {
	title("the boot: bootagent status")
	quote(node.MustRun("bootagent", "status"))

	title("published, on tmpfs")
	quote(node.MustRun("sh", "-c", `cd / && find run/bootagent/config run/credstore -type f -printf '%M %u:%g\t%6s /%p\n' | sort -k 4 | expand -t 26`))

	title("the application, which requires bootagent-boot.service")
	quote(node.Journal("-u", "app.service", "-o", "cat", "_COMM=sh"))

	title("the root, as PID 1 sees it")
	quote(node.MustRun("findmnt", "--task", "1", "--output", "TARGET,FSTYPE,VFS-OPTIONS,FS-OPTIONS", "/"))
	if _, err := node.Run("touch", "/usr/bin/intruder"); err == nil {
		t.Error("a file was written into the sealed root")
	} else {
		say("  touch /usr/bin/intruder: read-only, even to root")
	}

	title("left running")
	quote(node.MustRun("sh", "-c", `for pid in $(cat /sys/fs/cgroup/system.slice/bootagent.service/cgroup.procs); do
		ps=$(tr '\0' ' ' </proc/$pid/cmdline | cut -c 1-60)
		awk -v ps="$ps" '/^(Uid|CapEff|NoNewPrivs|VmRSS)/ {v[$1] = $2}
			END {printf "uid %s, capabilities %s, no_new_privs %s, %.1f MB: %s\n", v["Uid:"], v["CapEff:"], v["NoNewPrivs:"], v["VmRSS:"] / 1024, ps}' /proc/$pid/status
	done`))

	title("at the log server")
	say("  %d entries of the node's journal, from its first one on", w.shipped())

	title("in etcd")
	w.listEtcd()
}

// leave powers the node off, and shows what is left of it elsewhere.
func leave(t *testing.T, w world, node *rig.Node) {
	title("power off")
	before, start := w.shipped(), time.Now()
	node.Stop()
	say("  off after %.1f s", time.Since(start).Seconds())
	say("  %d more entries at the log server, with the application's last words:", w.shipped()-before)
	for _, row := range w.logs.Query(`_SYSTEMD_UNIT:"app.service" | sort by (_time) desc | limit 1`) {
		say("    %s", row["_msg"])
	}
	if w.listEtcd() {
		t.Error("the node is off and still in etcd")
	}
}

func title(text string) { say("\n== %s", text) }

func say(format string, args ...any) { fmt.Printf(format+"\n", args...) }

// quote prints a program's output, indented.
func quote(text string) {
	for line := range strings.Lines(strings.TrimSpace(text)) {
		say("  %s", strings.TrimRight(line, " \n"))
	}
}
