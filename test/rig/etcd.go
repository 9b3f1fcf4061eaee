package rig

import (
	"context"
	"net"
	"os/exec"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
)

// Etcd is an etcd server of one member, without TLS and users.
type Etcd struct {
	*Server
	URL    string           // for clients, http
	Client *clientv3.Client // connected from the test, also into a network
}

// StartEtcd starts etcd with an empty store.
func StartEtcd(t testing.TB, network *Network) *Etcd {
	t.Helper()
	Need(t, "etcd")
	data := t.TempDir()
	peer, err := network.freeAddress()
	must(t, err)
	server := Serve(t, network, ServerSpec{
		Command: func(address string) *exec.Cmd {
			return exec.Command("etcd", "--name=rig", "--data-dir="+data, "--unsafe-no-fsync", "--log-level=warn", "--logger=zap",
				"--listen-client-urls=http://"+address, "--advertise-client-urls=http://"+address,
				"--listen-peer-urls=http://"+peer, "--initial-advertise-peer-urls=http://"+peer,
				"--initial-cluster=rig=http://"+peer)
		},
		Ready: answers(network.Client(), "/health"),
	})
	e := &Etcd{Server: server, URL: "http://" + server.Address}
	e.Client, err = clientv3.New(clientv3.Config{
		Endpoints:   []string{e.URL},
		DialTimeout: readyDeadline,
		Logger:      zap.NewNop(), // what goes wrong is in the errors
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
			return network.DialContext(ctx, "tcp", address)
		})},
	})
	must(t, err)
	t.Cleanup(func() { e.Client.Close() })
	return e
}

// Get returns the values of all keys that start with the prefix.
func (e *Etcd) Get(prefix string) map[string]string {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestDeadline)
	defer cancel()
	response, err := e.Client.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		e.t.Fatalf("rig: etcd: get %s: %v", prefix, err)
	}
	values := map[string]string{}
	for _, pair := range response.Kvs {
		values[string(pair.Key)] = string(pair.Value)
	}
	return values
}

// Put sets a key.
func (e *Etcd) Put(key, value string) {
	e.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), requestDeadline)
	defer cancel()
	if _, err := e.Client.Put(ctx, key, value); err != nil {
		e.t.Fatalf("rig: etcd: put %s: %v", key, err)
	}
}
