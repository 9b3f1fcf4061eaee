// Package systemd is how the agent and systemd speak with each other: the
// notifications of a service, its sockets, its journal, the manager's own
// words, and, in units/, the unit files.
//
// All of it works where systemd is not there, as in a container: nobody is
// notified, nothing was passed, nothing is asked. Reading the journal is the
// business of package journal below.
package systemd

import (
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"github.com/coreos/go-systemd/v22/daemon"
)

// Notifier tells the manager how this service is doing, see sd_notify(3).
// Its zero value is ready for use; where nobody listens it does nothing.
type Notifier struct{}

// Ready says that the service has started.
func (Notifier) Ready() { notify(daemon.SdNotifyReady) }

// Stopping says that the service is about to end.
func (Notifier) Stopping() { notify(daemon.SdNotifyStopping) }

// Status is one line for systemctl status.
func (Notifier) Status(line string) {
	notify("STATUS=" + strings.ReplaceAll(line, "\n", " "))
}

// Extend asks for that much more time, from now on, to start or to stop.
func (Notifier) Extend(d time.Duration) {
	notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// notify drops the error: a manager that does not listen is none.
func notify(state string) { _, _ = daemon.SdNotify(false, state) }

// Sockets are the stream sockets that the manager passed to this process, see
// sd_listen_fds(3).
func Sockets() []net.Listener {
	passed, err := activation.Listeners()
	if err != nil {
		return nil
	}
	var sockets []net.Listener
	for _, l := range passed {
		switch {
		case l == nil:
		case l.Addr().Network() == "unix", l.Addr().Network() == "tcp":
			sockets = append(sockets, l)
		default: // of datagrams, which package net takes for one that listens
			_ = l.Close()
		}
	}
	return sockets
}

// CommandLine is the kernel command line, as words. In a container it is where
// systemd looks for it there: among the arguments of PID 1.
func CommandLine() []string { return commandLine("/") }

func commandLine(root string) []string {
	if !inContainer(root) {
		return strings.Fields(string(read(root, "proc/cmdline")))
	}
	var words []string
	for i, arg := range strings.Split(string(read(root, "proc/1/cmdline")), "\x00") {
		if i > 0 && arg != "" {
			words = append(words, arg)
		}
	}
	return words
}

// inContainer is what systemd itself writes down for everybody, see the
// container interface, https://systemd.io/CONTAINER_INTERFACE.
func inContainer(root string) bool { return len(read(root, "run/systemd/container")) > 0 }

// Booted tells whether systemd is this system's init, see sd_booted(3).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// read is the beginning of a small file, empty if it cannot be read.
func read(root, path string) []byte {
	f, err := os.Open(filepath.Join(root, path))
	if err != nil {
		return nil
	}
	defer f.Close()
	content, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return content
}
