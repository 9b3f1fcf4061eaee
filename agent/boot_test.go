package agent

import (
	"context"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/sirupsen/logrus"
)

func TestBoot(t *testing.T) {
	m := newNode(t)
	m.boot()
	golden(t, "receipt.golden", m.still(m.receipt()))
	same(t, "inventory", []string{machineID + " web-1 booting", "held: web-1"}, m.inventory())
	published := m.published()
	for i, line := range published {
		if name, _, isJSON := strings.Cut(line, " {"); isJSON && strings.Contains(name, ".json ") {
			published[i] = name
		}
	}
	same(t, "published", []string{
		"bootagent/config/.boot 0644 " + m.receipt().Key,
		"bootagent/config/agent.json 0644",
		"bootagent/config/env 0600 GREETING=\"a \\\"word\\\"\"\nLOG_LEVEL=\"info\"\n",
		"bootagent/config/files/nginx/upstream.conf 0640 upstream app {}\n",
		"bootagent/config/flags.json 0644",
		"bootagent/config/node.json 0644",
		"credstore/db-password 0400 not-a-real-secret",
	}, published)
	for _, path := range []string{"bootagent/receipt.json", "bootagent/config/node.json", "registry/" + machineID + ".json"} {
		content, err := os.ReadFile(filepath.Join(m.run, path))
		ok(t, err)
		for _, value := range []string{"not-a-real-secret", "a \\\"word", "upstream app"} {
			if strings.Contains(string(content), value) {
				t.Errorf("%s has a value of the document: %s", path, value)
			}
		}
	}
	if got := m.logged(logrus.WarnLevel); len(got) > 0 {
		t.Errorf("logged: %q", got)
	}
}

// TestBootRecords looks at the receipt at each point of a boot.
func TestBootRecords(t *testing.T) {
	m := newNode(t)
	var got []string
	m.Point = func(name string) { got = append(got, name+" | "+m.steps()) }
	m.boot()
	got = append(got, "end | "+m.steps())
	same(t, "receipts", []string{
		"before identify | no receipt",
		"before check | booting: identify done",
		"before fetch | booting: identify done check done",
		"before claim | booting: identify done check done fetch done",
		"before write | booting: identify done check done fetch done claim done",
		"credential | booting: identify done check done fetch done claim done write running",
		"stage | booting: identify done check done fetch done claim done write running",
		"commit | booting: identify done check done fetch done claim done write running",
		"committed | booting: identify done check done fetch done claim done write running",
		"end | done: identify done check done fetch done claim done write done",
	}, got)
}

// TestBootOnce wants a second boot to touch nothing.
func TestBootOnce(t *testing.T) {
	m := newNode(t)
	m.boot()
	inode := func(name string) uint64 {
		info, err := os.Stat(filepath.Join(m.run, name))
		ok(t, err)
		return info.Sys().(*syscall.Stat_t).Ino
	}
	inodes := func() (list []uint64) {
		for _, name := range []string{
			"bootagent/config", "bootagent/config/.boot", "bootagent/receipt.json", "credstore/db-password", "registry/" + machineID + ".json",
		} {
			list = append(list, inode(name))
		}
		return list
	}
	before := inodes()
	m.file("truth.yaml", "version: 1\n") // another truth is for the next boot
	m.Point = func(name string) { t.Errorf("point %s", name) }
	m.boot()
	same(t, "inodes", before, inodes())
}

