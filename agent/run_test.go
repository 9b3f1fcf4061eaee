package agent

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/bootagent/bootagent/systemd"
	"github.com/bootagent/bootagent/systemd/journal"
	"github.com/sirupsen/logrus"
)

// place is where the node's resident lives.
func (m *made) place() Place {
	m.t.Helper()
	p := Place{Cursors: filepath.Join(m.run, "agent")}
	if err := os.Mkdir(p.Cursors, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		m.t.Fatal(err)
	}
	return p
}

// client asks the node's resident.
func (m *made) client() status.Client {
	return status.Client{Socket: m.Config.Status.Socket, Directories: []string{m.directory()}}
}

// start runs the resident, until stop, which waits for its end.
func (m *made) start(place Place) (stop func()) {
	m.t.Helper()
	_ = os.Remove(m.Config.Status.Socket)
	l, err := net.Listen("unix", m.Config.Status.Socket)
	ok(m.t, err)
	place.Listeners = []net.Listener{l}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- m.Run(ctx, place) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-ended:
			ok(m.t, err)
		case <-time.After(20 * time.Second):
			m.t.Error("the resident does not end")
		}
	}
	m.t.Cleanup(stop)
	return stop
}

// await waits for a state, and returns the status.
func (m *made) await(state status.State) (s status.Status) {
	m.t.Helper()
	eventually(m.t, "state "+string(state), func() bool {
		var err error
		s, err = m.client().Status(m.t.Context())
		return err == nil && s.State == state
	})
	return s
}

// awaitInventory waits for what the registry has.
func (m *made) awaitInventory(want ...string) {
	m.t.Helper()
	eventually(m.t, fmt.Sprintf("inventory %q", want), func() bool { return fmt.Sprint(m.inventory()) == fmt.Sprint(want) })
}

// get asks the resident's endpoint.
func (m *made) get(path string) (code int, body string) {
	m.t.Helper()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", m.Config.Status.Socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(m.t.Context(), http.MethodGet, "http://node"+path, nil)
	ok(m.t, err)
	response, err := (&http.Client{Transport: transport}).Do(request)
	ok(m.t, err)
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	ok(m.t, err)
	return response.StatusCode, string(content)
}

func TestRun(t *testing.T) {
	m := newNode(t)
	m.boot()
	place := m.place()
	place.Online = true
	stop := m.start(place)
	m.await(status.Ready)
	m.awaitInventory(machineID+" web-1 ready", "held: web-1")
	eventually(t, "the node is registered", func() bool {
		_, body := m.get("/metrics")
		return strings.Contains(body, "\nbootagent_registered 1\n")
	})

	_, body := m.get("/status")
	var s any
	ok(t, json.Unmarshal([]byte(body), &s))
	golden(t, "status.golden", m.still(s))
	if code, body := m.get("/healthz"); code != 200 || body != "ready\n" {
		t.Errorf("/healthz: %d %s", code, body)
	}
	if code, body := m.get("/receipt"); code != 200 || !strings.Contains(body, `"key": "`+bootID) {
		t.Errorf("/receipt: %d %s", code, body)
	}
	if code, body := m.get("/metrics"); code != 200 || !strings.Contains(body, "\nbootagent_state{state=\"ready\"} 1\n") {
		t.Errorf("/metrics: %d %s", code, body)
	}

	stop()
	same(t, "inventory", []string{}, m.inventory())
	if _, err := m.client().Status(t.Context()); err == nil {
		t.Error("answers after its end")
	}
	same(t, "warnings", []string(nil), m.logged(logrus.WarnLevel))
	if log := m.logged(logrus.InfoLevel); !slices.Contains(log, "state: leaving: <nil>") {
		t.Errorf("logged %q", log)
	}
}

