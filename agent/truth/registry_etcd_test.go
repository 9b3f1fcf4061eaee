package truth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdServer is a real etcd, alone on ephemeral ports of the loopback.
type etcdServer struct {
	endpoint string
	kill     func() // and wait until it is gone
}

// startEtcd starts a server and waits until it answers. Its elections are
// short, so that a lease may be of one second.
func startEtcd(t *testing.T, scheme string, client *http.Client, args ...string) etcdServer {
	t.Helper()
	binary, err := exec.LookPath("etcd")
	if err != nil {
		t.Skip("NOT TESTED: no etcd server on this machine (Debian: apt install etcd-server)")
	}
	for range 5 { // another process may be faster to take the port
		if s, ok := tryEtcd(t, binary, scheme, client, args); ok {
			return s
		}
	}
	t.Fatal("etcd does not start")
	return etcdServer{}
}

func tryEtcd(t *testing.T, binary, scheme string, client *http.Client, args []string) (etcdServer, bool) {
	t.Helper()
	s := etcdServer{endpoint: scheme + "://" + freeAddress(t)}
	peer := "http://" + freeAddress(t)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(binary, append([]string{
		"--data-dir", t.TempDir(), "--log-level", "error", "--unsafe-no-fsync",
		"--listen-client-urls", s.endpoint, "--advertise-client-urls", s.endpoint,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default=" + peer,
		"--heartbeat-interval", "20", "--election-timeout", "200",
	}, args...)...)
	cmd.Env = []string{"PATH=/nonexistent"}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() { _ = cmd.Wait(); close(exited) }()
	s.kill = func() { _ = cmd.Process.Kill(); <-exited }
	t.Cleanup(s.kill)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if answer, err := client.Get(s.endpoint + "/health"); err == nil {
			_ = answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return s, true
			}
		}
		select {
		case <-exited:
			out, _ := os.ReadFile(log.Name())
			t.Logf("etcd ended: %s", out)
			return s, false
		case <-time.After(20 * time.Millisecond):
		}
	}
	return s, false
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// agent is a view of the server which ends with the test.
func (s etcdServer) agent(t *testing.T, prefix string) *Etcd {
	e := &Etcd{Endpoints: []string{s.endpoint}, Prefix: prefix, TTL: 10 * time.Second}
	t.Cleanup(func() { ok(t, e.Close()) })
	return e
}

// await waits for a condition.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func TestEtcd(t *testing.T) {
	server := startEtcd(t, "http", http.DefaultClient)
	testContract(t, func(t *testing.T) func() Registry {
		return func() Registry { return server.agent(t, "/"+t.Name()) }
	})
	tests := map[string]func(*testing.T, etcdServer){
		"layout":                testEtcdLayout,
		"killed agent":          testEtcdKilled,
		"renewed agent":         testEtcdRenewed,
		"deleted by hand":       testEtcdDeleted,
		"foreign claim":         testEtcdForeign,
		"pages":                 testEtcdPages,
		"lease too short":       testEtcdLeaseTooShort,
		"lease ends meanwhile":  testEtcdLeaseEnds,
		"twin claims meanwhile": testEtcdTwin,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) { test(t, server) })
	}
}

func testEtcdLayout(t *testing.T, server etcdServer) {
	e := server.agent(t, "/p/")
	reg := register(t, e, testNode("i-1", "b1", "web-${ordinal}"))
	if reg.Key != "/p/nodes/i-1" || reg.TTL != 10*time.Second {
		t.Errorf("registration %+v", reg)
	}
	got, err := e.client.Get(t.Context(), "/p/", clientv3.WithPrefix())
	if err != nil || len(got.Kvs) != 2 {
		t.Fatalf("keys %v, %v", got, err)
	}
	name, record := got.Kvs[0], got.Kvs[1]
	if string(name.Key) != "/p/names/web-1" || string(name.Value) != `{"id":"i-1","boot_id":"b1"}` || string(record.Key) != "/p/nodes/i-1" {
		t.Errorf("keys %v", got.Kvs)
	}
	if name.Lease == 0 || name.Lease != record.Lease || reg.Token != name.ModRevision {
		t.Errorf("leases %d and %d, token %d, revision %d", name.Lease, record.Lease, reg.Token, name.ModRevision)
	}
	if got := new(Etcd).key("nodes", "x"); got != "/bootagent/nodes/x" {
		t.Errorf("default key %s", got)
	}
}

