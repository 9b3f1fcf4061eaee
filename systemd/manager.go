package systemd

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

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
	return userspaceStart(conn)
}

func userspaceStart(conn *dbus.Conn) (string, error) {
	value, err := conn.GetManagerProperty("UserspaceTimestampMonotonic")
	if err != nil {
		return "", fmt.Errorf("systemd: %v", err)
	}
	return parseMicroseconds(value)
}

// parseMicroseconds takes a number in the text form of GVariant, in which its
// type comes first.
func parseMicroseconds(value string) (string, error) {
	usec := strings.TrimPrefix(value, "@t ")
	if _, err := strconv.ParseUint(usec, 10, 64); err != nil {
		return "", fmt.Errorf("systemd: UserspaceTimestampMonotonic is %q", value)
	}
	return usec, nil
}

// Jobs are what the manager is about to do.
type Jobs struct {
	Restarts bool // this service is stopped in order to be started again
	Stopping int  // how many other units are being stopped at this moment
}

// ErrNoBus says that the system bus does not serve this process. That is so
// where it does not run, and for a dynamic user under a dbus-daemon before 1.15.
var ErrNoBus = errors.New("system bus not available")

// busTime bounds a call over the bus.
const busTime = time.Second

// Manager is a connection to the system's manager over the system bus. A nil
// one has no bus.
type Manager struct {
	conn  *dbus.Conn
	unit  string
	close context.CancelFunc
}

// Connect opens the system bus; unit is this service's own name.
func Connect(ctx context.Context, unit string) (*Manager, error) {
	ctx, cancel := context.WithCancel(ctx) // the connection ends with it
	late := time.AfterFunc(busTime, cancel)
	conn, err := dbus.NewSystemConnectionContext(ctx)
	if err != nil || !late.Stop() {
		cancel()
		return nil, fmt.Errorf("%w: %v", ErrNoBus, cmp.Or(err, context.DeadlineExceeded))
	}
	return &Manager{conn: conn, unit: unit, close: cancel}, nil
}

// Jobs asks for them. Units that wait for this one, because they are ordered
// to stop after it, are not among those being stopped.
func (m *Manager) Jobs(ctx context.Context) (Jobs, error) {
	if m == nil {
		return Jobs{}, ErrNoBus
	}
	ctx, cancel := context.WithTimeout(ctx, busTime)
	defer cancel()
	list, err := m.conn.ListJobsContext(ctx)
	if err != nil {
		return Jobs{}, fmt.Errorf("system bus: %v", err)
	}
	var jobs Jobs
	for _, job := range list {
		switch {
		case job.Unit == m.unit:
			jobs.Restarts = job.JobType == "restart" || job.JobType == "try-restart"
		case job.JobType == "stop" && job.Status == "running":
			jobs.Stopping++
		}
	}
	return jobs, nil
}

// UserspaceStart is what the function of that name says, for everybody. It is
// bounded by the context of Connect.
func (m *Manager) UserspaceStart() (string, error) {
	if m == nil {
		return "", ErrNoBus
	}
	return userspaceStart(m.conn)
}

// Close closes the connection.
func (m *Manager) Close() {
	if m != nil {
		m.conn.Close()
		m.close()
	}
}