// TestRunAdopts takes over from whatever is left of a boot.
func TestRunAdopts(t *testing.T) {
	failing := func(m *made) {
		m.file("proc/1/mountinfo", writable)
		if m.Boot(m.t.Context()) == nil {
			m.t.Fatal("no error")
		}
	}
	write := func(content string) func(m *made) {
		return func(m *made) {
			ok(m.t, os.Mkdir(m.directory(), 0o755))
			ok(m.t, os.WriteFile(filepath.Join(m.directory(), "receipt.json"), []byte(content), 0o644))
		}
	}
	for name, test := range map[string]struct {
		before func(m *made)
		state  status.State
		err    string
		known  bool
	}{
		"done":                    {func(m *made) { m.boot() }, status.Booting, "", true},
		"done, killed at the end": {func(m *made) { m.crashAt(9) }, status.Booting, "", true},
		"failed":                  {failing, status.Failed, "check: root: writable: ext4 ", true},
		"killed in a step":        {func(m *made) { m.crashAt(7) }, status.Failed, "the boot was killed during write", true},
		"killed between two":      {func(m *made) { m.crashAt(3) }, status.Failed, "the boot was killed", true},
		"killed at once":          {func(m *made) { m.crashAt(1) }, status.Failed, "no receipt of a boot in RUN/bootagent", false},
		"withdrawn":               {func(m *made) { m.boot(); ok(m.t, os.RemoveAll(filepath.Join(m.directory(), "config"))) }, status.Failed, "the boot was killed", true},
		"nothing":                 {func(*made) {}, status.Failed, "no receipt of a boot in RUN/bootagent", false},
		"garbage":                 {write("nonsense"), status.Failed, "receipt: invalid character ", false},
		"cut off":                 {write(`{"version":1,"state":"do`), status.Failed, "receipt: unexpected end of JSON input", false},
		"of no boot":              {write("{}"), status.Failed, "the boot was killed", true},
		"of another shape":        {write(`{"version":1,"key":"x","state":"done","steps":{}}`), status.Failed, "receipt: json: ", false},
		"of no sense":             {write(`{"registry":{},"node":{"id":"x"},"steps":[{}],"checks":[{}]}`), status.Failed, "the boot was killed", true},
		"configuration short":     {func(m *made) { failing(m); m.Config.Node.ID = "${nope}" }, status.Failed, "check: root: ", true},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			m.t = t
			test.before(m)
			place := m.place()
			place.Online = test.state == status.Failed // which helps no failed boot
			stop := m.start(place)
			s := m.await(test.state)
			if got := strings.ReplaceAll(s.Error, m.run, "RUN"); !strings.HasPrefix(got, test.err) || (test.err == "") != (got == "") {
				t.Errorf("error %q, want %q", got, test.err)
			}
			if s.Conditions[0].Type != "BootDone" || s.Conditions[0].Status != (test.err == "") || s.Conditions[0].Message == "" {
				t.Errorf("condition %+v", s.Conditions[0])
			}
			if code, _ := m.get("/healthz"); code != http.StatusServiceUnavailable {
				t.Errorf("/healthz: %d", code)
			}
			if code, _ := m.get("/receipt"); (code == 200) != test.known {
				t.Errorf("/receipt: %d", code)
			}
			if s.Registry != nil && s.Node.ID == machineID {
				eventually(t, "the node in the inventory", func() bool {
					got := m.inventory()
					s, err := m.client().Status(t.Context())
					return len(got) > 0 && got[0] == machineID+" "+s.Node.Name+" "+string(test.state) && err == nil && s.Registry.State == "registered"
				})
			}
			stop()
			for _, line := range m.inventory() { // a boot that was killed may have left its claim
				if name != "killed in a step" || line != "held: web-1" {
					t.Errorf("left: %s", line)
				}
			}
		})
	}
}

