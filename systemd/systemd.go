// Package systemd is how the agent and systemd speak with each other: the
// notifications of a service, its sockets, its journal, the manager's own
// words, and, in units/, the unit files.
//
// All of it works where systemd is not there, as in a container: nobody is
// notified, nothing was passed, nothing is asked. Reading the journal is the
// business of package journal below.
package systemd

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
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
		if l != nil {
			sockets = append(sockets, l)
		}
	}
	return sockets
}

// CommandLine is the kernel command line, as words. In a container it is where
// systemd looks for it there: among the arguments of PID 1.
func CommandLine() []string {
	if inContainer() {
		args := bytes.Split(read("/proc/1/cmdline"), []byte{0})
		words := make([]string, 0, len(args))
		for _, arg := range args[1:] {
			words = append(words, string(arg))
		}
		return words
	}
	return strings.Fields(string(read("/proc/cmdline")))
}

// inContainer is what systemd itself writes down for everybody, see the
// container interface, https://systemd.io/CONTAINER_INTERFACE.
func inContainer() bool { return len(read("/run/systemd/container")) > 0 }

// Booted tells whether systemd is this system's init, see sd_booted(3).
func Booted() bool {
	info, err := os.Lstat("/run/systemd/system")
	return err == nil && info.IsDir()
}

// read is the beginning of a small file, empty if it cannot be read.
func read(path string) []byte {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer f.Close()
	content, _ := io.ReadAll(io.LimitReader(f, 64<<10))
	return content
}
