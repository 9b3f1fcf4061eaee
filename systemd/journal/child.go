package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// child is a running journalctl. Its life ends with the context it was started
// with, with kill, and with this process, however that ends.
type child struct {
	output *os.File // its standard output
	errors tail     // its standard error
	cancel context.CancelCauseFunc
	ctx    context.Context
	exited chan error
}

// reapTime bounds the wait for the end of a killed child: one that is stuck in
// the kernel is left to it.
const reapTime = 2 * time.Second

// start starts a child. Its environment is empty but for the language of its
// errors: unreadable reads them.
func start(ctx context.Context, binary string, args []string) (*child, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("journalctl: %v", err)
	}
	c := &child{output: r, exited: make(chan error, 1)}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	context.AfterFunc(c.ctx, func() { _ = r.SetReadDeadline(time.Now().Add(reapTime)) })
	cmd := exec.CommandContext(c.ctx, binary, args...)
	cmd.Env = []string{"LC_ALL=C", "SYSTEMD_COLORS=0"}
	cmd.Stdout, cmd.Stderr = w, &c.errors
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = reapTime
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}

	started := make(chan error)
	go func() {
		// Pdeathsig is sent at the end of the thread that started the child, so
		// this one must not end first; nor after, as it may have started others.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		w.Close()
		started <- err
		if err == nil {
			c.exited <- cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		c.cancel(nil)
		r.Close()
		return nil, fmt.Errorf("journalctl: %v", err)
	}
	return c, nil
}

// kill ends the child for a reason.
func (c *child) kill(reason error) { c.cancel(reason) }

// wait ends the child, whose output ended with err, and returns what there is
// to say about it.
func (c *child) wait(err error) error {
	defer c.output.Close()
	patience := time.NewTimer(reapTime)
	defer patience.Stop()
	if !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		c.kill(err)
	}
	var exit error
	select {
	case exit = <-c.exited:
	case <-patience.C: // its output is closed, so it has no more to say
		c.kill(fmt.Errorf("output closed"))
		exit = fmt.Errorf("no exit")
	}
	reason := context.Cause(c.ctx)
	c.cancel(nil)
	switch text := c.errors.String(); {
	case reason != nil:
		return fmt.Errorf("journalctl: %v", reason)
	case text != "":
		return fmt.Errorf("journalctl: %v: %s", exit, text)
	case exit != nil:
		return fmt.Errorf("journalctl: %v", exit)
	}
	return fmt.Errorf("journalctl: %v", err)
}

// tail is a writer which keeps the end of what is written to it.
type tail struct {
	mu   sync.Mutex
	text []byte
}

const tailSize = 512

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p[max(0, len(p)-tailSize):]...)
	t.text = bytes.Clone(t.text[max(0, len(t.text)-tailSize):])
	return len(p), nil
}

// String is the text in one line.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := strings.ToValidUTF8(string(t.text), "")
	return strings.Join(strings.Fields(text), " ")
}
