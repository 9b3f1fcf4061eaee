// Package node_test proves the agent in real nodes: the package is installed
// into a read-only Debian, the node boots under systemd, and talks to real
// servers. Each file here is one side of that: a boot that goes well, one that
// fails, one that is killed; what a restart does, and how a node leaves.
package node_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/build"
	"github.com/bootagent/bootagent/test/rig"
)

// The document that the nodes of these tests are to have.
const document = `version: 1
env:
  GREETING: "hello \"you\"\n$HOME \\ ` + "`x`" + `"
files:
  app/app.conf: {content: "port = 8080\n", mode: "0640", owner: nobody, group: nogroup}
credentials: {db-password: not-for-logs}
flags: {new-checkout: true}
`

// appUnit is an application that waits for the boot, and says last words.
const appUnit = `[Unit]
Requires=bootagent-boot.service
After=bootagent-boot.service
[Service]
DynamicUser=yes
EnvironmentFile=/run/bootagent/config/env
LoadCredential=db-password:/run/credstore/db-password
ExecStart=/bin/sh -c 'echo "greeting is $GREETING, secret has $(wc -c <$CREDENTIALS_DIRECTORY/db-password) bytes"; exec sleep infinity'
ExecStop=/bin/sh -c 'echo app hears of the stop; sleep 1; echo app says last words'
[Install]
WantedBy=multi-user.target
`

// looseUnit knows nothing of the agent, and stops slowly.
const looseUnit = `[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c 'sleep 2; echo loose says last words'
[Install]
WantedBy=multi-user.target
`

// bareUnit has no dependencies but the conflict that stops it.
const bareUnit = `[Unit]
DefaultDependencies=no
Conflicts=shutdown.target
[Service]
ExecStart=/bin/sleep infinity
ExecStop=/bin/sh -c 'sleep 1; echo bare says last words'
[Install]
WantedBy=multi-user.target
`

var built build.Cache

func TestMain(m *testing.M) {
	code := m.Run()
	built.Remove()
	os.Exit(code)
}

// world is everything around the nodes of a test.
type world struct {
	network *rig.Network
	truth   *rig.HTTPS
	etcd    *rig.Etcd
	logs    *rig.VictoriaLogs
}

// newWorld starts the servers. The source of truth answers with what serve
// says; nil: with the document, to who has the token.
func newWorld(t testing.TB, serve http.HandlerFunc) world {
	t.Helper()
	rig.Need(t)
	w := world{network: rig.NewNetwork(t)}
	if serve == nil {
		serve = func(rw http.ResponseWriter, r *http.Request) {
			if r.Header.Get("Authorization") != "Bearer let-me-in" {
				rw.WriteHeader(http.StatusUnauthorized)
				return
			}
			fmt.Fprint(rw, document)
		}
	}
	w.truth = rig.StartHTTPS(t, w.network, rig.HTTPSOptions{}, serve)
	w.etcd = rig.StartEtcd(t, w.network)
	w.logs = rig.StartVictoriaLogs(t, w.network)
	return w
}

// config is the nodes' bootagent.yaml.
func (w world) config() string {
	return fmt.Sprintf(`
node: {role: web, name: "web-${ordinal}"}
checks: {root: enforce, superblock: enforce}
sources:
  - file: {path: /usr/share/bootagent/defaults.yaml, optional: true}
  - http: {url: "%s/${role}/${machine_id}.yaml", ca: {credential: truth-ca}, bearer: {credential: truth-token}}
registry: {etcd: {endpoints: ["%s"], ttl: 10s}}
logs:
  - journal_upload: {url: "%s/insert/journald", ca: {credential: truth-ca}}
`, w.truth.URL, w.etcd.URL, w.logs.URL)
}

// image is a node of this world, with its application.
func (w world) image(t testing.TB) rig.Image {
	t.Helper()
	return rig.Image{
		Suite:   os.Getenv("BOOTAGENT_RIG_SUITE"),
		Network: w.network,
		Debs:    []string{built.Deb(t, "1.0.0", "")},
		Files: map[string]rig.File{
			"/etc/systemd/system/app.service":   {Content: appUnit},
			"/etc/systemd/system/loose.service": {Content: looseUnit},
			"/etc/systemd/system/bare.service":  {Content: bareUnit},
			"/etc/systemd/system/bootagent-boot.service.d/secrets.conf": {
				Content: "[Service]\nLoadCredential=truth-ca\nLoadCredential=truth-token\n",
			},
		},
		Enable: []string{"app.service", "loose.service", "bare.service"},
		Credentials: map[string]string{
			"bootagent.config": w.config(), "truth-ca": string(w.truth.CA), "truth-token": "let-me-in",
		},
	}
}

// shipped counts, by cursor, the entries that the log server has of a node.
func (w world) shipped(query string) map[string]int {
	cursors := map[string]int{}
	for _, row := range w.logs.Query(query) {
		cursors[row["__CURSOR"]]++
	}
	return cursors
}

// stateTime is how long a node is waited for to get into a state.
const stateTime = 30 * time.Second

// statusOf asks the node's agent.
func statusOf(t testing.TB, node *rig.Node) status.Status {
	t.Helper()
	out, _ := node.Run("bootagent", "status", "-o", "json") // the exit code says how it is, too
	var s status.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil {
		t.Fatalf("status: %v: %s", err, out)
	}
	return s
}

// awaitState waits until the node says that it is in that state; a ready one
// has to be in the registry, too.
func awaitState(t testing.TB, node *rig.Node, state status.State) status.Status {
	t.Helper()
	var s status.Status
	rig.Eventually(t, stateTime, "state "+string(state), func() bool {
		s = statusOf(t, node)
		registered := s.Registry == nil || s.Registry.State == "registered"
		return s.State == state && (registered || state != status.Ready)
	})
	return s
}

// property is a property of a unit.
func property(node *rig.Node, unit, name string) string {
	return strings.TrimSpace(node.MustRun("systemctl", "show", "-P", name, unit))
}

// exitCode is that of a program in the node.
func exitCode(t testing.TB, node *rig.Node, args ...string) int {
	t.Helper()
	out := node.MustRun("sh", append([]string{"-c", `"$@" >/dev/null 2>&1; echo $?`, "sh"}, args...)...)
	var code int
	if _, err := fmt.Sscan(out, &code); err != nil {
		t.Fatalf("%v: %q", args, out)
	}
	return code
}
