package rig_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/test/rig"
)

const appUnit = `[Unit]
Description=App
[Service]
EnvironmentFile=/etc/app.env
ExecStart=/bin/sh -c 'echo "greeting is $GREETING"; exec sleep infinity'
ExecStop=/bin/echo last words
User=nobody
[Install]
WantedBy=multi-user.target
`

// app is an image with one service that takes its environment from a file.
func app(image rig.Image) rig.Image {
	image.Files = map[string]rig.File{
		"/lib/systemd/system/app.service": {Content: appUnit}, // /lib is a link in the tree
		"/etc/app.env":                    {Content: "GREETING=hello\n", Mode: 0o600},
		"/srv/app":                        {Mode: os.ModeDir | 0o750, Owner: "nobody:nogroup"},
		"/srv/link":                       {Mode: os.ModeSymlink, Content: "/etc/app.env"},
	}
	image.Enable = []string{"app.service"}
	return image
}

func TestSealedNode(t *testing.T) {
	t.Parallel()
	image := app(rig.Image{
		Words:       []string{"bootagent.role=web", "quiet"},
		Credentials: map[string]string{"some.secret": "two\nlines \x01"},
		Binds:       map[string]string{t.TempDir(): "/mnt"},
		MachineID:   "0123456789abcdef0123456789abcdef",
		Hostname:    "web-1",
	})
	began := time.Now()
	node := rig.Boot(t, image)
	t.Logf("packed and up after %v", time.Since(began))

	root, super := rootOptions(t, node)
	equal(t, "root", "ro squashfs ro", root+" "+super)
	equal(t, "state", "running", node.WaitUp(time.Second))
	equal(t, "machine id", image.MachineID, line(node, "cat", "/etc/machine-id"))
	equal(t, "hostname", "web-1", line(node, "uname", "-n"))
	equal(t, "credential", "two\nlines \x01", node.MustRun("cat", "/run/credentials/@system/some.secret"))
	equal(t, "environment file", "600 root:root", line(node, "stat", "-c", "%a %U:%G", "/etc/app.env"))
	equal(t, "directory", "750 nobody:nogroup", line(node, "stat", "-c", "%a %U:%G", "/srv/app"))
	equal(t, "link", "/etc/app.env", line(node, "readlink", "/srv/link"))
	node.MustRun("touch", "/mnt/from-node")
	words := node.MustRun("cat", "/proc/1/cmdline")
	if !strings.Contains(words, "\x00bootagent.role=web\x00quiet\x00") {
		t.Errorf("PID 1's words: %q", words)
	}
	awaitGreeting(t, node)
	began = time.Now()
	node.Stop()
	t.Logf("off after %v", time.Since(began))
	contains(t, node.Journal("--output=cat"), "last words", "Journal stopped")
	if _, err := node.Run("true"); err == nil {
		t.Error("a program ran in a node that is off")
	}
}

// awaitGreeting waits until the journal has what the app says first.
func awaitGreeting(t *testing.T, node *rig.Node) {
	t.Helper()
	rig.Eventually(t, 10*time.Second, "greeting", func() bool {
		return strings.Contains(node.Journal("--unit=app", "--output=cat"), "greeting is hello")
	})
}

func TestRun(t *testing.T) {
	t.Parallel()
	node := rig.Boot(t, rig.Image{})
	out, err := node.Run("sh", "-c", "echo out; echo trouble >&2; exit 7")
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 7 || !strings.Contains(err.Error(), "trouble") {
		t.Errorf("error: %v; want exit code 7 with stderr", err)
	}
	equal(t, "stdout", "out\n", out)

	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if _, err := node.RunContext(ctx, "sleep", "1000"); err == nil {
		t.Error("no error after the deadline")
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("returned %v after the deadline", took)
	}
}

func TestRoots(t *testing.T) {
	t.Parallel()
	for root, want := range map[rig.Root]string{
		rig.MountSealed: "ro overlay rw",
		rig.Writable:    "rw overlay rw",
	} {
		t.Run(root.String(), func(t *testing.T) {
			t.Parallel()
			node := rig.Boot(t, app(rig.Image{Root: root}))
			mount, super := rootOptions(t, node)
			equal(t, "root", want, mount+" "+super)
			_, err := node.Run("touch", "/etc/probe")
			equal(t, "write succeeds", root == rig.Writable, err == nil)
			node.Stop()
			contains(t, node.Journal("--output=cat"), "Journal stopped")
		})
	}
}

func TestDebs(t *testing.T) {
	t.Parallel()
	rig.Need(t, "dpkg-deb")
	node := rig.Boot(t, rig.Image{
		Debs:   []string{buildDeb(t)},
		Files:  map[string]rig.File{"/etc/hello.conf": {Content: "mine\n"}},
		Enable: []string{"hello.service"},
	})
	equal(t, "postinst", "configured", line(node, "cat", "/etc/hello-postinst"))
	equal(t, "configuration file", "mine", line(node, "cat", "/etc/hello.conf"))
	equal(t, "unit", "active", line(node, "systemctl", "is-active", "hello"))
}

