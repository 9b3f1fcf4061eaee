package rig

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A process is a program in the background whose end is always awaited.
type process struct {
	cmd    *exec.Cmd
	log    string // file with what it wrote to both its outputs
	exited chan struct{}
	err    error // how it ended; valid once exited is closed
}

// start runs the command in the namespace. The process is killed with the
// test, at the latest by the kernel with the test binary.
func start(t testing.TB, ns namespace, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{
		cmd:    cmd,
		log:    filepath.Join(t.TempDir(), filepath.Base(cmd.Path)+".log"),
		exited: make(chan struct{}),
	}
	output, err := os.Create(p.log)
	must(t, err)
	defer output.Close()
	cmd.Stdout, cmd.Stderr = output, output
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
	must(t, ns.do(cmd.Start))
	go func() {
		p.err = cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s wrote:\n%s", filepath.Base(cmd.Path), p.tail())
		}
	})
	return p
}

// alive says whether the process has not ended yet.
func (p *process) alive() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// kill ends the process and waits for its end. It may be called again.
func (p *process) kill() {
	if p.alive() {
		p.cmd.Process.Kill()
	}
	<-p.exited
}

// wait awaits the end of the process by itself.
func (p *process) wait(within time.Duration) error {
	select {
	case <-p.exited:
		return p.err
	case <-time.After(within):
		return fmt.Errorf("still running after %v", within)
	}
}

// tail is the end of what the process wrote.
func (p *process) tail() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return bound(text)
}

// bound keeps the end of a text that goes into the log of a test.
func bound(text []byte) string {
	const limit = 32 << 10
	if len(text) > limit {
		text = append([]byte("[…]"), text[len(text)-limit:]...)
	}
	return string(bytes.TrimSpace(text))
}

// command is one that is killed with all its children when the context ends.
func command(ctx context.Context, name string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = time.Second
	return cmd
}

// output runs a command to its end and returns what it wrote to stdout. The
// error has what it wrote to stderr, and wraps *exec.ExitError.
func output(cmd *exec.Cmd) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		words := strings.Join(cmd.Args, " ")
		return stdout.String(), fmt.Errorf("%s: %w: %s", words, err, bound(stderr.Bytes()))
	}
	return stdout.String(), nil
}
