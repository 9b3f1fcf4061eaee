package rig

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

const (
	loopback = "127.0.0.1"
	hostIP   = "10.213.0.1"
	subnet   = "10.213.0.%d/24"
	bridge   = "bridge"
	nodeLink = "host0" // what systemd-nspawn calls the link of a container
)

// A Network joins nodes and servers and is cut off from everything else. It
// is a namespace with a bridge: servers listen on the bridge's address,
// nodes hang on its ports. Several networks do not see each other, so all use
// the same addresses.
//
// A nil *Network is the loopback of the machine; no node can be attached to it.
type Network struct {
	ns   namespace
	last atomic.Int32 // the last node's number
}

// NewNetwork makes a network that ends with the test.
func NewNetwork(t testing.TB) *Network {
	t.Helper()
	Need(t, "ip")
	needRoot(t)
	ns, err := newNamespace()
	if errors.Is(err, unix.EPERM) {
		t.Skipf("rig: needs namespaces: %v", err)
	}
	must(t, err)
	t.Cleanup(ns.close)
	network := &Network{ns: ns}
	network.last.Store(1) // that is the host
	must(t, ns.ip("link set lo up"))
	must(t, ns.ip("link add %s type bridge", bridge))
	must(t, ns.ip("address add "+subnet+" dev %s", 1, bridge))
	must(t, ns.ip("link set %s up", bridge))
	return network
}

// HostIP is the address at which the nodes find the servers.
func (n *Network) HostIP() string {
	if n == nil {
		return loopback
	}
	return hostIP
}

// AddAddress gives the host another address, such as the 169.254.169.254/32
// of a cloud's metadata service. Nodes reach it by their default route.
func (n *Network) AddAddress(t testing.TB, cidr string) {
	t.Helper()
	must(t, n.ns.ip("address add %s dev %s", cidr, bridge))
}

// Listen is net.Listen for TCP inside the network.
func (n *Network) Listen(address string) (net.Listener, error) {
	var listener net.Listener
	err := n.namespace().do(func() (err error) {
		listener, err = net.Listen("tcp", address)
		return err
	})
	return listener, err
}

// DialContext is [net.Dialer.DialContext] inside the network. Names are not
// looked up there: use addresses.
func (n *Network) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	// Without a fallback the socket is opened by this very goroutine.
	dialer := net.Dialer{Timeout: 10 * time.Second, FallbackDelay: -1}
	var conn net.Conn
	err := n.namespace().do(func() (err error) {
		conn, err = dialer.DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Client is an HTTP client inside the network. Its requests end after 30 s.
func (n *Network) Client() *http.Client {
	return &http.Client{
		Timeout:   30 * time.Second,
		Transport: &http.Transport{DialContext: n.DialContext, DisableKeepAlives: true},
	}
}

func (n *Network) namespace() namespace {
	if n == nil {
		return namespace{}
	}
	return n.ns
}

// freeAddress is the host's address with a port on which nothing listens. On
// the machine's own loopback another process may take it first.
func (n *Network) freeAddress() (string, error) {
	listener, err := n.Listen(n.HostIP() + ":0")
	if err != nil {
		return "", err
	}
	defer listener.Close()
	return listener.Addr().String(), nil
}

// attach makes a namespace for one node, with a link to the bridge. It
// returns the node's address. The link is left down.
func (n *Network) attach() (namespace, string, error) {
	number := n.last.Add(1)
	port := fmt.Sprintf("node%d", number)
	cidr := fmt.Sprintf(subnet, number)
	node, err := newNamespace()
	if err != nil {
		return node, "", err
	}
	err = errors.Join(
		n.ns.ip("link add %s type veth peer name %s netns %s", port, nodeLink, node.path()),
		n.ns.ip("link set %s master %s up", port, bridge),
		node.ip("link set lo up"),
		node.ip("address add %s dev %s", cidr, nodeLink),
	)
	if err != nil {
		node.close()
	}
	ip, _, _ := strings.Cut(cidr, "/")
	return node, ip, err
}

// linkUp brings a node's link up and its default route with it.
func (n namespace) linkUp() error {
	return errors.Join(
		n.ip("link set %s up", nodeLink),
		n.ip("route replace default via %s dev %s", hostIP, nodeLink),
	)
}

// ip runs ip(8) in the namespace.
func (n namespace) ip(format string, args ...any) error {
	words := strings.Fields(fmt.Sprintf(format, args...))
	return n.do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), runDeadline)
		defer cancel()
		_, err := output(command(ctx, "ip", words...))
		return err
	})
}
