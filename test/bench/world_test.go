package bench_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootagent/bootagent/test/build"
	"github.com/bootagent/bootagent/test/rig"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// document is what all sources of truth say.
const document = `version: 1
env: {LOG_LEVEL: info, DATABASE_HOST: db-1.internal, GREETING: 'say "hello"'}
files:
  nginx/upstream.conf: {content: "upstream app { server 127.0.0.1:8080; }\n", mode: "0640"}
credentials: {db-password: not-a-real-secret}
flags: {new-checkout: true}
`

// appUnit is an application, active when its program runs; %s is its order.
const appUnit = `[Unit]
%s
[Service]
Type=exec
ExecStart=/bin/sleep infinity
[Install]
WantedBy=multi-user.target
`

const afterBoot = "Requires=bootagent-boot.service\nAfter=bootagent-boot.service"

// upUnit tells the machine around the node when the boot is over: asking
// systemd again and again would slow down what is measured.
const upUnit = `[Unit]
After=multi-user.target app.service bootagent-online.service
[Service]
Type=oneshot
ExecStart=/bin/touch /mnt/up
[Install]
WantedBy=multi-user.target
`

// world is everything around the nodes, and what is installed on them.
type world struct {
	network      *rig.Network
	truth        *rig.HTTPS
	etcd         *rig.Etcd
	logs         *rig.VictoriaLogs
	program, deb string
}

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{network: rig.NewNetwork(t)}
	serve := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, document) }
	w.truth = rig.StartHTTPS(t, w.network, rig.HTTPSOptions{}, http.HandlerFunc(serve))
	w.etcd = rig.StartEtcd(t, w.network)
	w.logs = rig.StartVictoriaLogs(t, w.network)

	var built build.Cache
	t.Cleanup(built.Remove)
	w.program, w.deb = built.Binary(t, ""), built.Deb(t, "1.0.0", "")
	return w
}

// A machineUnderTest is a node that is booted again and again.
type machineUnderTest struct {
	*rig.Node
	config string // the agent's, empty without it
	up     string // the file that appears when the boot is over
	fresh  func() // makes the world forget the node
}

// bare is a node without the agent.
func (w world) bare(t *testing.T) *machineUnderTest {
	t.Helper()
	return w.boot(t, rig.Image{Files: map[string]rig.File{
		"/etc/systemd/system/app.service": {Content: fmt.Sprintf(appUnit, "")},
	}})
}

// file is a node whose boot needs no network: its truth is in its image.
func (w world) file(t *testing.T) *machineUnderTest {
	t.Helper()
	return w.boot(t, w.installed(`
node: {role: web}
sources: [{file: {path: /usr/share/bench/document.yaml}}]
`))
}

// served is a node that fetches its configuration, and has a place in etcd.
func (w world) served(t *testing.T) *machineUnderTest {
	t.Helper()
	return w.boot(t, w.installed(fmt.Sprintf(`
node: {role: web, name: "web-${ordinal}"}
sources: [{http: {url: "%s/${role}/${machine_id}.yaml", ca: {credential: truth-ca}}}]
registry: {etcd: {endpoints: ["%s"]}}
`, w.truth.URL, w.etcd.URL)))
}

// installed is an image with the agent, and the application after it. What
// differs from run to run is no part of it, so that it is packed once.
func (w world) installed(config string) rig.Image {
	config += fmt.Sprintf(`
checks: {root: enforce, superblock: enforce}
logs: [{journal_upload: {url: "%s/insert/journald"}}]
`, w.logs.URL)
	return rig.Image{
		Debs: []string{w.deb},
		Files: map[string]rig.File{
			"/etc/systemd/system/app.service":                         {Content: fmt.Sprintf(appUnit, afterBoot)},
			"/etc/systemd/system/bootagent-boot.service.d/truth.conf": {Content: "[Service]\nLoadCredential=truth-ca\n"},
			"/usr/share/bench/document.yaml":                          {Content: document},
		},
		Credentials: map[string]string{"bootagent.config": config, "truth-ca": string(w.truth.CA)},
	}
}

// boot boots an image once, which warms the caches, and ends the node.
func (w world) boot(t *testing.T, image rig.Image) *machineUnderTest {
	t.Helper()
	shared := t.TempDir()
	image.Network = w.network
	image.Files["/etc/systemd/system/up.service"] = rig.File{Content: upUnit}
	image.Enable = []string{"app.service", "up.service"}
	image.Binds = map[string]string{shared: "/mnt"}
	image.NoWait = true
	m := &machineUnderTest{
		Node:   rig.Boot(t, image),
		config: image.Credentials["bootagent.config"],
		up:     filepath.Join(shared, "up"),
		fresh:  func() { w.forget(t) },
	}
	m.awaitUp(t)
	m.Kill()
	return m
}

// forget takes the nodes of earlier boots out of the registry: a node that
// comes back adopts its place, a new one has to claim it.
func (w world) forget(t *testing.T) {
	t.Helper()
	if _, err := w.etcd.Client.Delete(t.Context(), "/bootagent", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
}

// start boots the machine as one that nobody knows.
func (m *machineUnderTest) start(t *testing.T) {
	t.Helper()
	m.fresh()
	m.Start()
	m.awaitUp(t)
}

func (m *machineUnderTest) awaitUp(t *testing.T) {
	t.Helper()
	rig.Eventually(t, time.Minute, "the end of the boot", func() bool {
		return os.Remove(m.up) == nil
	})
}