// TestRunExitsWhenFailed, for a unit with a FailureAction, once the reason is
// shipped; and only then.
func TestRunExitsWhenFailed(t *testing.T) {
	m := newNode(t)
	m.Config = m.config("logs: [{file: {path: RUN/log.jsonl}}]")
	m.file("proc/1/mountinfo", writable)
	failure := m.Boot(t.Context())
	place := m.place()
	place.ExitWhenFailed, place.Own = true, new(journal.Ring)
	place.Own.Add(journal.Entry{Fields: []journal.Field{{Name: "MESSAGE", Value: []byte(failure.Error())}}})
	err := m.Run(t.Context(), place)
	if err == nil || !strings.Contains(err.Error(), failure.Error()) {
		t.Errorf("error %v", err)
	}
	if content, _ := os.ReadFile(filepath.Join(m.run, "log.jsonl")); !strings.Contains(string(content), failure.Error()) {
		t.Errorf("shipped: %s", content)
	}

	m.file("proc/1/mountinfo", sealed)
	m.boot()
	stop := m.start(place)
	m.await(status.Booting)
	stop()
}

// TestRunRefuses what was published and cannot be read: then nothing is known
// of where to register, and where to send logs.
func TestRunRefuses(t *testing.T) {
	m := newNode(t)
	m.boot()
	settings := filepath.Join(m.directory(), "config/agent.json")
	ok(t, os.Remove(settings))
	if err := m.Run(t.Context(), m.place()); err == nil || !strings.HasPrefix(err.Error(), "published configuration: ") {
		t.Errorf("error %v", err)
	}
	ok(t, os.WriteFile(settings, []byte("{"), 0o644))
	if err := m.Run(t.Context(), m.place()); err == nil || !strings.HasPrefix(err.Error(), "published configuration: ") {
		t.Errorf("error %v", err)
	}
}

// TestRunShips sends the agent's own entries to a file, each once, over a
// restart, to the last one.
func TestRunShips(t *testing.T) {
	m := newNode(t)
	m.Config = m.config("logs: [{file: {path: RUN/log.jsonl}}]")
	m.boot()
	ring := new(journal.Ring)
	add := func(message string) {
		ring.Add(journal.Entry{Fields: []journal.Field{{Name: "MESSAGE", Value: []byte(message)}}})
	}
	shipped := func() (list []string) {
		content, _ := os.ReadFile(filepath.Join(m.run, "log.jsonl"))
		for line := range strings.Lines(string(content)) {
			var entry struct{ Message string }
			ok(t, json.Unmarshal([]byte(line), &entry))
			list = append(list, entry.Message)
		}
		return list
	}
	place := m.place()
	place.Own = ring
	add("of the boot")
	stop := m.start(place)
	m.await(status.Booting)
	add("of the resident")
	eventually(t, "two entries", func() bool { return len(shipped()) == 2 })
	add("before the stop")
	stop()
	want := []string{"of the boot", "of the resident", "before the stop"}
	same(t, "shipped", want, shipped())
	if cursors, err := filepath.Glob(filepath.Join(place.Cursors, "cursor-*")); err != nil || len(cursors) != 1 {
		t.Errorf("cursors: %q", cursors)
	}

	stop = m.start(place)
	s := m.await(status.Booting)
	if len(s.Logs) != 1 || s.Logs[0].Sink != "file "+filepath.Join(m.run, "log.jsonl") {
		t.Errorf("%+v", s.Logs)
	}
	add("of the second start")
	stop()
	same(t, "shipped", append(want, "of the second start"), shipped())
}

// TestRunKeepsItsPlace over a restart, where systemd cannot be asked: what is in
// rotation is to stay there.
func TestRunKeepsItsPlace(t *testing.T) {
	if systemd.Booted() {
		t.Skip("NOT TESTED: systemd can be asked here")
	}
	m := newNode(t)
	m.boot()
	place := m.place()
	place.Unit, place.Online = "bootagent.service", true
	stop := m.start(place)
	m.awaitInventory(machineID+" web-1 ready", "held: web-1")
	stop()
	m.awaitInventory(machineID+" web-1 ready", "held: web-1")

	place.Online = false
	stop = m.start(place)
	m.awaitInventory(machineID+" web-1 booting", "held: web-1")
	eventually(t, "the node is registered", func() bool {
		s, err := m.client().Status(t.Context())
		return err == nil && s.Registry.State == "registered"
	})
	stop()
	same(t, "inventory", []string{}, m.inventory())
}