// testEtcdKilled: an agent that stops renewing, as after kill -9, is gone
// after its TTL, and learns so when it comes back.
func testEtcdKilled(t *testing.T, server etcdServer) {
	e := server.agent(t, "/"+t.Name())
	e.TTL = time.Second
	start := time.Now()
	reg := register(t, e, testNode("i-1", "b1", "web-${ordinal}"))
	other := server.agent(t, "/"+t.Name())
	await(t, "expiry", func() bool { return len(names(t, other)) == 0 })
	if gone := time.Since(start); gone < reg.TTL {
		t.Errorf("gone after %v, TTL %v", gone, reg.TTL)
	} else {
		t.Logf("TTL %v, gone after %v", reg.TTL, gone.Round(10*time.Millisecond))
	}
	next := register(t, other, testNode("i-2", "b1", "web-${ordinal}"))
	if next.Node.Name != "web-1" || next.Token <= reg.Token {
		t.Errorf("next %+v, former token %d", next, reg.Token)
	}
	wantErr(t, reg.Renew(t.Context()), ErrLost)
	wantErr(t, reg.Update(t.Context(), reg.Node), ErrLost)
	ok(t, reg.Release(t.Context()))
	wantNames(t, other, "i-2=web-1")
}

func testEtcdRenewed(t *testing.T, server etcdServer) {
	e := server.agent(t, "/"+t.Name())
	e.TTL = time.Second
	reg := register(t, e, testNode("i-1", "b1", "web-${ordinal}"))
	for end := time.Now().Add(3 * reg.TTL); time.Now().Before(end); {
		ok(t, reg.Renew(t.Context()))
		<-time.After(reg.TTL / 5)
	}
	wantNames(t, e, "i-1=web-1")
}

// testEtcdDeleted: keys that an operator deleted are lost, although the lease
// lives.
func testEtcdDeleted(t *testing.T, server etcdServer) {
	for _, kind := range []string{"names/web-1", "nodes/i-1"} {
		e := server.agent(t, "/"+t.Name())
		reg := register(t, e, testNode("i-1", "b1", "web-1"))
		if _, err := e.client.Delete(t.Context(), e.prefix()+kind); err != nil {
			t.Fatal(err)
		}
		wantErr(t, reg.Renew(t.Context()), ErrLost)
		wantErr(t, reg.Update(t.Context(), reg.Node), ErrLost)
		again := register(t, e, testNode("i-1", "b1", "web-1"))
		ok(t, again.Renew(t.Context()))
		wantNames(t, e, "i-1=web-1")
		ok(t, again.Release(t.Context()))
	}
}

