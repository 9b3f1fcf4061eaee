package node_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// What the page says about a failed boot whose cause is gone works.
func TestBootAgain(t *testing.T) {
	t.Parallel()
	rig.Need(t)
	var mended atomic.Bool
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		if mended.Load() {
			fmt.Fprint(rw, document)
			return
		}
		fmt.Fprint(rw, "garbage")
	})
	node := rig.Boot(t, w.image(t))
	awaitState(t, node, status.Failed)
	mended.Store(true)
	for _, script := range shown(t, "sh", "on a node whose boot has failed") {
		node.MustRun("sh", "-e", "-c", script)
	}
	if s := awaitState(t, node, status.Ready); s.Node.Name != "web-1" {
		t.Errorf("ready as %+v", s.Node)
	}
	node.MustRun("systemctl", "start", "app.service")
}

// A soft-reboot is a new boot: what the old one published is gone, also when
// the new one fails.
func TestSoftReboot(t *testing.T) {
	t.Parallel()
	rig.Need(t)
	if os.Getenv("BOOTAGENT_RIG_SUITE") != "trixie" {
		t.Skip("systemd 252 has no soft-reboot: needs BOOTAGENT_RIG_SUITE=trixie")
	}
	var gone atomic.Bool
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		if gone.Load() {
			rw.WriteHeader(http.StatusNotFound)
			return
		}
		fmt.Fprint(rw, document)
	})
	node := rig.Boot(t, w.image(t))
	awaitState(t, node, status.Ready)
	reboot := func() string {
		before := node.MustRun("cat", "/run/bootagent/config/.boot")
		// Not by logind: after the first one it has no /var to keep its state in.
		_, _ = node.Run("systemctl", "start", "--no-block", "--job-mode=replace-irreversibly", "soft-reboot.target")
		rig.Eventually(t, stateTime, "another boot", func() bool {
			receipt, err := node.Run("cat", "/run/bootagent/receipt.json")
			return err == nil && !strings.Contains(receipt, before) && !strings.Contains(receipt, `"state": "booting"`)
		})
		return before
	}
	if before := reboot(); node.MustRun("cat", "/run/bootagent/config/.boot") == before {
		t.Error("the same configuration after a soft-reboot")
	}
	awaitState(t, node, status.Ready)

	gone.Store(true)
	reboot()
	awaitState(t, node, status.Failed)
	unpublished(t, node)
}