// resident is the resident with its holder at work, without an endpoint.
func (m *made) resident(place Place) *resident {
	m.t.Helper()
	r, err := m.adopt(place)
	ok(m.t, err)
	if r.holder != nil {
		ctx, cancel := context.WithCancel(context.Background())
		go r.holder.run(ctx)
		m.t.Cleanup(func() { cancel(); <-r.holder.ended })
	}
	return r
}

// TestOnline goes through a node's life in rotation.
func TestOnline(t *testing.T) {
	m := newNode(t)
	m.boot()
	r := m.resident(m.place())
	m.awaitInventory(machineID+" web-1 booting", "held: web-1")
	wantOnline(t, r, status.Booting, false, "NotYet")

	ok(t, r.Online(t.Context(), true))
	same(t, "inventory", []string{machineID + " web-1 ready", "held: web-1"}, m.inventory())
	wantOnline(t, r, status.Ready, true, "Online")
	since := r.Status().Conditions
	ok(t, r.Online(t.Context(), true)) // again: nothing changes
	same(t, "conditions", since, r.Status().Conditions)

	// A restart remembers it, and the registry is told.
	again := m.resident(m.place())
	m.awaitInventory(machineID+" web-1 ready", "held: web-1")
	eventually(t, "the node is registered", func() bool { return again.holder.Status().State == "registered" })
	wantOnline(t, again, status.Ready, true, "Online")

	ok(t, again.Online(t.Context(), false))
	same(t, "inventory", []string{machineID + " web-1 leaving", "held: web-1"}, m.inventory())
	wantOnline(t, again, status.Leaving, false, "Leaving")
	ok(t, again.Online(t.Context(), true)) // whoever took it out may put it back
	wantOnline(t, again, status.Ready, true, "Online")
	ok(t, again.Online(t.Context(), false))
	if m.resident(m.place()).online {
		t.Error("online again after a restart")
	}
	var states []string
	for _, line := range m.logged(logrus.InfoLevel) {
		if state, is := strings.CutPrefix(line, "state: "); is {
			states = append(states, strings.TrimSuffix(state, ": <nil>"))
		}
	}
	if len(states) < 3 || states[0] != "ready" && states[0] != "booting" || states[len(states)-1] != "leaving" {
		t.Errorf("states in the log: %q", states)
	}
}

func wantOnline(t *testing.T, r *resident, state status.State, online bool, reason string) {
	t.Helper()
	s := r.Status()
	last := s.Conditions[len(s.Conditions)-1]
	if s.State != state || last.Type != "Online" || last.Status != online || last.Reason != reason || last.Since.IsZero() {
		t.Errorf("state %s, %+v", s.State, last)
	}
}

// TestOnlineNotRemembered takes nothing but the mark of this very boot.
func TestOnlineNotRemembered(t *testing.T) {
	m := newNode(t)
	m.boot()
	place := m.place()
	mark := filepath.Join(place.Cursors, "online")
	elsewhere := filepath.Join(m.run, "elsewhere")
	ok(t, os.WriteFile(elsewhere, []byte(m.receipt().Key), 0o644))
	for name, test := range map[string]struct {
		make func() error
		is   bool
	}{
		"the mark":     {func() error { return os.WriteFile(mark, []byte(m.receipt().Key), 0o600) }, true},
		"no mark":      {func() error { return nil }, false},
		"empty":        {func() error { return os.WriteFile(mark, nil, 0o600) }, false},
		"another boot": {func() error { return os.WriteFile(mark, []byte(nextBootID), 0o600) }, false},
		"a link":       {func() error { return os.Symlink(elsewhere, mark) }, false},
		"a folder":     {func() error { return os.Mkdir(mark, 0o700) }, false},
	} {
		t.Run(name, func(t *testing.T) {
			ok(t, test.make())
			defer func() { ok(t, os.RemoveAll(mark)) }()
			r, err := m.adopt(place)
			ok(t, err)
			if r.online != test.is {
				t.Errorf("online: %v", r.online)
			}
		})
	}
}

