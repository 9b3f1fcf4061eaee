package systemd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
)

func TestPriority(t *testing.T) {
	want := map[logrus.Level]journal.Priority{
		logrus.PanicLevel: journal.PriCrit, logrus.FatalLevel: journal.PriCrit, logrus.ErrorLevel: journal.PriErr,
		logrus.WarnLevel: journal.PriWarning, logrus.InfoLevel: journal.PriInfo, logrus.DebugLevel: journal.PriDebug, logrus.TraceLevel: journal.PriDebug,
	}
	levels := JournalHook{}.Levels()
	if len(levels) != len(want) {
		t.Errorf("levels %v", levels)
	}
	for _, level := range levels {
		if got := Priority(level); got != want[level] {
			t.Errorf("%v is %v, want %v", level, got, want[level])
		}
	}
}

func TestMessage(t *testing.T) {
	for want, data := range map[string]logrus.Fields{
		"step failed":                       {},
		"step failed: fetch":                {"step": "fetch", "duration_usec": 7, "message_id": "x"},
		"step failed: fetch: no answer":     {"error": errors.New("no answer"), "step": "fetch"},
		"step failed: claim: etcd: refused": {"registry": "etcd", "step": "claim", "error": errors.New("refused")},
		"step failed: loki: file":           {"sink": "loki", "source": "file"},
		"step failed: 7":                    {"step": 7},
	} {
		if got := Message(&logrus.Entry{Message: "step failed", Data: data}); got != want {
			t.Errorf("%v is %q, want %q", data, got, want)
		}
	}
}

func TestFields(t *testing.T) {
	got := Fields(&logrus.Entry{Message: "m", Data: logrus.Fields{
		"step": "fetch", "message_id": "6ba4ed97", "duration_usec": 1500, "error": errors.New("no\nanswer"), "time": 2 * time.Second,
		"odd-name.with spaces é": true, "nothing": nil,
	}})
	want := map[string]string{
		"SYSLOG_IDENTIFIER": "bootagent", "MESSAGE_ID": "6ba4ed97", "BOOTAGENT_STEP": "fetch", "BOOTAGENT_DURATION_USEC": "1500",
		"BOOTAGENT_ERROR": "no\nanswer", "BOOTAGENT_TIME": "2s", "BOOTAGENT_ODD_NAME_WITH_SPACES__": "true", "BOOTAGENT_NOTHING": "<nil>",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

// roleOfTest tells a child of these tests, whose standard error is a file,
// what to do.
const roleOfTest = "SYSTEMD_TEST_ROLE"

// child runs this test again with a file as its standard error, and returns
// what it prints to either.
func child(t *testing.T, role string, environment func(stderr *syscall.Stat_t) string) (stdout, stderr string) {
	t.Helper()
	file, err := os.Create(t.TempDir() + "/stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var stat syscall.Stat_t
	if err := syscall.Fstat(int(file.Fd()), &stat); err != nil {
		t.Fatal(err)
	}
	name, _, _ := strings.Cut(t.Name(), "/")
	again := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+name+"$")
	again.Env = append(os.Environ(), roleOfTest+"="+role, environment(&stat))
	again.Stderr = file
	output, err := again.Output()
	if err != nil {
		t.Errorf("%v: %s", err, output)
	}
	text, err := os.ReadFile(file.Name())
	if err != nil {
		t.Error(err)
	}
	stdout, _, _ = strings.Cut(string(output), "PASS")
	return stdout, string(text)
}

// TestUnderJournal has a file for the journal's stream.
func TestUnderJournal(t *testing.T) {
	if os.Getenv(roleOfTest) != "" {
		fmt.Println(UnderJournal())
		return
	}
	for name, test := range map[string]struct {
		environment func(*syscall.Stat_t) string
		want        string
	}{
		"ours":         {func(s *syscall.Stat_t) string { return fmt.Sprintf("JOURNAL_STREAM=%d:%d", s.Dev, s.Ino) }, "true\n"},
		"another file": {func(s *syscall.Stat_t) string { return fmt.Sprintf("JOURNAL_STREAM=%d:%d", s.Dev, s.Ino+1) }, "false\n"},
		"another disk": {func(s *syscall.Stat_t) string { return fmt.Sprintf("JOURNAL_STREAM=%d:%d", s.Dev+1, s.Ino) }, "false\n"},
		"garbage":      {func(*syscall.Stat_t) string { return "JOURNAL_STREAM=x" }, "false\n"},
		"none":         {func(*syscall.Stat_t) string { return "JOURNAL_STREAM=" }, "false\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if got, _ := child(t, "ask", test.environment); got != test.want {
				t.Errorf("under the journal: %q, want %q", got, test.want)
			}
		})
	}
}

// TestJournalHookNoJournal sees that an entry is not lost where the journal is
// not there.
func TestJournalHookNoJournal(t *testing.T) {
	if journal.Enabled() {
		t.Skip("NOT TESTED: a journal is here")
	}
	if os.Getenv(roleOfTest) != "" {
		log := logrus.New()
		log.SetOutput(os.Stdout)
		log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true})
		log.AddHook(JournalHook{})
		log.WithField("step", "fetch").Warn("step failed")
		return
	}
	if _, stderr := child(t, "log", func(*syscall.Stat_t) string { return "X=" }); stderr != "step failed: fetch\n" {
		t.Errorf("standard error: %q", stderr)
	}
}
