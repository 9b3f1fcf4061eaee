package rig

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	bootDeadline = 60 * time.Second
	stopDeadline = 60 * time.Second
	runDeadline  = 30 * time.Second
	killDeadline = 10 * time.Second
)

// A Node is a booted Image.
type Node struct {
	IP string // its address in its network

	t         testing.TB
	image     Image
	packed    string // path of the packed image
	ns        namespace
	container *process // unshare > systemd-nspawn > PID 1
	state     *os.File // its /var, also when it is off
}

// WaitUp waits until systemd has finished the boot, well ("running") or with
// failed units ("degraded"), and returns which.
func (n *Node) WaitUp(within time.Duration) string {
	n.t.Helper()
	var state string
	up := poll(within, func() bool {
		out, _ := n.Run("systemctl", "is-system-running") // fails unless running
		state = strings.TrimSpace(out)
		return state == "running" || state == "degraded" || !n.alive()
	})
	if !up || !n.alive() {
		n.t.Fatalf("rig: node not up: %q", state)
	}
	return state
}

// Run runs a program in the node as root, outside of all units, for at most
// 30 s. It returns what the program wrote to stdout; the error has stderr,
// and wraps *exec.ExitError.
func (n *Node) Run(name string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runDeadline)
	defer cancel()
	return n.RunContext(ctx, name, args...)
}

// RunContext is Run for as long as the context lasts.
func (n *Node) RunContext(ctx context.Context, name string, args ...string) (string, error) {
	pid := n.pid1()
	if pid == 0 {
		return "", errors.New("node is not running")
	}
	enter := []string{"-t", strconv.Itoa(pid), "-m", "-u", "-i", "-n", "-p", "-C", "-r", "-w", "--", name}
	cmd := command(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root", "LANG=C.UTF-8"}
	return output(cmd)
}

// MustRun is Run for a program that has to succeed, else the test ends.
func (n *Node) MustRun(name string, args ...string) string {
	n.t.Helper()
	out, err := n.Run(name, args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return out
}

// Journal runs journalctl on the node's journal with further arguments. It
// also reads the journal of a node that is gone, up to its last words.
func (n *Node) Journal(args ...string) string {
	n.t.Helper()
	text, err := n.journal(args...)
	if err != nil {
		n.t.Fatal(err)
	}
	return text
}

func (n *Node) journal(args ...string) (string, error) {
	args = append([]string{"--no-pager", "--quiet"}, args...)
	if n.pid1() != 0 {
		return n.Run("journalctl", args...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), runDeadline)
	defer cancel()
	dir := fmt.Sprintf("--directory=/proc/%d/fd/%d/log/journal", os.Getpid(), n.state.Fd())
	return output(command(ctx, "journalctl", append(args, dir)...))
}

// LinkUp brings the link of the node up, with its default route.
func (n *Node) LinkUp() {
	n.t.Helper()
	must(n.t, n.ns.linkUp())
}

// LinkDown takes the link of the node down; its address stays.
func (n *Node) LinkDown() {
	n.t.Helper()
	must(n.t, n.ns.ip("link set %s down", nodeLink))
}

// Stop powers the node off and waits until it is gone: every unit was
// stopped in its order.
func (n *Node) Stop() {
	n.t.Helper()
	// The order may end with the node before it has returned.
	_, ordered := n.Run("systemctl", "poweroff")
	if err := n.container.wait(stopDeadline); err != nil {
		n.t.Fatalf("rig: poweroff: %v (%v)", err, ordered)
	}
}

// Kill ends the node at once, as if its power was cut.
func (n *Node) Kill() {
	n.t.Helper()
	if pid := n.pid1(); pid != 0 {
		must(n.t, syscall.Kill(pid, syscall.SIGKILL))
	}
	if err := n.container.wait(killDeadline); n.alive() {
		n.t.Fatalf("rig: kill: %v", err)
	}
}

// end is what becomes of the node when the test ends.
func (n *Node) end() {
	if n.t.Failed() && n.state != nil {
		n.logJournal()
	}
	if pid := n.pid1(); pid != 0 {
		syscall.Kill(pid, syscall.SIGKILL)
		n.container.wait(killDeadline) // so that nspawn itself cleans up
	}
	n.closeState()
}

// logJournal writes the end of the journal to the log of the test.
func (n *Node) logJournal() {
	text, err := n.journal("--lines=400", "--output=short-precise")
	if err != nil {
		text += err.Error()
	}
	n.t.Logf("journal of node %s:\n%s", n.IP, bound([]byte(text)))
}

// cgroups are the node's; its descriptor is a number no other node has.
func (n *Node) cgroups() cgroups {
	return nodeCgroups(int(n.ns.file.Fd()))
}

// alive says whether the node is neither off nor gone.
func (n *Node) alive() bool { return n.container.alive() }

// openState holds on to the node's /var beyond its end.
func (n *Node) openState() {
	n.t.Helper()
	path := fmt.Sprintf("/proc/%d/root/run/bootagent-rig/var", n.nspawn())
	state, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	must(n.t, err)
	n.closeState()
	n.state = state
}

func (n *Node) closeState() {
	if n.state != nil {
		n.state.Close()
		n.state = nil
	}
}

// nspawn is the PID of systemd-nspawn (or what is going to be it), 0 when
// there is none: before the boot and after the end.
func (n *Node) nspawn() int {
	for _, pid := range children(n.container.cmd.Process.Pid) {
		return pid
	}
	return 0
}

// pid1 is the PID by which the machine knows the node's PID 1, or 0. It is 0
// as long as that is still systemd-nspawn: whoever entered its namespaces
// then would find the machine's own files there.
func (n *Node) pid1() int {
	for _, pid := range children(n.nspawn()) {
		status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		program, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
		if err == nil && isPID1(string(status)) && filepath.Base(program) != "systemd-nspawn" {
			return pid
		}
	}
	return 0
}

// children are the PIDs of a process's children.
func children(pid int) []int {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil
	}
	var pids []int
	for field := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// isPID1 says whether a process, by its /proc/PID/status, is the first one of
// the container's PID namespace: below systemd-nspawn's, which is below ours.
func isPID1(status string) bool {
	_, after, _ := strings.Cut(status, "\nNSpid:")
	line, _, _ := strings.Cut(after, "\n")
	ids := strings.Fields(line)
	return len(ids) == 3 && ids[2] == "1"
}
