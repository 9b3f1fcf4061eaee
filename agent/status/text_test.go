package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file of testdata, or writes it.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := errors.Join(os.MkdirAll("testdata", 0o755), os.WriteFile(path, []byte(got), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if diff := cmp.Diff(string(want), got); diff != "" || err != nil {
		t.Errorf("%s (-want +got): %v\n%s", path, err, diff)
	}
}

// testStatuses are nodes in all their states, at the given time.
func testStatuses(now time.Time) map[string]Status {
	ready := testReceipt().Status()
	ready.State = Ready
	ready.Conditions = append(ready.Conditions,
		Condition{Type: "Registered", Status: true, Reason: "Registered", Message: "etcd https://etcd1:2379", Since: now},
		Condition{Type: "LogsDelivered", Status: true, Reason: "Delivered", Message: "every sink takes what it is sent", Since: now})
	ready.Registry.State = "registered"
	ready.Logs = []Sink{{Sink: "journal_upload https://logs.internal", Shipped: 12345, Cursor: "s=1;i=2"}, {Sink: "file /run/log.json"}}
	ready.Privileges = &Privileges{UID: 61234, Capabilities: "0000000000000000", NoNewPrivs: true, Seccomp: true}

	booting := testReceipt().Status()
	booting.State = Booting
	booting.Config, booting.Registry, booting.Checks = nil, nil, []check.Finding{}
	booting.Node = Node{ID: "i-0abc", Role: "web", Addresses: []string{}}
	booting.Conditions = []Condition{{Type: "BootDone", Reason: "Running", Message: "the boot is running", Since: now}}
	booting.Steps = []Step{
		{Name: "identify", State: StepDone, Started: now.Add(-13 * time.Second), Duration: 0.0213},
		{Name: "check", State: StepDone, Started: now.Add(-13 * time.Second)},
		{Name: "fetch", State: StepRunning, Started: now.Add(-12500 * time.Millisecond), Error: "http https://truth.internal/web: 503 Service Unavailable"},
		{Name: "claim", State: StepPending},
		{Name: "write", State: StepRunning, Started: now.Add(time.Hour)}, // the clock was set back
	}

	degraded := testReceipt().Status()
	degraded.State = Degraded
	degraded.Conditions = append(degraded.Conditions,
		Condition{Type: "Registered", Reason: "Lost", Message: "web-7 is held by node i-\x1b[2Jevil", Since: now},
		Condition{Type: "LogsDelivered", Reason: "SinkDown", Message: "journal_upload: 503\nService Unavailable", Since: now})
	degraded.Registry = &Registry{Backend: "etcd https://etcd1:2379", State: "lost", Error: "web-7 is held by node i-\x1b[2Jevil"}
	degraded.Checks = append(degraded.Checks, check.Finding{Name: "superblock", Verdict: check.Warn, Message: "writable\tbelow\nthe mount"})
	degraded.Logs = []Sink{{Sink: "journal_upload https://logs.internal", Shipped: 10, Lost: 2, Rejected: 1, Lag: 61.26, LastError: "503\tService Unavailable"}}

	failed := (&Receipt{State: Failed, Error: "check: root: mounted writable", Started: now, Node: testNode(),
		Checks: []check.Finding{{Name: "root", Verdict: check.Fail, Message: "mounted writable"}, {Name: "superblock", Verdict: check.Off, Message: "not checked: the policy is off"}},
		Steps:  []Step{{Name: "identify", State: StepDone, Duration: 0.002}, {Name: "check", State: StepFailed, Duration: 0.0005, Error: "root: mounted writable"}, {Name: "fetch", State: StepPending}},
	}).Status()

	leaving := ready
	leaving.State = Leaving
	leaving.Conditions = append(leaving.Conditions[:3:3], Condition{Type: "Online", Reason: "Leaving", Message: "taken out of rotation", Since: now})
	leaving.Registry = &Registry{Backend: "etcd https://etcd1:2379", State: "left"}

	return map[string]Status{
		"ready": ready, "booting": booting, "degraded": degraded, "failed": failed, "leaving": leaving,
		"unknown": (&Receipt{}).Status(),
	}
}

// TestText is in a bubble, where it is always the same time.
func TestText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, s := range testStatuses(time.Now()) {
			var text strings.Builder
			if err := Text(&text, s); err != nil {
				t.Error(err)
			}
			golden(t, name+".txt", text.String())
			for i, line := range strings.Split(text.String(), "\n") {
				if strings.TrimRight(line, " ") != line || strings.ContainsFunc(line, func(r rune) bool { return r < ' ' }) {
					t.Errorf("%s: line %d ends with blanks, or moves a cursor: %q", name, i+1, line)
				}
			}
		}
	})
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestTextUnwritable(t *testing.T) {
	if err := Text(full{}, testReceipt().Status()); err == nil {
		t.Error("no error")
	}
}

// TestJSON holds the shape that other programs read: a field that changes its
// name, or a list that becomes null, is a difference here.
func TestJSON(t *testing.T) {
	for name, s := range testStatuses(time.Date(2026, 3, 1, 12, 0, 2, 0, time.UTC)) {
		var text bytes.Buffer
		encoder := json.NewEncoder(&text)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(s); err != nil {
			t.Error(err)
		}
		golden(t, name+".json", text.String())
		if bytes.Contains(text.Bytes(), []byte("null")) {
			t.Errorf("%s: null in JSON", name)
		}
		var back Status
		if err := json.Unmarshal(text.Bytes(), &back); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(s, back); diff != "" {
			t.Errorf("%s (-written +read):\n%s", name, diff)
		}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(testReceipt()); err != nil {
		t.Error(err)
	}
	golden(t, "receipt.json", text.String())
}

func TestSeconds(t *testing.T) {
	for s, want := range map[float64]string{0: "0.0 ms", 0.00004: "0.0 ms", 0.0123: "12.3 ms", 0.9999: "999.9 ms", 1: "1.0 s", 59.96: "60.0 s", 3600: "3600.0 s"} {
		if got := seconds(s); got != want {
			t.Errorf("%v is %s, want %s", s, got, want)
		}
	}
}
