package rig

import (
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// A namespace is a network namespace that lives as long as its descriptor is
// open or a process or socket is in it. The zero value is the namespace that
// the test itself runs in.
type namespace struct{ file *os.File }

// newNamespace makes an empty namespace: one loopback, down.
func newNamespace() (namespace, error) {
	var made namespace
	err := onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		file, err := os.Open("/proc/thread-self/ns/net")
		made.file = file
		return err
	})
	return made, err
}

// do calls f on a thread that is in the namespace: the sockets it opens and
// the processes it starts belong there. Goroutines that f starts do not.
func (n namespace) do(f func() error) error {
	if n.file == nil {
		return f()
	}
	return onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("setns: %w", err)
		}
		return f()
	})
}

// path is a name of the namespace that other processes can open, as long as
// this one lives.
func (n namespace) path() string {
	return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd())
}

func (n namespace) close() {
	if n.file != nil {
		n.file.Close()
	}
}

// onThread calls f on a thread that f may move to another network namespace.
// The thread is brought home afterwards, not ended: processes that it started
// are killed when it ends (see start).
func onThread(f func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := os.Open("/proc/thread-self/ns/net")
		if err != nil {
			result <- err
			return
		}
		defer home.Close()
		err = f()
		if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
			result <- fmt.Errorf("setns: %v: thread lost", back)
			return // still locked, so that the runtime ends the thread
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}