// TestOnlineOfAFailedBoot is refused.
func TestOnlineOfAFailedBoot(t *testing.T) {
	m := newNode(t)
	r := m.resident(m.place())
	if err := r.Online(t.Context(), true); err == nil || err.Error() != "the node is not fit: failed" {
		t.Errorf("error %v", err)
	}
}

// TestOnlineWithoutRegistry waits for nobody; TestOnline's registry answers.
func TestOnlineWithoutRegistry(t *testing.T) {
	m := newNode(t)
	m.Config = m.config("node: {name: ''}\n")
	m.Config.Registry.File = nil
	m.boot()
	r := m.resident(m.place())
	ok(t, r.Online(t.Context(), true))
	wantOnline(t, r, status.Ready, true, "Online")
}

// TestOnlineRegistryDown is not the caller's trouble: the node is in rotation,
// and degraded where the registry is required.
func TestOnlineRegistryDown(t *testing.T) {
	for _, required := range []bool{false, true} {
		m := newNode(t)
		m.Config = m.config(fmt.Sprintf("node: {name: ''}\nregistry: {file: {path: RUN/absent/registry}, required: %v}", required))
		m.boot()
		r := m.resident(m.place())
		start := time.Now()
		err := r.Online(t.Context(), true)
		if took := time.Since(start); took > 2*updateTime || err != nil {
			t.Errorf("required %v: after %v: %v", required, took, err)
		}
		eventually(t, "an error of the registry", func() bool { return r.holder.Status().Error != "" })
		want := map[bool]status.State{true: status.Degraded, false: status.Ready}[required]
		wantOnline(t, r, want, true, "Online")
	}
}

// TestOnlineOverTheSocket is for root only.
func TestOnlineOverTheSocket(t *testing.T) {
	m := newNode(t)
	m.boot()
	stop := m.start(m.place())
	m.await(status.Booting)
	state, err := m.client().Online(t.Context(), true)
	switch {
	case os.Getuid() != 0 && (err == nil || !strings.Contains(err.Error(), "root only")):
		t.Errorf("error %v", err)
	case os.Getuid() == 0 && (err != nil || state != status.Ready):
		t.Errorf("%s, %v", state, err)
	case os.Getuid() == 0:
		m.awaitInventory(machineID+" web-1 ready", "held: web-1")
	}
	eventually(t, "the node is registered", func() bool {
		s, err := m.client().Status(t.Context())
		return err == nil && s.Registry.State == "registered"
	})
	stop()
	same(t, "inventory", []string{}, m.inventory())
}

