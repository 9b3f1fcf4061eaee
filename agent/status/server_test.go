package status

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// resident is an agent in the state that a test puts it in.
type resident struct {
	mu      sync.Mutex
	state   State
	receipt *Receipt
	err     error
	asked   []bool // to be online
}

func (n *resident) Status() Status {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := testReceipt().Status()
	s.State = n.state
	return s
}

func (n *resident) Receipt() *Receipt { return n.receipt }

func (n *resident) Online(_ context.Context, online bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked = append(n.asked, online)
	n.state = map[bool]State{true: Ready, false: Leaving}[online]
	return n.err
}

// endpoint is a server on a socket and on a loopback address.
type endpoint struct {
	socket, address string
	stop            context.CancelFunc
	ended           chan error
}

func serve(t *testing.T, agent Agent) *endpoint {
	t.Helper()
	directory, err := os.MkdirTemp("", "status") // a short name, that others may enter
	if err == nil {
		err = os.Chmod(directory, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(directory) })
	e := &endpoint{socket: filepath.Join(directory, "status.sock"), ended: make(chan error, 1)}
	unixListener, err := net.Listen("unix", e.socket)
	if err == nil {
		err = os.Chmod(e.socket, 0o666)
	}
	if err != nil {
		t.Fatal(err)
	}
	tcpListener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e.address = tcpListener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	e.stop = stop
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "bootagent_registered 1") })
	go func() { e.ended <- Server{Agent: agent, Metrics: metrics}.Serve(ctx, unixListener, tcpListener) }()
	t.Cleanup(func() { e.end(t, 30*time.Second) })
	return e
}

// end stops the server and wants it to end in time.
func (e *endpoint) end(t *testing.T, limit time.Duration) {
	t.Helper()
	e.stop()
	select {
	case err := <-e.ended:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(limit):
		t.Errorf("still serving after %v", limit)
	}
	e.ended <- nil // for who asks again
}

