package systemd

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/dbus"
)

// UserspaceStart is when PID 1 began its work, on the monotonic clock in
// microseconds. Together with the boot id it tells boots apart also where the
// kernel goes on, as in a soft-reboot. It asks PID 1 directly, which serves
// root only, and is empty where systemd is not the init.
func UserspaceStart(ctx context.Context) (string, error) {
	if !Booted() {
		return "", nil
	}
	conn, err := dbus.NewSystemdConnectionContext(ctx)
	if err != nil {
		return "", fmt.Errorf("systemd: %v", err)
	}
	defer conn.Close()
	value, err := conn.GetManagerProperty("UserspaceTimestampMonotonic")
	if err != nil {
		return "", fmt.Errorf("systemd: %v", err)
	}
	usec := strings.TrimPrefix(value, "@t ") // the type, as GVariant text has it
	if _, err := strconv.ParseUint(usec, 10, 64); err != nil {
		return "", fmt.Errorf("systemd: UserspaceTimestampMonotonic is %q", value)
	}
	return usec, nil
}

// Jobs are what the manager is about to do.
type Jobs struct {
	Own      string // the kind of this service's own job, empty if it has none: stop, restart
	Stopping int    // how many other units are being stopped at this moment
}

// Manager is a connection to the system's manager over the system bus.
type Manager struct {
	conn *dbus.Conn
	unit string
}

// Connect opens the system bus; unit is this service's own name.
func Connect(ctx context.Context, unit string) (*Manager, error) {
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil {
		return nil, fmt.Errorf("system bus: %v", err)
	}
	return &Manager{conn: conn, unit: unit}, nil
}

// Jobs asks for them. Units that wait for this one, because they are ordered
// to stop after it, are not among those being stopped.
func (m *Manager) Jobs(ctx context.Context) (Jobs, error) {
	list, err := m.conn.ListJobsContext(ctx)
	if err != nil {
		return Jobs{}, fmt.Errorf("system bus: %v", err)
	}
	var jobs Jobs
	for _, job := range list {
		switch {
		case job.Unit == m.unit:
			jobs.Own = job.JobType
		case job.JobType == "stop" && job.Status == "running":
			jobs.Stopping++
		}
	}
	return jobs, nil
}

// Close closes the connection.
func (m *Manager) Close() { m.conn.Close() }