// testEtcdForeign: what somebody else wrote is neither overwritten nor hidden.
func testEtcdForeign(t *testing.T, server etcdServer) {
	e := server.agent(t, "/"+t.Name())
	register(t, e, testNode("i-1", "b1", ""))
	for key, value := range map[string]string{"names/web-1": "?", "nodes/x": "?"} {
		if _, err := e.client.Put(t.Context(), e.prefix()+key, value); err != nil {
			t.Fatal(err)
		}
	}
	_, err := e.Register(t.Context(), testNode("i-2", "b1", "web-1"))
	wantErr(t, err, ErrTaken)
	if reg := register(t, e, testNode("i-2", "b1", "web-${ordinal}")); reg.Node.Ordinal != 2 {
		t.Errorf("ordinal %d, want 2", reg.Node.Ordinal)
	}
	nodes, err := e.Nodes(t.Context())
	if len(nodes) != 2 || err == nil || !strings.Contains(err.Error(), "/nodes/x: not a node") {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	if reg := register(t, e, testNode("x", "b1", "")); reg.Node.ID != "x" { // its own key
		t.Errorf("registration %+v", reg)
	}
}

func testEtcdPages(t *testing.T, server etcdServer) {
	e := server.agent(t, "/"+t.Name())
	const n = 2*etcdPage + 1
	for i := range n {
		key := fmt.Sprintf("n-%04d", i)
		client, err := e.connect(t.Context())
		if err == nil {
			_, err = client.Put(t.Context(), e.key("nodes", key), `{"id":"`+key+`"}`)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	nodes, err := e.Nodes(t.Context())
	if err != nil || len(nodes) != n || nodes[0].ID != "n-0000" || nodes[n-1].ID != fmt.Sprintf("n-%04d", n-1) {
		t.Errorf("%d nodes, want %d: %v", len(nodes), n, err)
	}
}

// testEtcdLeaseTooShort: a lease that ended while its claim was on the way is
// replaced.
func testEtcdLeaseTooShort(t *testing.T, server etcdServer) {
	e := server.agent(t, "/"+t.Name())
	client, err := e.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	l := &etcdLease{etcd: e, client: client, id: 4711}
	_, err = l.register(t.Context(), testNode("i-1", "b1", "web-1"))
	wantErr(t, err, errConflict)
	reg, err := l.register(t.Context(), testNode("i-1", "b1", "web-1"))
	ok(t, err)
	ok(t, reg.Renew(t.Context()))
}

// testEtcdLeaseEnds: between the look and the write of an adoption everything
// may end.
func testEtcdLeaseEnds(t *testing.T, server etcdServer) {
	e := server.agent(t, "/"+t.Name())
	reg := register(t, e, testNode("i-1", "b1", "web-1"))
	l := &etcdLease{etcd: e, client: e.client}
	record, name, err := l.held(t.Context(), "i-1")
	ok(t, err)
	ok(t, reg.Release(t.Context()))
	l.node = reg.Node
	_, err = l.resume(t.Context(), record, name)
	wantErr(t, err, errConflict)
	_, err = l.takeOver(t.Context(), record, name)
	wantErr(t, err, errConflict)
	wantNames(t, e)
}

// testEtcdTwin: an agent that was started twice may find no record, and then
// must not take a second name beside its twin's.
func testEtcdTwin(t *testing.T, server etcdServer) {
	e := server.agent(t, "/"+t.Name())
	for _, name := range []string{"web-${ordinal}", ""} {
		node := testNode("i-1", "b1", name)
		twin := register(t, e, node)
		l := &etcdLease{etcd: e, client: e.client}
		_, err := l.claim(t.Context(), node)
		wantErr(t, err, errConflict)
		ok(t, twin.Renew(t.Context()))
		ok(t, twin.Release(t.Context()))
	}
}

func TestEtcdServerDown(t *testing.T) {
	address := freeAddress(t)
	e := etcdServer{endpoint: "http://" + address}.agent(t, "")
	start := time.Now()
	_, err := e.Register(within(t, 5*time.Second), testNode("i-1", "b1", "web-1"))
	want := "registry: etcd http://" + address + ": dial tcp " + address + ": connect: connection refused"
	if err == nil || err.Error() != want {
		t.Errorf("error %v\nwant  %s", err, want)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("took %v", d)
	}
}

// TestEtcdServerGoes: a server that is killed is an error at once, no loss,
// and no busy waiting.
func TestEtcdServerGoes(t *testing.T) {
	server := startEtcd(t, "http", http.DefaultClient)
	e := server.agent(t, "")
	reg := register(t, e, testNode("i-1", "b1", "web-1"))
	server.kill()
	for range 20 {
		err := reg.Renew(within(t, 10*time.Second))
		if err == nil || errors.Is(err, ErrLost) || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("renew: %v", err)
		}
	}
	for name, err := range map[string]error{
		"update":  reg.Update(within(t, 10*time.Second), reg.Node),
		"release": reg.Release(within(t, 10*time.Second)),
	} {
		if err == nil || errors.Is(err, ErrLost) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestEtcdBlackHole: a server that accepts and never answers is bounded by the
// context, also in the login.
func TestEtcdBlackHole(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, user := range []string{"", "user"} {
		e := etcdServer{endpoint: "http://" + l.Addr().String()}.agent(t, "")
		e.Username, e.Password = user, user
		start := time.Now()
		_, err := e.Register(within(t, 200*time.Millisecond), testNode("i-1", "b1", "web-1"))
		wantErr(t, err, context.DeadlineExceeded)
		_, err = e.Nodes(within(t, 200*time.Millisecond))
		wantErr(t, err, context.DeadlineExceeded)
		if d := time.Since(start); d > 2*time.Second {
			t.Errorf("user %q: took %v", user, d)
		}
	}
}

func TestEtcdLogin(t *testing.T) {
	server := startEtcd(t, "http", http.DefaultClient)
	admin := server.agent(t, "")
	client, err := admin.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, do := range []func() error{
		func() error { _, err := client.UserAdd(t.Context(), "root", "secret"); return err },
		func() error { _, err := client.UserGrantRole(t.Context(), "root", "root"); return err },
		func() error { _, err := client.RoleAdd(t.Context(), "node"); return err },
		func() error {
			_, err := client.RoleGrantPermission(t.Context(), "node", "/bootagent/", "/bootagent0", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func() error { _, err := client.UserAdd(t.Context(), "node", "secret"); return err },
		func() error { _, err := client.UserGrantRole(t.Context(), "node", "node"); return err },
		func() error { _, err := client.AuthEnable(t.Context()); return err },
	} {
		ok(t, do())
	}
	cases := []struct{ user, password, prefix, want string }{
		{"node", "secret", "", ""},
		{"node", "wrong-7f3a", "", "authentication failed, invalid user ID or password"},
		{"", "", "", "login needed (no user name or certificate was given)"},
		{"node", "secret", "/elsewhere", "permission denied (the user needs readwrite on /elsewhere/)"},
	}
	for _, c := range cases {
		e := server.agent(t, c.prefix)
		e.Username, e.Password = c.user, c.password
		reg, err := e.Register(within(t, 10*time.Second), testNode("i-1", "b1", "web-${ordinal}"))
		if c.want == "" && err == nil {
			ok(t, reg.Renew(t.Context()))
			ok(t, reg.Update(t.Context(), reg.Node))
			wantNames(t, e, "i-1=web-1")
			ok(t, reg.Release(t.Context()))
			continue
		}
		if err == nil || err.Error() != "registry: "+e.String()+": "+c.want {
			t.Errorf("%s/%s: error %v, want %q", c.user, c.prefix, err, c.want)
		}
	}
}

func TestEtcdAddresses(t *testing.T) {
	cases := []struct {
		etcd *Etcd
		want string // in the error, or the endpoints
	}{
		{&Etcd{Endpoints: []string{"http://a", "http://[::1]:1/"}}, "[http://a:2379 http://[::1]:1]"},
		{&Etcd{Endpoints: []string{"https://a"}, TLS: &tls.Config{}}, "[https://a:2379]"},
		{&Etcd{}, "no endpoint"},
		{&Etcd{Endpoints: []string{"a:2379"}}, "not an http or https URL"},
		{&Etcd{Endpoints: []string{"http://a", "https://b"}}, "http and https mixed"},
		{&Etcd{Endpoints: []string{"http://a"}, TLS: &tls.Config{}}, "endpoint a: http, but TLS is configured"},
		{&Etcd{Endpoints: []string{"http://u:hidden@a"}}, "endpoint a: more than host and port"},
		{&Etcd{Endpoints: []string{"http://a/path"}}, "endpoint a: more than host and port"},
		{&Etcd{Endpoints: []string{"http://a"}, Username: "u"}, "only one of them"},
	}
	for _, c := range cases {
		got, err := c.etcd.endpoints()
		if text := fmt.Sprint(got, err); !strings.Contains(text, c.want) || strings.Contains(text+c.etcd.String(), "hidden") {
			t.Errorf("%s: %s, want %s", c.etcd, text, c.want)
		}
	}
	e := &Etcd{Endpoints: []string{"https://u:hidden@a:1/?hidden", "://hidden"}}
	if want := "etcd https://a:1,(not a URL)"; e.String() != want {
		t.Errorf("%s, want %s", e, want)
	}
}

func TestEtcdDial(t *testing.T) {
	server := startEtcd(t, "http", http.DefaultClient)
	e := server.agent(t, "")
	e.Endpoints = []string{"http://etcd.invalid"}
	var asked string
	e.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		asked = address
		return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(server.endpoint, "http://"))
	}
	wantNames(t, e)
	if asked != "etcd.invalid:2379" {
		t.Errorf("dialled %q", asked)
	}
}

// TestEtcdOneOfMany: one live server is enough, whatever the others do.
func TestEtcdOneOfMany(t *testing.T) {
	server := startEtcd(t, "http", http.DefaultClient)
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	e := server.agent(t, "")
	e.Endpoints = []string{"http://" + silent.Addr().String(), "http://" + freeAddress(t), server.endpoint}
	reg, err := e.Register(within(t, 4*time.Second), testNode("i-1", "b1", "web-${ordinal}"))
	if err != nil {
		t.Fatal(err)
	}
	ok(t, reg.Renew(within(t, 4*time.Second)))
}

// TestEtcdClose: nothing runs on, and nothing starts again.
func TestEtcdClose(t *testing.T) {
	server := startEtcd(t, "http", http.DefaultClient)
	e := server.agent(t, "")
	reg := register(t, e, testNode("i-1", "b1", "web-1"))
	ok(t, reg.Renew(t.Context()))
	ok(t, e.Close())
	ok(t, e.Close())
	if err := reg.Renew(t.Context()); err == nil || errors.Is(err, ErrLost) {
		t.Errorf("renew after close: %v", err)
	}
	if _, err := e.Nodes(t.Context()); err == nil || !strings.Contains(err.Error(), "registry closed") {
		t.Errorf("nodes after close: %v", err)
	}
	await(t, "end of goroutines", func() bool {
		stacks := make([]byte, 1<<20)
		text := string(stacks[:runtime.Stack(stacks, true)])
		return !strings.Contains(text, "google.golang.org/grpc") && !strings.Contains(text, "go.etcd.io/etcd")
	})
}

func TestEtcdTLS(t *testing.T) {
	authority, other := newAuthority(t), newAuthority(t)
	dir := t.TempDir()
	authority.issue(t, "server").write(t, dir)
	certificate := authority.issue(t, "node").pair(t)
	trust := func(a *certificateAuthority, certificates ...tls.Certificate) *tls.Config {
		return &tls.Config{RootCAs: a.pool(), Certificates: certificates}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: trust(authority, certificate)}}
	defer client.CloseIdleConnections()
	server := startEtcd(t, "https", client, "--client-cert-auth", "--trusted-ca-file", filepath.Join(dir, "ca.pem"),
		"--cert-file", filepath.Join(dir, "cert.pem"), "--key-file", filepath.Join(dir, "key.pem"))

	e := server.agent(t, "")
	e.TLS = trust(authority, certificate)
	reg := register(t, e, testNode("i-1", "b1", "web-1"))
	ok(t, reg.Renew(t.Context()))

	cases := map[*tls.Config]string{
		trust(other, certificate): "certificate signed by unknown authority",
		trust(authority):          "", // TLS 1.3 refuses after the handshake: the reason may get lost
	}
	for config, want := range cases {
		e := server.agent(t, "")
		e.TLS = config
		_, err := e.Register(within(t, 10*time.Second), testNode("i-2", "b1", ""))
		if err == nil || !strings.Contains(err.Error(), want) || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}

// certificateAuthority issues certificates for 127.0.0.1.
type certificateAuthority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

type issued struct{ ca, certificate, key []byte }

func newAuthority(t *testing.T) *certificateAuthority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &certificateAuthority{certificate, key}
}

func (a *certificateAuthority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.certificate)
	return pool
}

func (a *certificateAuthority) issue(t *testing.T, name string) issued {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	encode := func(kind string, der []byte) []byte { return pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}) }
	return issued{encode("CERTIFICATE", a.certificate.Raw), encode("CERTIFICATE", der), encode("PRIVATE KEY", private)}
}

func (i issued) pair(t *testing.T) tls.Certificate {
	t.Helper()
	pair, err := tls.X509KeyPair(i.certificate, i.key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

func (i issued) write(t *testing.T, dir string) {
	t.Helper()
	for name, data := range map[string][]byte{"ca.pem": i.ca, "cert.pem": i.certificate, "key.pem": i.key} {
		ok(t, os.WriteFile(filepath.Join(dir, name), data, 0o600))
	}
}
