package agent

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/sirupsen/logrus"
)

// Status is how the node is now.
func (r *resident) Status() status.Status {
	s := r.receipt.Status()
	s.Logs = r.logs()
	s.Privileges = privileges()
	if r.holder != nil {
		registry := r.holder.Status()
		s.Registry = &registry
	}
	s.Conditions = r.conditions(s)
	s.State = r.stateOf(s)
	return s
}

// Receipt is what is known of the boot.
func (r *resident) Receipt() *status.Receipt {
	if !r.known {
		return nil
	}
	return &r.receipt
}

// logs is how the sinks are doing.
func (r *resident) logs() []status.Sink {
	list := []status.Sink{}
	for _, shipper := range r.shippers {
		s := shipper.Stats()
		list = append(list, status.Sink{
			Sink: s.Sink, Shipped: s.Shipped, Lost: s.Lost, Rejected: s.Rejected,
			Lag: s.Lag.Seconds(), Cursor: s.Cursor, LastError: s.LastError,
		})
	}
	return list
}

// conditions are all that can be as it should or not, each with the time of
// its last change.
func (r *resident) conditions(s status.Status) []status.Condition {
	list := []status.Condition{s.Conditions[0], immutable(s.Checks)} // the first is of the receipt
	if s.Registry != nil {
		list = append(list, registered(*s.Registry))
	}
	if len(s.Logs) > 0 {
		list = append(list, delivered(s.Logs))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	list = append(list, r.rotation())
	now := time.Now()
	for i := range list {
		before, seen := r.since[list[i].Type]
		switch {
		case !list[i].Since.IsZero():
		case seen && before.Status == list[i].Status:
			list[i].Since = before.Since
		default:
			list[i].Since = now
		}
		r.since[list[i].Type] = list[i]
	}
	return list
}

func immutable(checks []check.Finding) status.Condition {
	c := status.Condition{Type: "Immutable", Status: true, Reason: "Passed", Message: "every check that was made passed"}
	var bad []string
	for _, f := range checks {
		if f.Verdict != check.Pass && f.Verdict != check.Off {
			bad = append(bad, f.Name+": "+f.Message)
		}
	}
	switch {
	case len(checks) == 0:
		c.Status, c.Reason, c.Message = false, "Unchecked", "no check was made"
	case len(bad) > 0:
		c.Status, c.Reason, c.Message = false, "Writable", strings.Join(bad, "; ")
	}
	return c
}

func registered(r status.Registry) status.Condition {
	c := status.Condition{Type: "Registered", Status: r.State == "registered", Reason: title(r.State), Message: r.Backend}
	if r.Error != "" {
		c.Message = r.Error
	}
	return c
}

func delivered(logs []status.Sink) status.Condition {
	c := status.Condition{Type: "LogsDelivered", Status: true, Reason: "Delivered", Message: "every sink takes what it is sent"}
	for _, s := range logs {
		if s.LastError != "" {
			c.Status, c.Reason, c.Message = false, "SinkDown", s.Sink+": "+s.LastError
		}
	}
	return c
}

// rotation is whether the node was put in rotation, by `bootagent online`.
func (r *resident) rotation() status.Condition {
	switch {
	case r.online:
		return status.Condition{Type: "Online", Status: true, Reason: "Online", Message: "in rotation"}
	case r.leaving:
		return status.Condition{Type: "Online", Reason: "Leaving", Message: "taken out of rotation"}
	}
	return status.Condition{Type: "Online", Reason: "NotYet", Message: "not yet in rotation"}
}

// title makes a reason of a state, which an odd receipt may not have.
func title(s string) string {
	if s == "" {
		return "Unknown"
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// stateOf is the state in one word: the worst that is true.
func (r *resident) stateOf(s status.Status) status.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.receipt.State == status.Failed:
		return status.Failed
	case r.leaving:
		return status.Leaving
	case !r.online:
		return status.Booting
	case r.misses(s.Registry), slices.ContainsFunc(s.Logs, func(l status.Sink) bool { return l.LastError != "" }):
		return status.Degraded
	}
	return status.Ready
}

// misses tells whether the node depends on a registry that does not have it:
// because that is required, or because the node lives under a name. An agent
// that has only just begun to ask misses nothing yet.
func (r *resident) misses(registry *status.Registry) bool {
	needed := r.config.Registry.Required || r.receipt.Node.Name != ""
	return registry != nil && needed && registry.State != "registered" && registry.Error != ""
}

// inventoryState is what the registry is to know.
func (r *resident) inventoryState() truth.State {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.receipt.State == status.Failed:
		return truth.StateFailed
	case r.leaving:
		return truth.StateLeaving
	case r.online:
		return truth.StateReady
	}
	return truth.StateBooting
}

// announce tells systemd and the log when the state is another one.
func (r *resident) announce() {
	s := r.Status()
	r.Notify.Status(line(s))
	r.mu.Lock()
	same := r.state == s.State
	r.state = s.State
	r.mu.Unlock()
	if !same {
		r.Log.WithFields(logrus.Fields{"message_id": messageState, "state": s.State}).Info("state: " + string(s.State))
	}
}

// line is a status in one line, for systemctl status.
func line(s status.Status) string {
	words := []string{string(s.State) + ": " + s.Node.ID}
	if s.Node.Name != "" {
		words[0] = string(s.State) + ": " + s.Node.Name
	}
	for _, c := range s.Conditions {
		if !c.Status {
			words = append(words, c.Message)
		}
	}
	if s.Config != nil {
		words = append(words, fmt.Sprintf("%d sources", len(s.Config.Sources)))
	}
	return strings.Join(words, ", ")
}

// privileges are this process's own, from proc_pid_status(5).
func privileges() *status.Privileges {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return nil
	}
	p := &status.Privileges{UID: os.Getuid()}
	for entry := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(entry, ":")
		switch value = strings.TrimSpace(value); name {
		case "CapEff":
			p.Capabilities = value
		case "NoNewPrivs":
			p.NoNewPrivs = value == "1"
		case "Seccomp":
			p.Seccomp = value == "2"
		}
	}
	return p
}
