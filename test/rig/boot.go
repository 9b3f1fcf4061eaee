package rig

import (
	"cmp"
	"crypto/rand"
	"encoding/hex"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// bootScript prepares the root and becomes systemd-nspawn. It runs in the
// node's network namespace, in a mount namespace of its own, which ends with
// the node and takes all mounts along, and in a PID namespace of its own,
// which takes the node along: a container outlives a killed systemd-nspawn.
// Arguments: image, kind of root, cgroups in one word, then options of
// systemd-nspawn.
const bootScript = `set -eu
image=$1 root=$2 cgroups=$3
shift 3
for cgroup in $cgroups; do
	echo 0 >"$cgroup/cgroup.procs" # 0 is who writes
done
work=/run/bootagent-rig
mkdir -p $work /run/systemd
mount -t tmpfs -o mode=0755 tmpfs /run/systemd
mount -t tmpfs -o mode=0755 tmpfs $work
cd $work
# The container shows the machine's os-release; not from a disk, for a node has none.
cat /etc/os-release >os-release
mount --bind os-release "$(realpath /etc/os-release)"
mkdir image root
mount -o loop,ro "$image" image
case $root in
sealed)
	mount --move image root
	;;
*)
	mkdir upper scratch
	mount -t overlay -o lowerdir=image,upperdir=upper,workdir=scratch overlay root
	;;
esac
case $root in
writable)
	ln -s root/var var
	;;
*)
	# What systemd.volatile=state does: /var is empty at every boot. Made
	# here, so that the journal can be read when the node is gone.
	mkdir var
	mount -t tmpfs -o mode=0755 tmpfs var
	mkdir -p var/log/journal
	set -- --read-only --bind=$work/var:/var "$@"
	;;
esac
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1
exec systemd-nspawn --directory=$work/root --register=no --keep-unit --quiet \
	--console=pipe --network-namespace-path=/proc/self/ns/net \
	--resolv-conf=off --timezone=off --link-journal=no "$@"
`

// Boot boots a node and waits until it is up. It ends with the test; when the
// test failed, its journal is in the test's log.
func Boot(t testing.TB, image Image) *Node {
	t.Helper()
	Need(t, "systemd-nspawn", "mmdebstrap", "mksquashfs", "unshare", "nsenter", "ip", "journalctl")
	needRoot(t)
	if image.Network == nil {
		image.Network = NewNetwork(t)
	}
	image.MachineID = cmp.Or(image.MachineID, newMachineID())
	n := &Node{t: t, image: image, packed: image.pack(t)}
	n.attach()
	n.Start()
	return n
}

// newMachineID makes one as systemd does: random, 32 hex digits.
func newMachineID() string {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}

// attach gives the node its place in the network.
func (n *Node) attach() {
	n.t.Helper()
	var err error
	n.ns, n.IP, err = n.image.Network.attach()
	must(n.t, err)
	n.t.Cleanup(n.ns.close)
	if !n.image.LinkDown {
		n.LinkUp()
	}
	n.t.Cleanup(func() { must(n.t, n.cgroups().remove()) })
}

// Start boots a node again that was stopped, killed or has gone by itself. It
// is the same machine, by its id and address, and remembers nothing.
func (n *Node) Start() {
	t := n.t
	t.Helper()
	cgroups := n.cgroups()
	must(t, cgroups.make())
	options, err := n.image.options(t.TempDir())
	must(t, err)
	args := []string{"--mount-proc", "--pid", "--fork", "--kill-child", "sh", "-c", bootScript, "boot",
		n.packed, n.image.Root.String(), strings.Join(cgroups, " ")}
	n.container = start(t, n.ns, exec.Command("unshare", append(args, options...)...))
	t.Cleanup(n.end)
	if !poll(bootDeadline, func() bool { return !n.alive() || n.pid1() != 0 }) || !n.alive() {
		t.Fatalf("rig: node did not start: %s", n.container.tail())
	}
	n.openState()
	if !n.image.NoWait {
		n.WaitUp(bootDeadline)
	}
}

// options are those of systemd-nspawn. Credentials go through files in dir,
// so that no process list shows them.
func (i Image) options(dir string) ([]string, error) {
	options := []string{"--machine=node", "--hostname=" + cmp.Or(i.Hostname, "node"), "--uuid=" + i.MachineID}
	for _, from := range slices.Sorted(maps.Keys(i.Binds)) {
		options = append(options, "--bind="+from+":"+i.Binds[from])
	}
	for _, name := range slices.Sorted(maps.Keys(i.Credentials)) {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(i.Credentials[name]), 0o600); err != nil {
			return nil, err
		}
		options = append(options, "--load-credential="+name+":"+path)
	}
	options = append(options, i.Nspawn...)
	return append(append(options, "--boot"), i.Words...), nil
}