// TestBootSources boots on several sources, one of them late, one missing.
func TestBootSources(t *testing.T) {
	m := newNode(t)
	var requests atomic.Int32
	var waiting atomic.Value
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Authorization") + " " + r.URL.Path {
		case "Bearer t0ken /web/" + machineID:
			if requests.Add(1) < 3 {
				w.WriteHeader(http.StatusServiceUnavailable)
				return
			}
			waiting.Store(m.steps() + ", " + m.receipt().Step("fetch").Error)
			_, _ = io.WriteString(w, "version: 1\nenv: {LOG_LEVEL: debug, PORT: '80'}\n")
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(server.Close)
	ca := filepath.Join(m.root, "ca.pem")
	ok(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o644))
	m.Credentials = func(name string) ([]byte, error) {
		if name == "token" {
			return []byte("t0ken\n"), nil
		}
		return nil, os.ErrNotExist
	}
	m.Config = m.config(fmt.Sprintf(`
sources:
  - file: {path: /truth.yaml}
  - http: {url: "%[1]s/${role}/${machine_id}", ca: {file: %[2]s}, bearer: {credential: token}}
  - http: {url: "%[1]s/absent", ca: {file: %[2]s}, optional: true}
  - file: {path: /absent.yaml, optional: true}
`, server.URL, ca))
	m.boot()
	want := "booting: identify done check done fetch running, waiting for http " + server.URL + "/web/" + machineID + ": 503 Service Unavailable"
	same(t, "while it waits", want, waiting.Load())
	r := m.receipt()
	if got := r.Step("fetch").Error; got != "" {
		t.Errorf("after it: %s", got)
	}
	var sources []string
	for _, s := range r.Config.Sources {
		sources = append(sources, fmt.Sprintf("%s: %d %s", strings.NewReplacer(m.root, "ROOT", server.URL, "URL").Replace(s.Source), s.Keys, s.Missing))
	}
	same(t, "sources", []string{
		"file ROOT/truth.yaml: 4 ",
		"http URL/web/" + machineID + ": 2 ",
		"http URL/absent: 0 no document for this node (404 Not Found)",
		"file ROOT/absent.yaml: 0 no document for this node (no such file)",
	}, sources)
	env, err := os.ReadFile(filepath.Join(m.directory(), "config/env"))
	ok(t, err)
	same(t, "env", "GREETING=\"a \\\"word\\\"\"\nLOG_LEVEL=\"debug\"\nPORT=\"80\"\n", string(env))
	same(t, "logged", []string{"boot waits: 503 Service Unavailable"}, m.logged(logrus.WarnLevel))
}

// TestBootDocumentSettings lets the document choose name, registry and sink,
// and hands its secrets to the resident.
func TestBootDocumentSettings(t *testing.T) {
	m := newNode(t)
	m.Config = m.config("node: {name: unused}\nregistry: {file: {path: /nope/nope}}\n")
	m.file("truth.yaml", strings.ReplaceAll(`version: 1
credentials: {log-token: t0ken}
agent:
  node: {name: "${role}-b-${ordinal}"}
  registry: {file: {path: RUN/registry}}
  logs: [{journal_upload: {url: https://logs.internal:19532, bearer: {credential: log-token}}}]
`, "RUN", m.run))
	m.boot()
	same(t, "inventory", []string{machineID + " web-b-1 booting", "held: web-b-1"}, m.inventory())
	same(t, "secrets", []string{"bootagent/agent-credentials/log-token 0400 t0ken"}, begins(m.published(), "bootagent/agent-cred"))
}

