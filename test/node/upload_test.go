package node_test

import (
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// The journal arrives at systemd's own receiver, and through an outage of it.
func TestJournalRemote(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	remote := rig.StartJournalRemote(t, w.network)
	image := w.image(t)
	image.Credentials["bootagent.config"] = strings.Replace(w.config(), w.logs.URL+"/insert/journald", remote.URL, 1)
	node := rig.Boot(t, image)
	awaitState(t, node, status.Ready)
	arrives := func(text string) {
		t.Helper()
		rig.Eventually(t, 30*time.Second, text+" at journal-remote", func() bool {
			return len(remote.Entries("MESSAGE="+text)) > 0
		})
	}
	arrives("boot done")

	remote.Stop()
	node.MustRun("systemd-run", "--wait", "--quiet", "echo", "said during the outage")
	awaitState(t, node, status.Degraded)
	if s := statusOf(t, node); s.Logs[0].LastError == "" || s.Logs[0].Lost != 0 {
		t.Errorf("during the outage: %+v", s.Logs[0])
	}
	remote.Restart()
	arrives("said during the outage")
	awaitState(t, node, status.Ready)
}
