// Package journaltest gives a test a systemd-journald of its own. Nothing but
// tests may import it.
package journaltest

import (
	"context"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"
)

const (
	journald = "/lib/systemd/systemd-journald"
	variable = "TEST_OWN_JOURNALD" // the name of the test, in its child
	testTime = time.Minute         // bound of a test in its child
)

// Own runs the test again, alone in a child process which has a journald for
// itself: namespaces for mounts and processes, an empty /run, the machine's own
// systemd-journald with its sockets and files there, and config in section
// [Journal] of its configuration. It returns true in that child, where the test
// goes on; in the caller it returns false, and the caller has nothing more to do.
//
// There is no rate limit, and nothing of the kernel's in the journal, which
// comes when it likes. All ends with the test. It is skipped where it is not run
// by root, or where there is no systemd.
func Own(t *testing.T, config string) bool {
	t.Helper()
	if os.Getenv(variable) == t.Name() {
		start(t, config)
		return true
	}
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a systemd-journald of its own")
	}
	for _, program := range []string{journald, "journalctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s, which is not installed", program)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), testTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v", "-test.count=1")
	cmd.Env = append(os.Environ(), variable+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID, Pdeathsig: syscall.SIGKILL,
	}
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	} else if testing.Verbose() {
		t.Logf("%s", out)
	}
	return false
}

// start prepares /run and starts journald. Both end with this process, which is
// the first one of its namespace.
func start(t *testing.T, config string) {
	t.Helper()
	must(t, syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""))
	must(t, syscall.Mount("proc", "/proc", "proc", 0, ""))
	must(t, syscall.Mount("tmpfs", "/run", "tmpfs", 0, ""))
	must(t, os.MkdirAll("/run/systemd/journald.conf.d", 0o755))
	must(t, os.MkdirAll("/run/log/journal", 0o755))
	must(t, os.WriteFile("/run/systemd/journald.conf.d/test.conf", []byte(
		"[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\nSyncIntervalSec=1s\n"+config), 0o644))
	cmd := exec.CommandContext(t.Context(), journald)
	cmd.Stderr = os.Stderr
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for end := time.Now().Add(testTime / 4); ; <-look.C {
		c, err := new(net.Dialer).DialContext(t.Context(), "unixgram", "/run/systemd/journal/socket")
		if err == nil {
			c.Close()
			return
		}
		if time.Now().After(end) {
			t.Fatalf("no journald: %v", err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