// TestStates judges a node by what is known of it.
func TestStates(t *testing.T) {
	pass := []check.Finding{{Name: "root", Verdict: check.Pass, Message: "mounted read-only"}, {Name: "superblock", Verdict: check.Off}}
	down := []status.Sink{{Sink: "file /a"}, {Sink: "file /b", LastError: "disk full"}}
	for name, test := range map[string]struct {
		boot            status.State
		online, leaving bool
		named, required bool
		registry        *status.Registry
		logs            []status.Sink
		checks          []check.Finding
		state           status.State
		conditions      string // those that are not true
		inventory       truth.State
	}{
		"booting": {boot: status.Done, checks: pass, state: status.Booting, conditions: "Online NotYet: not yet in rotation", inventory: "booting"},
		"ready":   {boot: status.Done, checks: pass, online: true, state: status.Ready, inventory: "ready"},
		"leaving": {boot: status.Done, checks: pass, leaving: true, state: status.Leaving, conditions: "Online Leaving: taken out of rotation", inventory: "leaving"},
		"failed": {boot: status.Failed, checks: pass, leaving: true, state: status.Failed,
			conditions: "BootDone Failed: why; Online Leaving: taken out of rotation", inventory: "failed"},
		"unchecked": {boot: status.Done, online: true, state: status.Ready, conditions: "Immutable Unchecked: no check was made", inventory: "ready"},
		"writable": {boot: status.Done, online: true, state: status.Ready, inventory: "ready",
			checks:     []check.Finding{{Name: "root", Verdict: check.Warn, Message: "rw"}, {Name: "superblock", Verdict: check.Unknown, Message: "?"}},
			conditions: "Immutable Writable: root: rw; superblock: ?"},
		"registered": {boot: status.Done, checks: pass, online: true, named: true, required: true,
			registry: &status.Registry{State: "registered", Error: "once more"}, state: status.Ready, inventory: "ready"},
		"registering at first": {boot: status.Done, checks: pass, online: true, required: true,
			registry: &status.Registry{State: "registering", Backend: "b"}, state: status.Ready, conditions: "Registered Registering: b", inventory: "ready"},
		"registry down, not required": {boot: status.Done, checks: pass, online: true,
			registry: &status.Registry{State: "registering", Error: "e"}, state: status.Ready, conditions: "Registered Registering: e", inventory: "ready"},
		"registry down, required": {boot: status.Done, checks: pass, online: true, required: true,
			registry: &status.Registry{State: "registering", Error: "e"}, state: status.Degraded, conditions: "Registered Registering: e", inventory: "ready"},
		"name lost": {boot: status.Done, checks: pass, online: true, named: true,
			registry: &status.Registry{State: "lost", Error: "e"}, state: status.Degraded, conditions: "Registered Lost: e", inventory: "ready"},
		"name lost, while booting": {boot: status.Done, checks: pass, named: true,
			registry: &status.Registry{State: "lost", Error: "e"}, state: status.Booting, conditions: "Registered Lost: e; Online NotYet: not yet in rotation", inventory: "booting"},
		"sink down": {boot: status.Done, checks: pass, online: true, logs: down, state: status.Degraded,
			conditions: "LogsDelivered SinkDown: file /b: disk full", inventory: "ready"},
		"sinks up": {boot: status.Done, checks: pass, online: true, logs: down[:1], state: status.Ready, inventory: "ready"},
	} {
		t.Run(name, func(t *testing.T) {
			r := &resident{Agent: new(Agent), since: map[string]status.Condition{}, online: test.online, leaving: test.leaving}
			r.receipt = status.Receipt{State: test.boot, Checks: test.checks, Started: time.Unix(1, 0)}
			r.config.Registry.Required = test.required
			if test.boot == status.Failed {
				r.receipt.Error = "why"
			}
			if test.named {
				r.receipt.Node.Name = "web-1"
			}
			s := r.receipt.Status()
			s.Registry, s.Logs = test.registry, test.logs
			s.Conditions = r.conditions(s)
			var untrue []string
			for _, c := range s.Conditions {
				if !c.Status {
					untrue = append(untrue, c.Type+" "+c.Reason+": "+c.Message)
				}
				if c.Since.IsZero() {
					t.Errorf("%s since never", c.Type)
				}
			}
			same(t, "conditions", test.conditions, strings.Join(untrue, "; "))
			same(t, "state", test.state, r.stateOf(s))
			same(t, "inventory", test.inventory, r.inventoryState())
		})
	}
}

// TestSince keeps the time of a condition's last change.
func TestSince(t *testing.T) {
	r := &resident{Agent: new(Agent), since: map[string]status.Condition{}}
	r.receipt = status.Receipt{State: status.Done, Started: time.Unix(1, 0), Duration: 2}
	at := func(sinks ...status.Sink) map[string]time.Time {
		s := r.receipt.Status()
		s.Logs = sinks
		since := map[string]time.Time{}
		for _, c := range r.conditions(s) {
			since[c.Type] = c.Since
		}
		return since
	}
	first := at(status.Sink{Sink: "a"})
	same(t, "of the boot", time.Unix(3, 0).UTC(), first["BootDone"].UTC())
	same(t, "again", first, at(status.Sink{Sink: "a"}))
	second := at(status.Sink{Sink: "a", LastError: "e"})
	if !second["LogsDelivered"].After(first["LogsDelivered"]) || second["Online"] != first["Online"] {
		t.Errorf("%v, then %v", first, second)
	}
	same(t, "another error", second, at(status.Sink{Sink: "a", LastError: "f"}))
}