func (e *endpoint) dial(t *testing.T, network string) net.Conn {
	t.Helper()
	address := map[string]string{"unix": e.socket, "tcp": e.address}[network]
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// ask sends one request as it is written, and reads the answer.
func ask(t *testing.T, conn net.Conn, request string) (code int, header http.Header, body string) {
	t.Helper()
	go func() { _, _ = io.WriteString(conn, request) }() // the answer may come before the end of it
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatalf("%.80q: %v", request, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

func TestServer(t *testing.T) {
	agent := &resident{state: Ready, receipt: testReceipt()}
	e := serve(t, agent)
	asJSON := func(v any) string {
		text, err := json.MarshalIndent(v, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return string(text) + "\n"
	}
	var page strings.Builder
	if err := Text(&page, agent.Status()); err != nil {
		t.Fatal(err)
	}
	const plain = "text/plain; charset=utf-8"
	for request, want := range map[string]struct {
		code  int
		kind  string
		body  string
		local string // where unix differs from tcp: its body
	}{
		"GET /":           {200, plain, page.String(), ""},
		"GET /status":     {200, "application/json", asJSON(agent.Status()), ""},
		"GET /receipt":    {200, "application/json", asJSON(agent.receipt), ""},
		"GET /healthz":    {200, plain, "ready\n", ""},
		"GET /readyz":     {200, plain, "ready\n", ""},
		"GET /metrics":    {200, plain, "bootagent_registered 1\n", ""},
		"GET /nothing":    {404, plain, "404 page not found\n", ""},
		"GET /status/":    {404, plain, "404 page not found\n", ""},
		"GET /online":     {405, plain, "Method Not Allowed\n", ""},
		"POST /status":    {405, plain, "Method Not Allowed\n", ""},
		"DELETE /receipt": {405, plain, "Method Not Allowed\n", ""},
		"POST /online":    {403, plain, "for root only, by the unix socket\n", "ready\n"},
		"POST /offline":   {403, plain, "for root only, by the unix socket\n", "leaving\n"},
	} {
		for _, network := range []string{"tcp", "unix"} {
			agent.state = Ready
			code, body := want.code, want.body
			if network == "unix" && want.local != "" {
				if os.Geteuid() != 0 {
					continue
				}
				code, body = 200, want.local
			}
			gotCode, header, gotBody := ask(t, e.dial(t, network), request+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
			if diff := cmp.Diff(body, gotBody); gotCode != code || header.Get("Content-Type") != want.kind || diff != "" {
				t.Errorf("%s by %s: %d %s, want %d %s (-want +got):\n%s", request, network, gotCode, header.Get("Content-Type"), code, want.kind, diff)
			}
		}
	}
}

func TestServerNoReceipt(t *testing.T) {
	e := serve(t, &resident{state: Failed})
	if code, _, body := ask(t, e.dial(t, "unix"), "GET /receipt HTTP/1.1\r\nHost: x\r\n\r\n"); code != 404 || body != "no receipt of a boot\n" {
		t.Errorf("%d %s", code, body)
	}
}

func TestServerNoMetrics(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := (Server{Agent: &resident{}}).Serve(ctx); err != nil {
		t.Error(err)
	}
}

func TestServerHealth(t *testing.T) {
	agent := &resident{}
	e := serve(t, agent)
	for state, want := range map[State]int{Booting: 503, Ready: 200, Degraded: 200, Failed: 503, Leaving: 503, Done: 503, "": 503} {
		for _, path := range []string{"/healthz", "/readyz"} {
			agent.state = state
			code, _, body := ask(t, e.dial(t, "tcp"), "GET "+path+" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
			if code != want || body != string(state)+"\n" {
				t.Errorf("%s of %q: %d %q, want %d", path, state, code, body, want)
			}
		}
	}
}

// TestServerHost is about names that others have given to the loopback address.
func TestServerHost(t *testing.T) {
	e := serve(t, &resident{state: Ready})
	for host, good := range map[string]bool{
		"localhost": true, "localhost:2016": true, "127.0.0.1": true, "127.0.0.1:80": true, "127.1.2.3": true, "[::1]:2016": true, "[::1]": true,
		"LOCALHOST:2016": true,
		"evil.example":   false, "evil.example:2016": false, "localhost.evil.example": false, "127.0.0.1.evil.example": false,
		"192.0.2.1": false, "0.0.0.0": false, "[2001:db8::1]:2016": false, "": false, "127.1": false, "2130706433": false,
	} {
		request := "GET /status HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n\r\n"
		code, _, body := ask(t, e.dial(t, "tcp"), request)
		if good != (code == 200) || !good && code != 421 || !good && body != "not this host's name\n" {
			t.Errorf("Host %q by tcp: %d %.40q", host, code, body)
		}
		if code, _, _ := ask(t, e.dial(t, "unix"), request); code != 200 {
			t.Errorf("Host %q by the socket: %d", host, code)
		}
	}
	if code, _, _ := ask(t, e.dial(t, "tcp"), "GET http://evil.example/status HTTP/1.1\r\nHost: localhost\r\n\r\n"); code != 421 {
		t.Errorf("a foreign host in the request line: %d", code)
	}
	if code, _, _ := ask(t, e.dial(t, "tcp"), "GET /status HTTP/1.0\r\n\r\n"); code != 421 {
		t.Errorf("no host: %d", code)
	}
}

func TestServerOnline(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root, who alone may put a node in rotation")
	}
	agent := &resident{state: Booting}
	c := Client{Socket: serve(t, agent).socket}
	for _, online := range []bool{true, false} {
		want := map[bool]State{true: Ready, false: Leaving}[online]
		if state, err := c.Online(t.Context(), online); err != nil || state != want {
			t.Errorf("online %v: %s, %v", online, state, err)
		}
	}
	if diff := cmp.Diff([]bool{true, false}, agent.asked); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
	agent.err = errors.New("etcd: no answer")
	if _, err := c.Online(t.Context(), true); err == nil || err.Error() != "agent: etcd: no answer" {
		t.Errorf("error %v", err)
	}
}

// socketOfTest tells a child of this test, which is not root, whom to ask.
const socketOfTest = "STATUS_TEST_SOCKET"

// TestServerOnlineNobody asks as another user, from another process.
func TestServerOnlineNobody(t *testing.T) {
	if socket := os.Getenv(socketOfTest); socket != "" {
		state, err := Client{Socket: socket}.Online(t.Context(), true)
		fmt.Printf("uid %d: %q, %v\n", os.Getuid(), state, err)
		s, err := Client{Socket: socket}.Status(t.Context())
		fmt.Printf("status: %s, %v\n", s.State, err)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("NOT TESTED: needs root, to become somebody else")
	}
	agent := &resident{state: Booting}
	e := serve(t, agent)
	program := filepath.Join(filepath.Dir(e.socket), "child") // where anybody may run it
	if err := copyFile(program, os.Args[0]); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), program, "-test.run=^TestServerOnlineNobody$")
	child.Dir = filepath.Dir(e.socket)
	child.Env = append(os.Environ(), socketOfTest+"="+e.socket)
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	output, err := child.CombinedOutput()
	want := "uid 65534: \"for root only, by the unix socket\", agent: for root only, by the unix socket\nstatus: booting, <nil>\n"
	if got, _, _ := strings.Cut(string(output), "PASS"); err != nil || strings.Replace(got, `""`, `"for root only, by the unix socket"`, 1) != want {
		t.Errorf("%v: %s", err, output)
	}
	if len(agent.asked) > 0 {
		t.Errorf("asked to be online: %v", agent.asked)
	}
}

func copyFile(to, from string) error {
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o755)
}

// TestServerBounds sees that a header has an end.
func TestServerBounds(t *testing.T) {
	e := serve(t, &resident{state: Ready})
	for _, request := range []string{
		"GET /status HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n",
		"GET /status HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: x\r\n", 16<<10) + "\r\n",
		"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n",
	} {
		if code, _, _ := ask(t, e.dial(t, "tcp"), request); code != 431 {
			t.Errorf("%.60q: %d, want 431", request, code)
		}
	}
}

// TestServerHungClients sees that clients who say nothing, or only half, keep
// nobody else from being answered, and are not waited for in the end.
func TestServerHungClients(t *testing.T) {
	t.Parallel()
	e := serve(t, &resident{state: Ready})
	var silent net.Conn
	for range 50 {
		silent = e.dial(t, "unix")
		fmt.Fprint(e.dial(t, "tcp"), "GET /status HTTP/1.1\r\nHost:")
	}
	start := time.Now()
	if code, _, _ := ask(t, e.dial(t, "unix"), "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); code != 200 {
		t.Errorf("answer %d", code)
	}
	if took := time.Since(start); took > 2*time.Second {
		t.Errorf("answered after %v", took)
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("a client who says nothing is kept: %v", err)
	}
	if took := time.Since(start); took > requestTime+5*time.Second {
		t.Errorf("a client who says nothing is kept for %v", took)
	}
}

// TestServerEnds sees that Serve ends with its context, whoever is connected.
func TestServerEnds(t *testing.T) {
	idle := func(t *testing.T, e *endpoint) {
		conn := e.dial(t, "unix")
		if code, _, _ := ask(t, conn, "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); code != 200 {
			t.Errorf("answer %d", code)
		}
	}
	hung := func(t *testing.T, e *endpoint) {
		fmt.Fprint(e.dial(t, "unix"), "POST /online HTTP/1.1\r\nHost: x\r\nContent-Le")
		e.dial(t, "tcp")
		if code, _, _ := ask(t, e.dial(t, "unix"), "GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n"); code != 200 {
			t.Errorf("answer %d", code) // so the others are accepted, too
		}
	}
	for name, test := range map[string]struct {
		connect func(*testing.T, *endpoint)
		limit   time.Duration
	}{
		"nobody":     {func(*testing.T, *endpoint) {}, time.Second},
		"keep-alive": {idle, time.Second},
		"hung":       {hung, requestTime + time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := serve(t, &resident{state: Ready})
			test.connect(t, e)
			e.end(t, test.limit)
			if _, err := net.Dial("unix", e.socket); err == nil {
				t.Error("still listening")
			}
		})
	}
}

// TestServerListenerFails sees that the error of a listener is told, and that
// nothing is served any more then.
func TestServerListenerFails(t *testing.T) {
	broken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	good, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = broken.Close()
	if err := (Server{Agent: &resident{}}).Serve(t.Context(), good, broken); !errors.Is(err, net.ErrClosed) {
		t.Errorf("error %v", err)
	}
	if conn, err := net.Dial("tcp", good.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("still listening")
	}
}
