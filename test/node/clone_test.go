package node_test

import (
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// Two machines with one machine-id do not take the place from each other for
// ever: the first one stands aside, and says why.
func TestClone(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := w.image(t)
	image.MachineID = "0123456789abcdef0123456789abcdef"
	first := rig.Boot(t, image)
	awaitState(t, first, status.Ready)
	second := rig.Boot(t, image)
	before := awaitState(t, second, status.Ready)

	s := awaitState(t, first, status.Degraded)
	if s.Registry.State != "lost" || !strings.Contains(s.Registry.Error, "was its machine-id cloned?") {
		t.Errorf("the first says %+v", s.Registry)
	}
	first.MustRun("sleep", "12") // longer than the TTL
	if s := statusOf(t, first); s.State != status.Degraded || s.Registry.State != "lost" {
		t.Errorf("then it is %s: %+v", s.State, s.Registry)
	}
	if after := statusOf(t, second); after.State != status.Ready || after.Registry.Token != before.Registry.Token {
		t.Errorf("the second is %s: %+v, was %+v", after.State, after.Registry, before.Registry)
	}
}
