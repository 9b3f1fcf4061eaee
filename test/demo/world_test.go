package demo_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/truth"
	"github.com/bootagent/bootagent/test/rig"
)

// document is what the source of truth says about the node.
const document = `version: 1
env:
  LOG_LEVEL: info
  GREETING: 'say "hello", it costs $0'
files:
  nginx/upstream.conf: {content: "upstream app { server 127.0.0.1:8080; }\n", mode: "0640", owner: root, group: nogroup}
credentials: {db-password: not-a-real-secret}
flags: {new-checkout: true}
`

// appUnit is an application that needs what the boot publishes.
const appUnit = `[Unit]
Description=An application
Requires=bootagent-boot.service
After=bootagent-boot.service
[Service]
DynamicUser=yes
EnvironmentFile=/run/bootagent/config/env
LoadCredential=db-password:/run/credstore/db-password
ExecStart=/bin/sh -c 'echo "GREETING is $GREETING; db-password has $(wc -c <$CREDENTIALS_DIRECTORY/db-password) bytes"; exec sleep infinity'
ExecStop=/bin/sh -c 'echo "the application says goodbye"'
[Install]
WantedBy=multi-user.target
`

// world is everything around the node.
type world struct {
	network *rig.Network
	truth   *rig.HTTPS
	etcd    *rig.Etcd
	logs    *rig.VictoriaLogs
}

// newWorld starts the servers. The source of truth wants a token.
func newWorld(t testing.TB) world {
	t.Helper()
	network := rig.NewNetwork(t)
	serve := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer let-me-in" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, document)
	}
	return world{
		network: network,
		truth:   rig.StartHTTPS(t, network, rig.HTTPSOptions{}, http.HandlerFunc(serve)),
		etcd:    rig.StartEtcd(t, network),
		logs:    rig.StartVictoriaLogs(t, network),
	}
}

// image is the node: the package, an application, and what a hypervisor would
// hand over.
func (w world) image(deb string) rig.Image {
	config := fmt.Sprintf(`
node: {role: web, name: "web-${ordinal}"}
checks: {root: enforce, superblock: enforce}
sources:
  - http: {url: "%s/${role}/${machine_id}.yaml", ca: {credential: truth-ca}, bearer: {credential: truth-token}}
registry: {etcd: {endpoints: ["%s"], ttl: 10s}}
logs:
  - journal_upload: {url: "%s/insert/journald"}
`, w.truth.URL, w.etcd.URL, w.logs.URL)
	return rig.Image{
		Network: w.network,
		Debs:    []string{deb},
		Files: map[string]rig.File{
			"/etc/systemd/system/app.service": {Content: appUnit},
			"/etc/systemd/system/bootagent-boot.service.d/secrets.conf": {
				Content: "[Service]\nLoadCredential=truth-ca\nLoadCredential=truth-token\n",
			},
		},
		Enable: []string{"app.service"},
		Credentials: map[string]string{
			"bootagent.config": config, "truth-ca": string(w.truth.CA), "truth-token": "let-me-in",
		},
	}
}

// shipped is how many entries the log server has.
func (w world) shipped() int {
	for _, row := range w.logs.Query("* | count() entries") {
		n, _ := strconv.Atoi(row["entries"])
		return n
	}
	return 0
}

// awaitJournal waits until the log server has all that the node has written
// up to now.
func (w world) awaitJournal(t testing.TB, node *rig.Node) {
	t.Helper()
	written := strings.Count(node.Journal("-b", "-o", "export", "--output-fields=MESSAGE_ID"), "__CURSOR=")
	rig.Eventually(t, 20*time.Second, "the journal at the log server", func() bool {
		return w.shipped() >= written
	})
}

// listEtcd prints what the registry has of the node, and says whether there is
// anything.
func (w world) listEtcd() bool {
	found := w.etcd.Get("/bootagent")
	if len(found) == 0 {
		say("  nothing in etcd: the node has left")
	}
	for _, key := range slices.Sorted(maps.Keys(found)) {
		var node truth.Node
		if err := json.Unmarshal([]byte(found[key]), &node); err != nil || node.State == "" {
			say("  %s = %s", key, found[key])
			continue
		}
		say("  %s = %s, %s, %v, config %.19s…", key, node.Name, node.State, node.Addresses, node.ConfigDigest)
	}
	return len(found) > 0
}
