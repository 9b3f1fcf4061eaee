package node_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/bootagent/bootagent/test/rig"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A node that goes down leaves the rotation before its application hears of
// it, leaves the inventory, and takes everybody's last words along.
func TestLeave(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	node := rig.Boot(t, w.image(t))
	s := awaitState(t, node, status.Ready)
	leaving := watchState(t, w, s.Node.ID, truth.StateLeaving)

	start := time.Now()
	node.Stop()
	t.Logf("down after %v", time.Since(start))
	if left := w.etcd.Get("/bootagent"); len(left) != 0 {
		t.Errorf("still in etcd: %v", left)
	}
	hears := message(t, w, "app hears of the stop")
	if when := <-leaving; !when.Before(hears) {
		t.Errorf("leaving in etcd at %v, the application heard of the stop at %v", when, hears)
	}
	for _, words := range []string{"app says last words", "loose says last words", "bare says last words"} {
		message(t, w, words)
	}
}

// watchState returns when etcd said that the node is in a state.
func watchState(t *testing.T, w world, id string, state truth.State) <-chan time.Time {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	watch := w.etcd.Client.Watch(ctx, "/bootagent/nodes/"+id, clientv3.WithCreatedNotify())
	<-watch // it is there
	seen := make(chan time.Time, 1)
	go func() {
		defer close(seen)
		for response := range watch {
			for _, event := range response.Events {
				var n truth.Node
				if json.Unmarshal(event.Kv.Value, &n) == nil && n.State == state {
					seen <- time.Now()
					return
				}
			}
		}
	}()
	return seen
}

// message is when an entry was written that the log server must have.
func message(t *testing.T, w world, text string) time.Time {
	t.Helper()
	rows := w.logs.Query(`"` + text + `"`)
	if len(rows) == 0 {
		t.Errorf("the log server lacks %q", text)
		return time.Time{}
	}
	at, err := time.Parse(time.RFC3339Nano, rows[0]["_time"])
	if err != nil {
		t.Fatalf("%v", rows[0])
	}
	return at
}

// An agent that is stopped alone leaves the inventory, and comes back.
func TestStopAndStart(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	node := rig.Boot(t, w.image(t))
	s := awaitState(t, node, status.Ready)
	node.MustRun("systemctl", "stop", "bootagent.service")
	if left := w.etcd.Get("/bootagent/nodes"); len(left) != 0 {
		t.Errorf("still in etcd: %v", left)
	}
	node.MustRun("systemctl", "start", "bootagent.service", "bootagent-online.service")
	if again := awaitState(t, node, status.Ready); again.Node.Name != s.Node.Name || !strings.HasPrefix(again.Registry.Key, "/bootagent/nodes/") {
		t.Errorf("came back as %+v", again.Node)
	}
}

// A registry that is down keeps no node from going down, nor its last words
// from the log server.
func TestLeaveWithoutRegistry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := w.image(t)
	image.Credentials["bootagent.config"] = strings.Replace(w.config(), `, name: "web-${ordinal}"`, "", 1)
	node := rig.Boot(t, image)
	awaitState(t, node, status.Ready)
	w.etcd.Stop()
	node.MustRun("systemctl", "restart", "bootagent.service") // so that it never gets to register
	start := time.Now()
	node.Stop()
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("down after %v", took)
	}
	message(t, w, "app says last words")
	if rows := w.logs.Query(`"panic:"`); len(rows) > 0 {
		t.Errorf("%v", rows[0]["_msg"])
	}
}
