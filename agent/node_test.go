package agent

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/output"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

var update = flag.Bool("update", false, "write the golden files anew")

const (
	machineID  = "0123456789abcdef0123456789abcdef"
	bootID     = "b007000000004000800000000000000a"
	nextBootID = "b007000000004000800000000000000b"

	sealed   = "21 1 254:1 / / ro,relatime - erofs /dev/vda1 ro\n"
	writable = "21 1 254:1 / / rw,relatime - ext4 /dev/vda1 rw\n"

	plainDocument = `version: 1
env: {LOG_LEVEL: info, GREETING: "a \"word\""}
files:
  nginx/upstream.conf: {content: "upstream app {}\n", mode: "0640"}
credentials: {db-password: not-a-real-secret}
flags: {new-checkout: true}
`
)

// made is a made-up node: a tree with the files of its image and its kernel,
// and a folder on tmpfs for all that is written.
type made struct {
	*Agent
	t       *testing.T
	root    string
	run     string
	entries *logtest.Hook
}

// newNode makes a node that boots: its root is read-only, its document is in a
// file of its image, and the registry in a folder.
func newNode(t *testing.T) *made {
	t.Helper()
	m := &made{t: t, root: t.TempDir(), run: tmpfs(t)}
	m.file("etc/machine-id", machineID+"\n")
	m.file("proc/sys/kernel/random/boot_id", bootID+"\n")
	m.file("proc/1/mountinfo", sealed)
	m.file("usr/lib/os-release", "ID=debian\nIMAGE_ID=web\nIMAGE_VERSION=7\n")
	m.file("truth.yaml", plainDocument)
	m.Agent = &Agent{Config: m.config(""), Version: "1.2.3", Root: m.root}
	m.Log, m.entries = logtest.NewNullLogger()
	return m
}

// config is the configuration that most nodes have here, and more on top of it.
func (m *made) config(more string) config.Config {
	m.t.Helper()
	c := config.Default()
	for _, text := range []string{`
node: {role: web, name: "web-${ordinal}"}
boot: {deadline: 30s}
sources: [{file: {path: /truth.yaml}}]
registry: {file: {path: RUN/registry}}
output: {directory: RUN/bootagent, credentials: RUN/credstore}
status: {socket: RUN/status.sock, listen: "off"}
`, more} {
		if err := config.Decode("f", []byte(strings.ReplaceAll(text, "RUN", m.run)), &c); err != nil {
			m.t.Fatal(err)
		}
	}
	return c
}

// file writes a file of the node's image or kernel.
func (m *made) file(name, content string) {
	m.t.Helper()
	path := filepath.Join(m.root, name)
	ok(m.t, os.MkdirAll(filepath.Dir(path), 0o755))
	ok(m.t, os.WriteFile(path, []byte(content), 0o644))
}

// directory is the output directory.
func (m *made) directory() string { return m.Config.Output.Directory }

func (m *made) boot() {
	m.t.Helper()
	ok(m.t, m.Boot(m.t.Context()))
}

// receipt is the receipt as it is.
func (m *made) receipt() *status.Receipt {
	m.t.Helper()
	r, err := status.ReadReceipt(m.directory())
	ok(m.t, err)
	return r
}

// steps are the receipt's steps in a line: those that are not pending.
func (m *made) steps() string {
	r, err := status.ReadReceipt(m.directory())
	if err != nil {
		return "no receipt"
	}
	words := []string{string(r.State) + ":"}
	for _, s := range r.Steps {
		if s.State != status.StepPending {
			words = append(words, s.Name+" "+s.State)
		}
	}
	return strings.Join(words, " ")
}

// published lists the files that programs read, with mode and content, and
// whatever else lies beside them but the receipt and the registry.
func (m *made) published() []string {
	m.t.Helper()
	var list []string
	ok(m.t, filepath.WalkDir(m.run, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(m.run, path)
		if name == "registry" {
			return fs.SkipDir
		}
		if entry.IsDir() || name == "bootagent/receipt.json" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		info, err := entry.Info()
		list = append(list, fmt.Sprintf("%s %04o %s", name, info.Mode().Perm(), content))
		return err
	}))
	return list
}

// inventory is who is in the registry, and which names are held.
func (m *made) inventory() []string {
	m.t.Helper()
	r := truth.FileRegistry{Directory: filepath.Join(m.run, "registry")}
	nodes, err := r.Nodes(m.t.Context())
	ok(m.t, err)
	list := []string{}
	for _, n := range nodes {
		list = append(list, fmt.Sprintf("%s %s %s", n.ID, n.Name, n.State))
	}
	names, _ := os.ReadDir(filepath.Join(r.Directory, "names"))
	for _, name := range names {
		list = append(list, "held: "+name.Name())
	}
	return list
}

// logged are the messages of that level or worse, with their errors.
func (m *made) logged(level logrus.Level) []string {
	var list []string
	for _, e := range m.entries.AllEntries() {
		if e.Level <= level {
			list = append(list, fmt.Sprintf("%s: %v", e.Message, e.Data[logrus.ErrorKey]))
		}
	}
	return list
}

// tmpfs is a folder of its own in memory.
func tmpfs(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "bootagent-test-")
	if err != nil {
		t.Skipf("NOT TESTED: nothing can be written to /dev/shm: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := output.Volatile(dir); err != nil {
		t.Skipf("NOT TESTED: /dev/shm is no tmpfs: %v", err)
	}
	return dir
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func same(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

// eventually waits for a condition.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

// golden compares with a file of testdata.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		ok(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	ok(t, err)
	same(t, name, string(want), string(got))
}

// still is v as JSON, with all in place of what differs from run to run.
func (m *made) still(v any) []byte {
	m.t.Helper()
	text, err := json.MarshalIndent(v, "", "  ")
	ok(m.t, err)
	hostname, _ := os.Hostname()
	out := strings.NewReplacer(m.root, "ROOT", m.run, "RUN", strconv.Quote(hostname), `"HOSTNAME"`).Replace(string(text))
	for pattern, with := range map[string]string{
		`"(started|since|renewed)": "[^"]*"`: `"$1": "TIME"`,
		`"duration_seconds": [0-9.e-]+`:      `"duration_seconds": 0`,
		`"token": [0-9]+`:                    `"token": 1`,
		`(?s)"addresses": \[.*?\]`:           `"addresses": []`,
		`"key": "` + bootID + `[.0-9]*"`:     `"key": "KEY"`,
		`sha256:[0-9a-f]{64}`:                `sha256:DIGEST`,
		`"uid": [0-9]+`:                      `"uid": 0`,
		`"capabilities": "[0-9a-f]+"`:        `"capabilities": "0"`,
		`"(no_new_privs|seccomp)": \w+`:      `"$1": false`,
	} {
		out = regexp.MustCompile(pattern).ReplaceAllString(out, with)
	}
	return []byte(out + "\n")
}

// begins keeps the lines that begin so.
func begins(lines []string, with string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool { return !strings.HasPrefix(l, with) })
}
