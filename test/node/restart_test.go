package node_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// Whatever happens to the agent, the application does not notice.
func TestRestart(t *testing.T) {
	t.Parallel()
	rig.Need(t)
	w := newWorld(t, nil)
	image := w.image(t)
	upgrade := built.Deb(t, "1.1.0", "")
	image.Root = rig.Writable // so that there is something to upgrade
	image.Binds = map[string]string{filepath.Dir(upgrade): "/mnt"}
	image.Credentials["bootagent.config"] = strings.Replace(w.config(), "superblock: enforce", "superblock: warn", 1)
	image.Words = []string{"bootagent.root=warn"}
	node := rig.Boot(t, image)
	first := awaitState(t, node, status.Ready)
	app := property(node, "app.service", "MainPID") + " " + property(node, "app.service", "InvocationID")
	config := node.MustRun("sh", "-c", "stat -c %i /run/bootagent/config; find /run/bootagent/config -type f | sort | xargs sha256sum")

	for _, event := range []struct {
		name string
		do   func()
	}{
		{"restart", func() { node.MustRun("systemctl", "restart", "bootagent.service") }},
		{"kill -9", func() { node.MustRun("systemctl", "kill", "-s", "KILL", "bootagent.service") }},
		{"hang", func() {
			node.MustRun("systemctl", "kill", "-s", "STOP", "bootagent.service")
			node.MustRun("sleep", "3")
			node.MustRun("systemctl", "kill", "-s", "CONT", "bootagent.service")
		}},
		{"upgrade", func() { node.MustRun("dpkg", "-i", "/mnt/"+filepath.Base(upgrade)) }},
		{"second boot", func() { node.MustRun("systemctl", "start", "bootagent-boot.service") }},
	} {
		pid := property(node, "bootagent.service", "MainPID")
		event.do()
		if event.name == "kill -9" {
			rig.Eventually(t, 20*time.Second, "another agent", func() bool {
				now := property(node, "bootagent.service", "MainPID")
				return now != pid && now != "0"
			})
		}
		s := awaitState(t, node, status.Ready)
		if s.Node.Name != first.Node.Name || s.Registry.Token != first.Registry.Token {
			t.Errorf("after %s: %s with token %d, was %s with %d", event.name, s.Node.Name, s.Registry.Token, first.Node.Name, first.Registry.Token)
		}
		if now := property(node, "app.service", "MainPID") + " " + property(node, "app.service", "InvocationID"); now != app {
			t.Errorf("after %s: the application is %s, was %s", event.name, now, app)
		}
		if now := node.MustRun("sh", "-c", "stat -c %i /run/bootagent/config; find /run/bootagent/config -type f | sort | xargs sha256sum"); now != config {
			t.Errorf("after %s: another configuration", event.name)
		}
	}
	wholeJournalAtLeastOnce(t, w, node)
}

// wholeJournalAtLeastOnce allows what a killed agent sent twice: a batch.
func wholeJournalAtLeastOnce(t *testing.T, w world, node *rig.Node) {
	t.Helper()
	rig.Eventually(t, 20*time.Second, "every entry at the log server", func() bool {
		got := w.shipped("*")
		for _, cursor := range cursors(node) {
			if got[cursor] == 0 {
				return false
			}
		}
		return true
	})
}
