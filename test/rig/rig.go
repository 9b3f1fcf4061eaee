// Package rig boots real nodes and starts real servers for tests.
//
// A node is Debian with systemd as PID 1, in a container (systemd-nspawn)
// whose root is a squashfs image: the mount and the superblock under it are
// both read-only, as on a node that was built to be immutable. A server is
// the program that runs in production: etcd, VictoriaLogs,
// systemd-journal-remote; or an HTTPS server with a real chain of
// certificates. Nothing is imitated, so that a test that passes here says
// something about the field.
//
//	network := rig.NewNetwork(t)
//	logs := rig.StartVictoriaLogs(t, network)
//	node := rig.Boot(t, rig.Image{
//		Network: network,
//		Debs:    []string{"bootagent.deb"},
//		Files:   map[string]rig.File{"/etc/bootagent/bootagent.yaml": {Content: "…" + logs.URL}},
//	})
//	node.MustRun("systemctl", "is-active", "bootagent.service")
//	rows := logs.Query(`"Started bootagent"`)
//	node.Stop()
//
// # What a test must know
//
// Whatever needs more than loopback and Go skips the test, by [Need], unless
// BOOTAGENT_RIG=1 is set; nodes and networks also skip it without root, and
// where the machine forbids namespaces.
//
// Each [Network] is a network namespace of its own. Addresses and ports in it
// collide with nothing, nodes reach the servers of their network and nothing
// else, and the test reaches in through [Network.Client] and
// [Network.DialContext]. A nil *Network is the loopback of the machine, for
// tests that need a server and no node.
//
// A node's packed image is kept by the hash of what went into it: the same
// Image boots again without being packed again. So put into Files what makes
// the image, and hand over what differs from boot to boot (the address of a
// server, a document) by Credentials or Words, as a hypervisor would.
//
// # What is left behind
//
// Mounts live in the node's own mount namespace and links in the network's,
// so both end with their last process; processes die with the test binary,
// also when that is killed. Only empty cgroups can outlive a killed test, and
// the next one removes them; the empty directory /run/bootagent-rig stays.
// Trees, images and programs that took long to make are kept in
// bootagent-test under the user's cache folder; removing them is always safe
// and brings the newest Debian.
//
// The rig knows nothing of bootagent: what it installs and asks is up to the
// test.
package rig

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// Need skips the test unless BOOTAGENT_RIG=1 is set. Then a program that is
// not installed fails it: whoever set the variable wants the test run.
func Need(t testing.TB, programs ...string) {
	t.Helper()
	if os.Getenv("BOOTAGENT_RIG") != "1" {
		t.Skip("rig: boots nodes and servers, needs BOOTAGENT_RIG=1")
	}
	if missing := missing(programs); len(missing) > 0 {
		t.Fatalf("rig: no %s: run make test-deps", strings.Join(missing, ", "))
	}
}

// needRoot skips the test where the rig could neither mount nor unshare.
func needRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("rig: needs root: mounts, namespaces")
	}
}

// missing are those programs that are not installed.
func missing(programs []string) []string {
	var names []string
	for _, name := range programs {
		if _, err := exec.LookPath(name); err != nil {
			names = append(names, name)
		}
	}
	return names
}

// must fails the test on an error of the rig's own.
func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("rig: %v", err)
	}
}

// Eventually polls until the condition holds, and fails the test when it does
// not within the time given. What names the thing awaited.
func Eventually(t testing.TB, within time.Duration, what string, condition func() bool) {
	t.Helper()
	if !poll(within, condition) {
		t.Fatalf("%s: not within %v", what, within)
	}
}

// poll asks until the answer is yes, and once more when the time is over.
func poll(within time.Duration, condition func() bool) bool {
	deadline := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-deadline:
			return condition()
		}
	}
	return true
}
