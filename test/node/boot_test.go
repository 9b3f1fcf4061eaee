package node_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/bootagent/bootagent/test/rig"
)

func TestBoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	node := rig.Boot(t, w.image(t))
	s := awaitState(t, node, status.Ready)
	t.Logf("ready: %+v", s.Steps)

	if s.Node.Name != "web-1" || s.Node.Ordinal != 1 || s.Registry.State != "registered" {
		t.Errorf("node %+v, registry %+v", s.Node, s.Registry)
	}
	for _, f := range s.Checks {
		if f.Verdict != "pass" {
			t.Errorf("check %+v", f)
		}
	}
	published(t, node)
	environment(t, node)
	inventory(t, w, s)
	wholeJournal(t, w, node)
	quiet(t, node, s)

	if code := exitCode(t, node, "bootagent", "status"); code != 0 {
		t.Errorf("bootagent status: exit %d", code)
	}
	if code := exitCode(t, node, "bootagent", "boot"); code != 0 {
		t.Errorf("a second boot: exit %d", code)
	}
}

// published looks at the files as the contract has them.
func published(t *testing.T, node *rig.Node) {
	t.Helper()
	for path, want := range map[string]string{
		"/run/bootagent/config/env":                 "600 root:root",
		"/run/bootagent/config/files/app/app.conf":  "640 nobody:nogroup",
		"/run/bootagent/config/flags.json":          "644 root:root",
		"/run/bootagent/config/node.json":           "644 root:root",
		"/run/bootagent/config/.boot":               "644 root:root",
		"/run/bootagent/receipt.json":               "644 root:root",
		"/run/bootagent/config":                     "755 root:root",
		"/run/credstore/db-password":                "400 root:root",
		"/run/credstore":                            "700 root:root",
		"/run/bootagent/agent-credentials":          "700 root:root",
		"/run/bootagent/agent-credentials/truth-ca": "400 root:root", // which a sink names, and only the boot was given
	} {
		if got := strings.TrimSpace(node.MustRun("stat", "-c", "%a %U:%G", path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if receipt := node.MustRun("cat", "/run/bootagent/receipt.json"); strings.Contains(receipt, "not-for-logs") || strings.Contains(receipt, "hello") {
		t.Error("the receipt has a value of the document")
	}
}

// environment sees that the application got its environment and its secret,
// and that the configuration was there before it started.
func environment(t *testing.T, node *rig.Node) {
	t.Helper()
	text := node.Journal("-u", "app.service", "-o", "cat")
	if want := "greeting is hello \"you\"\n$HOME \\ `x`, secret has 12 bytes"; !strings.Contains(text, want) {
		t.Errorf("the application says %q, want %q", text, want)
	}
	if boot, app := property(node, "bootagent-boot.service", "InactiveExitTimestampMonotonic"), property(node, "app.service", "InactiveExitTimestampMonotonic"); len(boot) > len(app) || boot >= app && len(boot) == len(app) {
		t.Errorf("the application started at %s, the boot at %s", app, boot)
	}
}

// inventory finds the node in etcd.
func inventory(t *testing.T, w world, s status.Status) {
	t.Helper()
	var record truth.Node
	if err := json.Unmarshal([]byte(w.etcd.Get("/bootagent/nodes/")["/bootagent/nodes/"+s.Node.ID]), &record); err != nil {
		t.Fatalf("etcd: %v in %v", err, w.etcd.Get("/bootagent"))
	}
	if record.Name != "web-1" || record.Role != "web" || record.State != truth.StateReady || len(record.Addresses) == 0 || record.ConfigDigest != s.Config.Digest {
		t.Errorf("etcd has %+v", record)
	}
}

// wholeJournal compares the log server with the journal, by cursor.
func wholeJournal(t *testing.T, w world, node *rig.Node) {
	t.Helper()
	want := cursors(node)
	var got map[string]int
	rig.Eventually(t, 20*time.Second, "every entry at the log server", func() bool {
		got = w.shipped(`_MACHINE_ID:"` + strings.TrimSpace(node.MustRun("cat", "/etc/machine-id")) + `"`)
		for _, cursor := range want {
			if got[cursor] == 0 {
				return false
			}
		}
		return true
	})
	for cursor, n := range got {
		if n != 1 {
			t.Errorf("%s: %d times", cursor, n)
		}
	}
	t.Logf("%d entries in the journal, all at the log server", len(want))
}

// cursors are those of this boot's journal up to now.
func cursors(node *rig.Node) []string {
	var list []string
	for line := range strings.Lines(node.Journal("-b", "-o", "export", "--output-fields=MESSAGE_ID")) {
		if cursor, ok := strings.CutPrefix(line, "__CURSOR="); ok {
			list = append(list, strings.TrimSpace(cursor))
		}
	}
	return list
}

// quiet sees what is left running, and with which rights.
func quiet(t *testing.T, node *rig.Node, s status.Status) {
	t.Helper()
	if s.Privileges.UID == 0 || s.Privileges.Capabilities != "0000000000000000" || !s.Privileges.NoNewPrivs || !s.Privileges.Seccomp {
		t.Errorf("privileges %+v", s.Privileges)
	}
	threads := node.MustRun("sh", "-c", `for pid in $(cat /sys/fs/cgroup/system.slice/bootagent.service/cgroup.procs); do
		cat /proc/$pid/task/*/status; done | grep -E '^(Name|Uid|CapEff)'`)
	if strings.Count(threads, "Name:") < 2 {
		t.Errorf("threads: %s", threads)
	}
	for line := range strings.Lines(threads) {
		fields := strings.Fields(line)
		if fields[0] == "Uid:" && (fields[1] == "0" || fields[2] == "0") || fields[0] == "CapEff:" && fields[1] != "0000000000000000" {
			t.Errorf("a thread with rights: %s", threads)
		}
	}
	if left := property(node, "bootagent-boot.service", "MainPID"); left != "0" {
		t.Errorf("the boot still runs as %s", left)
	}
}
