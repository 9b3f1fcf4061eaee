package agent

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/bootagent/bootagent/agent/status"
)

// errCrash stands for a power cut: the boot ends where it is.
var errCrash = errors.New("crash")

// crashAt boots up to the nth point, counted from 1, and no further. It is
// false if there are fewer points.
func (m *made) crashAt(n int) (crashed bool) {
	m.t.Helper()
	defer func() { m.Point = nil }()
	defer func() {
		if cause := recover(); cause != nil && cause != any(errCrash) {
			panic(cause)
		} else if cause != nil {
			crashed = true
		}
	}()
	m.Point = func(string) {
		if n--; n == 0 {
			panic(errCrash)
		}
	}
	m.boot()
	return false
}

// whole is what a boot publishes, but for the file with its token.
func (m *made) whole() []string {
	return slices.DeleteFunc(m.published(), func(line string) bool { return strings.HasPrefix(line, "bootagent/config/node.json") })
}

// TestCrash cuts the power at every point of a boot, twice in a row, and boots
// again. What is published is nothing, or all of it.
func TestCrash(t *testing.T) {
	m := newNode(t)
	m.boot()
	want, receipt := m.whole(), string(m.still(m.receipt()))
	for point := 1; ; point++ {
		m := newNode(t)
		if !m.crashAt(point) {
			if point < 10 {
				t.Errorf("only %d points", point-1)
			}
			break
		}
		var config []string
		for _, line := range m.whole() {
			if strings.HasPrefix(line, "bootagent/config/") {
				config = append(config, line)
			}
		}
		if config != nil {
			same(t, fmt.Sprint("published at point ", point), want, m.whole())
		}
		if m.crashAt(point) && config != nil {
			t.Errorf("point %d: the boot was done, and was done again", point)
		}
		m.boot()
		same(t, fmt.Sprint("published after point ", point), want, m.whole())
		same(t, fmt.Sprint("inventory after point ", point), []string{machineID + " web-1 booting", "held: web-1"}, m.inventory())
		same(t, fmt.Sprint("receipt after point ", point), receipt, string(m.still(m.receipt())))
	}
}

// TestSoftReboot boots the node again without a start of the kernel, or with
// one that kept its memory: what was published before is withdrawn.
func TestSoftReboot(t *testing.T) {
	m := newNode(t)
	m.file("truth.yaml", strings.Replace(plainDocument, "credentials: {", "credentials: {old: secret, ", 1)+
		"agent: {logs: [{journal_upload: {url: https://logs.internal:19532, bearer: {credential: old}}}]}\n")
	m.boot()
	same(t, "credentials", []string{"db-password", "old"}, m.receipt().Credentials)
	foreign := filepath.Join(m.run, "credstore/foreign")
	ok(t, os.WriteFile(foreign, []byte("theirs"), 0o400))

	m.file("proc/sys/kernel/random/boot_id", nextBootID+"\n")
	m.file("truth.yaml", strings.ReplaceAll(plainDocument, "info", "debug"))
	m.Point = func(name string) {
		if name == "before identify" {
			same(t, "before the next boot", []string{"credstore/foreign 0400 theirs"}, m.published())
		}
	}
	m.boot()
	same(t, "credentials", []string{"credstore/db-password 0400 not-a-real-secret", "credstore/foreign 0400 theirs"}, begins(m.published(), "credstore"))
	same(t, "agent's", []string{}, begins(m.published(), "bootagent/agent-cred"))
	same(t, "env", []string{"bootagent/config/env 0600 GREETING=\"a \\\"word\\\"\"\nLOG_LEVEL=\"debug\"\n"}, begins(m.published(), "bootagent/config/env"))
	same(t, "inventory", []string{machineID + " web-1 booting", "held: web-1"}, m.inventory())
	r := m.receipt()
	if !strings.HasPrefix(r.Key, nextBootID) {
		t.Errorf("key %s", r.Key)
	}
	same(t, "credentials in the receipt", []string{"db-password"}, r.Credentials)
}

// TestSoftRebootFails leaves nothing of the former boot either.
func TestSoftRebootFails(t *testing.T) {
	m := newNode(t)
	m.boot()
	m.file("proc/sys/kernel/random/boot_id", nextBootID+"\n")
	m.file("truth.yaml", "nonsense")
	if m.Boot(t.Context()) == nil {
		t.Fatal("no error")
	}
	same(t, "published", []string(nil), m.published())
	if r := m.receipt(); r.State != status.Failed || r.Credentials != nil {
		t.Errorf("%+v", r)
	}
}

// TestSoftRebootCrashes loses no credential's name while it withdraws them.
func TestSoftRebootCrashes(t *testing.T) {
	for point := 1; point < 10; point++ {
		m := newNode(t)
		m.file("truth.yaml", strings.Replace(plainDocument, "credentials: {", "credentials: {old: secret, ", 1))
		m.boot()
		m.file("proc/sys/kernel/random/boot_id", nextBootID+"\n")
		m.file("truth.yaml", plainDocument)
		if !m.crashAt(point) {
			t.Fatalf("no point %d", point)
		}
		m.boot()
		same(t, fmt.Sprint("credentials after point ", point), []string{"credstore/db-password 0400 not-a-real-secret"}, begins(m.published(), "credstore"))
		same(t, "credentials in the receipt", []string{"db-password"}, m.receipt().Credentials)
	}
}

// TestReceiptDamaged boots over whatever is in the receipt's place.
func TestReceiptDamaged(t *testing.T) {
	for _, content := range []string{"", "{}", "nonsense", `{"state":"done","key":"x"}`, `{"state":3}`} {
		m := newNode(t)
		ok(t, os.Mkdir(m.directory(), 0o755))
		ok(t, os.WriteFile(filepath.Join(m.directory(), "receipt.json"), []byte(content), 0o644))
		m.boot()
		if r := m.receipt(); r.State != status.Done {
			t.Errorf("%q: %+v", content, r)
		}
	}
}

// TestAsOrdinaryUser runs the tests of this package again without root's powers,
// as the agent of a laptop does.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("this is an ordinary user already")
	}
	const nobody = 65534
	temp := t.TempDir()
	ok(t, os.Chmod(filepath.Dir(temp), 0o755))
	ok(t, os.Chown(temp, nobody, nobody))
	again := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^Test(Boot|Crash|SoftReboot|ReceiptDamaged|Run|Online)", "-test.v", "-test.timeout=2m")
	again.Env = append(os.Environ(), "TMPDIR="+temp, "HOME="+temp)
	again.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	out, err := again.CombinedOutput()
	if passed := strings.Count("\n"+string(out), "\n--- PASS"); err != nil || passed < 10 {
		t.Errorf("%d passed, %v:\n%s", passed, err, out)
	}
}