// buildDeb makes a package with a unit, a configuration file and a postinst.
func buildDeb(t *testing.T) string {
	t.Helper()
	tree := t.TempDir()
	for path, content := range map[string]string{
		"DEBIAN/control":   "Package: hello\nVersion: 1\nArchitecture: all\nMaintainer: rig <rig@localhost>\nDescription: hello\n",
		"DEBIAN/conffiles": "/etc/hello.conf\n",
		"DEBIAN/postinst":  "#!/bin/sh\nset -e\nsystemctl daemon-reload\necho configured >/etc/hello-postinst\n",
		"etc/hello.conf":   "packaged\n",
		"usr/lib/systemd/system/hello.service": "[Service]\nType=oneshot\nRemainAfterExit=yes\nExecStart=/bin/true\n" +
			"[Install]\nWantedBy=multi-user.target\n",
	} {
		path = filepath.Join(tree, path)
		check(t, os.MkdirAll(filepath.Dir(path), 0o755))
		check(t, os.WriteFile(path, []byte(content), 0o755))
	}
	check(t, os.Chmod(tree, 0o755))
	deb := filepath.Join(t.TempDir(), "hello.deb")
	out, err := exec.Command("dpkg-deb", "--build", "--root-owner-group", tree, deb).CombinedOutput()
	if err != nil {
		t.Fatalf("dpkg-deb: %v: %s", err, out)
	}
	return deb
}

func TestNodeReachesServer(t *testing.T) {
	t.Parallel()
	network := rig.NewNetwork(t)
	server := rig.StartHTTPS(t, network, rig.HTTPSOptions{}, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		fmt.Fprintf(w, "hello %s\n", host)
	}))
	node := rig.Boot(t, rig.Image{Network: network, Credentials: map[string]string{"ca": string(server.CA)}})
	answer := node.MustRun("sh", "-c", `printf 'GET / HTTP/1.0\r\n\r\n' | openssl s_client -quiet -verify_return_error `+
		`-CAfile /run/credentials/@system/ca -connect "$1"`, "sh", strings.TrimPrefix(server.URL, "https://"))
	contains(t, answer, "200 OK", "hello "+node.IP)
}

func TestLinkDown(t *testing.T) {
	t.Parallel()
	network := rig.NewNetwork(t)
	network.AddAddress(t, "169.254.169.254/32")
	listener, err := network.Listen("169.254.169.254:80")
	check(t, err)
	defer listener.Close()
	node := rig.Boot(t, rig.Image{Network: network, LinkDown: true})
	connect := func() error {
		_, err := node.Run("timeout", "5", "bash", "-c", "</dev/tcp/169.254.169.254/80")
		return err
	}
	equal(t, "link", "down", line(node, "cat", "/sys/class/net/host0/operstate"))
	if connect() == nil {
		t.Error("connected by a link that is down")
	}
	node.LinkUp()
	rig.Eventually(t, 10*time.Second, "connection", func() bool { return connect() == nil })
	node.LinkDown()
	if connect() == nil {
		t.Error("connected by a link that is down again")
	}
}

func TestNodesOfOneNetwork(t *testing.T) {
	t.Parallel()
	network := rig.NewNetwork(t)
	var nodes []*rig.Node
	for range 3 {
		nodes = append(nodes, rig.Boot(t, rig.Image{Network: network, NoWait: true}))
	}
	ids := map[string]bool{}
	for _, node := range nodes {
		node.WaitUp(30 * time.Second)
		ids[line(node, "cat", "/etc/machine-id")] = true
	}
	equal(t, "machine ids", 3, len(ids))
	equal(t, "boot ids", false, line(nodes[0], "cat", "/proc/sys/kernel/random/boot_id") == line(nodes[1], "cat", "/proc/sys/kernel/random/boot_id"))
	_, err := nodes[0].Run("bash", "-c", "</dev/tcp/"+nodes[1].IP+"/9")
	if err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("connection to a neighbour: %v; want one refused by it", err)
	}
	nodes[1].Kill()
	for _, node := range []*rig.Node{nodes[0], nodes[2]} {
		equal(t, "neighbour of a dead node", "running", node.WaitUp(time.Second))
	}
}

func TestKill(t *testing.T) {
	t.Parallel()
	node := rig.Boot(t, app(rig.Image{}))
	awaitGreeting(t, node)
	node.Kill()
	text := node.Journal("--output=cat")
	contains(t, text, "greeting is hello")
	if strings.Contains(text, "last words") {
		t.Error("a unit was stopped; want a node that is gone at once")
	}
}

// A node that is started again is the same machine in another boot.
func TestStart(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*rig.Node){
		"after Stop": (*rig.Node).Stop,
		"after Kill": (*rig.Node).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			node := rig.Boot(t, rig.Image{Root: rig.Writable})
			machine, boot := line(node, "cat", "/etc/machine-id"), line(node, "cat", "/proc/sys/kernel/random/boot_id")
			node.MustRun("touch", "/run/probe", "/var/probe")
			end(node)
			node.Start()
			equal(t, "machine id", machine, line(node, "cat", "/etc/machine-id"))
			equal(t, "same boot id", false, boot == line(node, "cat", "/proc/sys/kernel/random/boot_id"))
			if _, err := node.Run("ls", "/run/probe", "/var/probe"); err == nil {
				t.Error("the node remembers what was written")
			}
			equal(t, "boots in the journal", 1, strings.Count(node.Journal("--list-boots"), "\n"))
		})
	}
}

func TestTrixie(t *testing.T) {
	t.Parallel()
	if os.Getenv("BOOTAGENT_RIG_TRIXIE") != "1" {
		t.Skip("rig: needs BOOTAGENT_RIG_TRIXIE=1")
	}
	node := rig.Boot(t, app(rig.Image{Suite: "trixie"}))
	root, super := rootOptions(t, node)
	equal(t, "root", "ro squashfs ro", root+" "+super)
	equal(t, "state", "running", node.WaitUp(time.Second))
	contains(t, node.MustRun("systemctl", "--version"), "systemd 257")
	node.Stop()
	contains(t, node.Journal("--output=cat"), "greeting is hello", "last words", "Journal stopped")
}
