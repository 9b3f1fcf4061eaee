package node_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// failure is a boot that must not go well.
type failure struct {
	serve  http.HandlerFunc                 // what the source of truth does
	config func(config string) string       // changes the configuration
	image  func(t *testing.T, i *rig.Image) // changes the node
	want   []string                         // parts of the reason
	asked  bool                             // whether the source is asked at all
	mute   bool                             // nobody knows where the log server is
}

func answer(code int, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		fmt.Fprint(w, body)
	}
}

func TestFailure(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]failure{
		"absent": {
			serve: answer(http.StatusNotFound, ""),
			want:  []string{"fetch: http https://", "no document for this node (404 Not Found)"}, asked: true,
		},
		"garbage": {
			serve: answer(http.StatusOK, "<html>secret-in-garbage</html>"),
			want:  []string{"fetch: http https://", "document:1:1: "}, asked: true,
		},
		"slow": {
			serve:  func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
			config: func(config string) string { return config + "boot: {deadline: 4s}\n" },
			want:   []string{"fetch: http https://", "no answer", "gave up at the deadline"}, asked: true,
		},
		"writable": {
			image: func(_ *testing.T, i *rig.Image) { i.Root = rig.Writable },
			want:  []string{"check: root: writable: an overlay"},
		},
		"account": {
			serve: answer(http.StatusOK, strings.Replace(document, "owner: nobody", "owner: nosuchuser", 1)),
			want:  []string{"write: files/app/app.conf: nosuchuser: no such account on this node"}, asked: true,
		},
		"greedy": {
			serve: answer(http.StatusOK, document+"agent: {logs: [{journal_upload: {url: 'https://elsewhere', bearer: {credential: truth-token}}}]}\n"),
			want:  []string{"fetch: agent: credential truth-token: a document may only name a credential of its own"}, asked: true,
		},
		"superblock": {
			image: func(_ *testing.T, i *rig.Image) { i.Root = rig.MountSealed },
			want:  []string{"check: superblock: overlay itself is writable"},
		},
		"faulty": {
			config: func(string) string { return "checks: {root: enforce}\nsauces: []\n" },
			want:   []string{"identify: credential bootagent.config:2:1: unknown key \"sauces\""}, mute: true,
		},
		"disk": {
			config: func(config string) string { return config + "output: {directory: /srv}\n" },
			image:  func(t *testing.T, i *rig.Image) { i.Binds = map[string]string{t.TempDir(): "/srv"} },
			want:   []string{"check: output: /srv is on ", "not on tmpfs"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f.run(t)
		})
	}
}

func (f failure) run(t *testing.T) {
	rig.Need(t)
	var asked atomic.Int32
	serve := f.serve
	w := newWorld(t, func(rw http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if serve != nil {
			serve(rw, r)
			return
		}
		fmt.Fprint(rw, document)
	})
	image := w.image(t)
	if f.config != nil {
		image.Credentials["bootagent.config"] = f.config(w.config())
	}
	if f.image != nil {
		f.image(t, &image)
	}
	node := rig.Boot(t, image)
	s := awaitState(t, node, status.Failed)
	t.Log(s.Error)
	for _, part := range f.want {
		if !strings.Contains(s.Error, part) {
			t.Errorf("status: %q lacks %q", s.Error, part)
		}
	}
	if got := asked.Load() > 0; got != f.asked {
		t.Errorf("the source was asked: %v, want %v", got, f.asked)
	}
	unpublished(t, node)
	if names := w.etcd.Get("/bootagent/names"); len(names) != 0 {
		t.Errorf("names kept: %v", names)
	}
	if !f.mute {
		told(t, w, node, s.Error)
	}
	if code := exitCode(t, node, "bootagent", "status"); code != 1 {
		t.Errorf("bootagent status: exit %d", code)
	}
}

// unpublished sees that nobody got anything, and that nobody started.
func unpublished(t *testing.T, node *rig.Node) {
	t.Helper()
	if got := property(node, "bootagent-boot.service", "ActiveState"); got != "failed" {
		t.Errorf("bootagent-boot.service is %s", got)
	}
	if got := property(node, "app.service", "ActiveEnterTimestamp"); got != "" {
		t.Errorf("the application started at %s", got)
	}
	left := node.MustRun("sh", "-c", "ls -A /run/bootagent/config /run/bootagent/.config* /srv/config /run/credstore /run/bootagent/agent-credentials 2>/dev/null | grep -v : || true")
	if strings.TrimSpace(left) != "" {
		t.Errorf("left behind: %s", left)
	}
}

// told finds the reason at the log server, as one line and an error.
func told(t *testing.T, w world, node *rig.Node, reason string) {
	t.Helper()
	rig.Eventually(t, 20*time.Second, "the reason at the log server", func() bool {
		for _, row := range w.logs.Query(`_SYSTEMD_UNIT:"bootagent-boot.service" PRIORITY:3`) {
			if row["_msg"] == "boot failed: "+reason && row["MESSAGE_ID"] != "" {
				return true
			}
		}
		return false
	})
	for _, row := range w.logs.Query(`"secret-in-garbage"`) {
		t.Errorf("a value at the log server: %v", row)
	}
}

// A failed boot shoots its node if it is told to, after its reason was shipped.
func TestFailureAction(t *testing.T) {
	t.Parallel()
	w := newWorld(t, answer(http.StatusNotFound, ""))
	image := w.image(t)
	example, err := os.ReadFile("../../packaging/examples/failure-action.conf")
	if err != nil {
		t.Fatal(err)
	}
	image.Files["/etc/systemd/system/bootagent.service.d/failure-action.conf"] = rig.File{Content: string(example)}
	image.NoWait = true
	node := rig.Boot(t, image)
	rig.Eventually(t, 60*time.Second, "the node has shot itself", func() bool {
		_, err := node.Run("true")
		return err != nil
	})
	for _, row := range w.logs.Query(`_SYSTEMD_UNIT:"bootagent-boot.service" PRIORITY:3`) {
		if strings.Contains(row["_msg"], "no document for this node") {
			return
		}
	}
	t.Error("the log server does not know why")
}