// TestBootFails fails at each step, and wants nothing left of it.
func TestBootFails(t *testing.T) {
	for _, test := range []struct {
		step  string
		spoil func(m *made)
		err   string
		heal  func(m *made)
	}{
		{"identify", func(m *made) { m.Config.Node.Role = "${tag.role}" },
			"identify: node.role: ", func(m *made) { m.Config.Node.Role = "web" }},
		{"check", func(m *made) { m.file("proc/1/mountinfo", writable) },
			"check: root: writable: ext4 is mounted read-write ", func(m *made) { m.file("proc/1/mountinfo", sealed) }},
		{"check", func(m *made) { ok(m.t, os.Remove(filepath.Join(m.root, "proc/1/mountinfo"))) },
			"check: root: the mount table of PID 1 is not readable: ", func(m *made) { m.file("proc/1/mountinfo", sealed) }},
		{"fetch", func(m *made) { m.file("truth.yaml", "version: 1\nsecret: s3cret\n") },
			`fetch: file ROOT/truth.yaml: ROOT/truth.yaml:2:1: unknown key "secret" `, func(m *made) { m.file("truth.yaml", plainDocument) }},
		{"fetch", func(m *made) { m.file("truth.yaml", plainDocument+"agent: {node: {name: \"${nope}\"}}\n") },
			`fetch: node.name: `, func(m *made) { m.file("truth.yaml", plainDocument) }},
		{"claim", func(m *made) {
			m.Config = m.config("registry: {file: {path: RUN/absent/registry}}\nboot: {deadline: 300ms}")
		},
			"claim: registry: file RUN/absent/registry: ", func(m *made) { m.Config = m.config("") }},
		{"write", func(m *made) {
			ok(m.t, os.Mkdir(filepath.Join(m.run, "credstore"), 0o700))
			ok(m.t, os.WriteFile(filepath.Join(m.run, "credstore/db-password"), []byte("theirs"), 0o400))
		}, "write: credential db-password: there already, ", func(m *made) {
			same(m.t, "their credential", []string{"credstore/db-password 0400 theirs"}, m.published())
			ok(m.t, os.Remove(filepath.Join(m.run, "credstore/db-password")))
		}},
		{"write", func(m *made) { m.file("etc/credstore/db-password", "baked") },
			"write: credential db-password: the image has one of this name, ", func(m *made) { ok(m.t, os.RemoveAll(filepath.Join(m.root, "etc/credstore"))) }},
		{"write", func(m *made) {
			m.file("truth.yaml", strings.Replace(plainDocument, `mode: "0640"`, `owner: no-such-account`, 1))
		}, "write: files/nginx/upstream.conf: no-such-account: no such account ", func(m *made) { m.file("truth.yaml", plainDocument) }},
	} {
		t.Run(test.step, func(t *testing.T) {
			m := newNode(t)
			m.t = t
			test.spoil(m)
			err := m.Boot(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			place := strings.NewReplacer(m.root, "ROOT", m.run, "RUN")
			if got := place.Replace(err.Error()); !strings.HasPrefix(got, test.err) {
				t.Errorf("error %s\nwant  %s", got, test.err)
			}
			r := m.receipt()
			if r.State != status.Failed || r.Error != err.Error() || r.Credentials != nil || r.Registry != nil {
				t.Errorf("receipt: %+v", r)
			}
			same(t, "steps", stepsUntil(test.step), m.steps())
			if got := r.Step(test.step).Error; test.step+": "+got != err.Error() {
				t.Errorf("step's error %s", got)
			}
			same(t, "logged", []string{"boot step: <nil>", "boot failed: " + err.Error()}, lastTwo(m.logged(logrus.WarnLevel)))
			same(t, "inventory", []string{}, m.inventory())

			test.heal(m)
			same(t, "left", []string(nil), m.published())
			m.boot()
			same(t, "inventory", []string{machineID + " web-1 booting", "held: web-1"}, m.inventory())
			same(t, "steps", "done: identify done check done fetch done claim done write done", m.steps())
		})
	}
}

func stepsUntil(failed string) string {
	line := "failed:"
	for _, name := range []string{"identify", "check", "fetch", "claim", "write"} {
		if name == failed {
			return line + " " + name + " failed"
		}
		line += " " + name + " done"
	}
	return line
}

func lastTwo(lines []string) []string { return lines[max(0, len(lines)-2):] }

// TestBootEnds ends a boot that waits, by its deadline and from outside.
func TestBootEnds(t *testing.T) {
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hanging.Close)
	for name, test := range map[string]struct {
		deadline string
		end      func(started <-chan struct{}, cancel func())
		err      string
	}{
		"deadline": {"200ms", func(<-chan struct{}, func()) {}, "gave up at the deadline"},
		"signal":   {"30s", func(started <-chan struct{}, cancel func()) { <-started; cancel() }, "interrupted"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			m.Config = m.config("boot: {deadline: " + test.deadline + "}\nsources: [{http: {url: '" + hanging.URL + "'}}]")
			started := make(chan struct{})
			m.Point = func(name string) {
				if name == "before fetch" {
					close(started)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go test.end(started, cancel)
			start := time.Now()
			err := m.Boot(ctx)
			if err == nil || !strings.Contains(err.Error(), test.err) || time.Since(start) > 10*time.Second {
				t.Errorf("after %v: %v", time.Since(start), err)
			}
			same(t, "steps", stepsUntil("fetch"), m.steps())
			if m.receipt().Error != fmt.Sprint(err) {
				t.Errorf("receipt: %s", m.receipt().Error)
			}
		})
	}
}

// TestBootOnDisk is refused, and leaves nothing there.
func TestBootOnDisk(t *testing.T) {
	m := newNode(t)
	disk := t.TempDir()
	if receiptDirectory(disk) != "" {
		t.Skip("NOT TESTED: /run/bootagent or the temporary folder is on tmpfs")
	}
	m.Config.Output.Directory = filepath.Join(disk, "bootagent")
	err := m.Boot(t.Context())
	if err == nil || !strings.HasPrefix(err.Error(), "check: output: "+disk) {
		t.Errorf("error %v", err)
	}
	if entries, _ := os.ReadDir(disk); len(entries) > 0 {
		t.Errorf("left: %v", entries)
	}
}

// TestBootCannotBegin fails before there is a receipt: then the log is all
// there is.
func TestBootCannotBegin(t *testing.T) {
	for name, spoil := range map[string]func(m *made){
		"no root":      func(m *made) { m.Root += "/absent" },
		"no boot id":   func(m *made) { m.file("proc/sys/kernel/random/boot_id", "\n") }, // "once" would have no meaning
		"no directory": func(m *made) { m.Config.Output.Directory = filepath.Join(m.run, "absent/bootagent") },
	} {
		t.Run(name, func(t *testing.T) {
			m := newNode(t)
			spoil(m)
			err := m.Boot(t.Context())
			if err == nil {
				t.Fatal("no error")
			}
			same(t, "logged", []string{"boot failed: " + err.Error()}, m.logged(logrus.ErrorLevel))
		})
	}
}

// TestBootReleases gives back what it claimed, also when its time is over.
func TestBootReleases(t *testing.T) {
	m := newNode(t)
	ctx, cancel := context.WithCancel(t.Context())
	m.Point = func(name string) {
		if name == "before write" {
			same(t, "inventory", []string{machineID + " web-1 booting", "held: web-1"}, m.inventory())
			ok(t, os.Mkdir(filepath.Join(m.run, "bootagent/config"), 0o755))
			ok(t, os.WriteFile(filepath.Join(m.run, "bootagent/config/foreign"), nil, 0o644)) // the rename will fail
			cancel()
		}
	}
	if err := m.Boot(ctx); err == nil || !strings.HasPrefix(err.Error(), "write: config: ") {
		t.Errorf("error %v", err)
	}
	same(t, "inventory", []string{}, m.inventory())
	same(t, "left", []string(nil), m.published())
}

// TestBootTwoNodes share a registry.
func TestBootTwoNodes(t *testing.T) {
	a, b := newNode(t), newNode(t)
	b.file("etc/machine-id", strings.Repeat("f", 32))
	b.Config.Registry = a.Config.Registry
	a.boot()
	b.boot()
	if a.receipt().Node.Name != "web-1" || b.receipt().Node.Name != "web-2" || b.receipt().Node.Ordinal != 2 {
		t.Errorf("%s, %s", a.receipt().Node.Name, b.receipt().Node.Name)
	}
}
