package node_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// late is how late the link comes up.
const late = 20 * time.Second

// A link that comes up late is waited for, and noticed at once.
func TestLinkLate(t *testing.T) {
	t.Parallel()
	rig.Need(t)
	asked := make(chan time.Time, 16)
	w := newWorld(t, func(rw http.ResponseWriter, _ *http.Request) {
		asked <- time.Now()
		fmt.Fprint(rw, document)
	})
	image := w.image(t)
	image.LinkDown, image.NoWait = true, true
	node := rig.Boot(t, image)
	begun := time.Now()
	var s status.Status
	rig.Eventually(t, 15*time.Second, "a status that says what is waited for", func() bool {
		out, err := node.Run("bootagent", "status")
		if err == nil || !strings.Contains(out, "waiting for http https://") {
			return false
		}
		s = statusOf(t, node)
		return s.State == status.Booting
	})
	for _, step := range s.Steps {
		if step.State == status.StepRunning {
			t.Logf("%s: %s", step.Name, step.Error)
		}
	}
	if code := exitCode(t, node, "bootagent", "status", "--wait", "--timeout", "1s"); code != 5 {
		t.Errorf("status --wait: exit %d", code)
	}
	time.Sleep(time.Until(begun.Add(late))) // this is what is tested
	select {
	case <-asked:
		t.Fatal("asked by a link that is down")
	default:
	}
	up := time.Now()
	node.LinkUp()
	select {
	case when := <-asked:
		t.Logf("asked %v after link up", when.Sub(up))
		if when.Sub(up) > 500*time.Millisecond {
			t.Errorf("asked %v after link up", when.Sub(up))
		}
	case <-time.After(20 * time.Second):
		t.Fatal("not asked")
	}
	awaitState(t, node, status.Ready)
}
