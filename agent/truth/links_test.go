package truth

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// linksRole tells a child of this test what to be.
const linksRole = "TRUTH_TEST_LINKS"

// inNamespace is a child of this test, another process of the same test, with
// a network and a mount table of its own.
func inNamespace(t *testing.T, role string) *exec.Cmd {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=1m")
	child.Env = append(os.Environ(), linksRole+"="+role, "GODEBUG=netdns=go")
	child.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	return child
}

// isolate runs body in a network namespace of its own. Only root may make one.
func isolate(t *testing.T, body func(t *testing.T)) {
	t.Helper()
	switch os.Getenv(linksRole) {
	case "":
		if os.Geteuid() != 0 {
			t.Skip("NOT TESTED: needs root, to make a network namespace")
		}
		if output, err := inNamespace(t, "node").CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, output)
		}
	case "node":
		ip(t, "link", "set", "lo", "up")
		body(t)
	case "server":
		remote(t)
	}
}

func ip(t *testing.T, args ...string) {
	t.Helper()
	if output, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, output)
	}
}

// remote is the other side of a link: a server, which says its port, and then
// does what it reads with ip.
func remote(t *testing.T) {
	listener, err := net.Listen("tcp4", ":0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			defer conn.Close()
		}
	}()
	fmt.Println("PORT", listener.Addr().(*net.TCPAddr).Port)
	for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
		ip(t, strings.Fields(lines.Text())...)
		fmt.Println("DONE")
	}
}

// peer is the process at the other side of a link.
type peer struct {
	pid, port string
	in        io.Writer
	out       *bufio.Scanner
}

func startPeer(t *testing.T) *peer {
	t.Helper()
	child := inNamespace(t, "server")
	in, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = child.Wait()
	})
	p := &peer{pid: fmt.Sprint(child.Process.Pid), in: in, out: bufio.NewScanner(out)}
	p.port = p.read(t, "PORT ")
	return p
}

// read reads up to the line that begins so, and returns its rest.
func (p *peer) read(t *testing.T, prefix string) string {
	t.Helper()
	var seen []string
	for p.out.Scan() {
		if rest, found := strings.CutPrefix(p.out.Text(), prefix); found {
			return rest
		}
		seen = append(seen, p.out.Text())
	}
	t.Fatalf("the other side has ended: %q", seen)
	return ""
}

func (p *peer) ip(t *testing.T, args ...string) {
	t.Helper()
	fmt.Fprintln(p.in, strings.Join(args, " "))
	p.read(t, "DONE")
}

func watch(t *testing.T) *Links {
	t.Helper()
	links, err := WatchLinks()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ok(t, links.Close()) })
	return links
}

func TestLinksChanged(t *testing.T) {
	isolate(t, func(t *testing.T) {
		links := watch(t)
		for _, change := range []string{
			"link add d0 type veth peer name d1", "link set d0 up", "link set d1 up",
			"addr add 192.0.2.1/24 dev d0", "addr add 2001:db8::1/64 dev d0 nodad",
			"route add 198.51.100.0/24 via 192.0.2.2", "route add 2001:db8:1::/64 via 2001:db8::2",
			"route del 198.51.100.0/24", "addr del 192.0.2.1/24 dev d0", "link set d0 down", "link del d0",
		} {
			quiet(t, links)
			changed := links.Changed()
			ip(t, strings.Fields(change)...)
			select {
			case <-changed:
			case <-time.After(5 * time.Second):
				t.Errorf("%s: not told", change)
			}
		}
	})
}

// quiet waits until changes, which come in bursts, have ended.
func quiet(t *testing.T, links *Links) {
	t.Helper()
	for range 100 {
		select {
		case <-links.Changed():
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
	t.Fatal("the network changes without end")
}

// TestLinksOverrun sees that more changes than the socket holds are a change,
// and not the end.
func TestLinksOverrun(t *testing.T) {
	isolate(t, func(t *testing.T) {
		links := watch(t)
		raw, err := links.socket.SyscallConn()
		ok(t, err)
		ok(t, raw.Control(func(fd uintptr) { ok(t, syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 1)) }))
		links.mu.Lock() // so that listen stands still
		ip(t, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
		ip(t, "link", "set", "d0", "up")
		for i := range 100 {
			ip(t, "addr", "add", fmt.Sprintf("192.0.2.%d/32", i+1), "dev", "d0")
		}
		links.mu.Unlock()
		quiet(t, links)
		changed := links.Changed()
		ip(t, "link", "set", "d0", "down")
		select {
		case <-changed:
		case <-time.After(5 * time.Second):
			t.Error("deaf after an overrun")
		}
	})
}

// dialed is what came of a Dial, and when.
type dialed struct {
	conn net.Conn
	err  error
	at   time.Time
}

func dial(ctx context.Context, links *Links, address string) <-chan dialed {
	result := make(chan dialed, 1)
	go func() {
		conn, err := links.Dial(ctx, "tcp", address)
		result <- dialed{conn, err, time.Now()}
	}()
	return result
}

// wantSoon wants a connection within that time from when the network was as it
// should be. TCP itself would try again after 1, 3 and 7 seconds.
func wantSoon(t *testing.T, result <-chan dialed, from time.Time, soon time.Duration) {
	t.Helper()
	d := <-result
	if d.err != nil {
		t.Fatal(d.err)
	}
	_ = d.conn.Close()
	took := d.at.Sub(from)
	t.Logf("connected %v after the network came up", took)
	if took > soon {
		t.Errorf("connected only %v after the network came up", took)
	}
}

// TestLinksDialBlackHole connects to an address that nobody answers for, and
// that is then there.
func TestLinksDialBlackHole(t *testing.T) {
	isolate(t, func(t *testing.T) {
		listener, err := net.Listen("tcp4", ":0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		ip(t, "link", "add", "d0", "type", "veth", "peer", "name", "d1")
		ip(t, "link", "set", "d0", "up")
		ip(t, "link", "set", "d1", "up")
		ip(t, "addr", "add", "192.0.2.1/24", "dev", "d0")
		links := watch(t)
		result := dial(within(t, 30*time.Second), links, fmt.Sprint("192.0.2.9:", listener.Addr().(*net.TCPAddr).Port))
		select {
		case d := <-result:
			t.Fatalf("connected through a black hole: %+v", d)
		case <-time.After(200 * time.Millisecond): // so the SYN is on its way into nowhere
		}
		start := time.Now()
		ip(t, "addr", "add", "192.0.2.9/32", "dev", "lo")
		wantSoon(t, result, start, 500*time.Millisecond)
	})
}

// TestLinksDialCarrier connects to another machine over a link whose other end
// is not up yet: there is an address and a route, and nobody answers ARP. The
// kernel asks for a neighbour once a second (RFC 1122, section 2.3.2.1), and no
// new connection makes it ask sooner.
func TestLinksDialCarrier(t *testing.T) {
	isolate(t, func(t *testing.T) {
		other := startPeer(t)
		ip(t, "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", other.pid)
		ip(t, "addr", "add", "192.0.2.1/24", "dev", "v0")
		ip(t, "link", "set", "v0", "up")
		other.ip(t, "addr", "add", "192.0.2.2/24", "dev", "v1")
		links := watch(t)
		result := dial(within(t, 30*time.Second), links, "192.0.2.2:"+other.port)
		select {
		case d := <-result:
			t.Fatalf("connected without a carrier: %+v", d)
		case <-time.After(200 * time.Millisecond):
		}
		start := time.Now()
		other.ip(t, "link", "set", "v1", "up")
		wantSoon(t, result, start, 1500*time.Millisecond)
	})
}

// TestLinksRetry is what a boot does while there is no network at all: every
// attempt fails at once, and a change ends the pause.
func TestLinksRetry(t *testing.T) {
	isolate(t, func(t *testing.T) {
		other := startPeer(t)
		ip(t, "link", "add", "v0", "type", "veth", "peer", "name", "v1", "netns", other.pid)
		other.ip(t, "addr", "add", "192.0.2.2/24", "dev", "v1")
		other.ip(t, "link", "set", "v1", "up")
		ip(t, "addr", "add", "192.0.2.1/24", "dev", "v0")
		links := watch(t)
		waits := make(chan error, 100)
		r := Retry{Links: links, Waiting: func(err error) { waits <- err }}
		result := make(chan dialed, 1)
		go func() {
			err := r.Do(within(t, 30*time.Second), func(ctx context.Context) error {
				conn, err := links.Dial(ctx, "tcp", "192.0.2.2:"+other.port)
				if err != nil {
					return after{err, time.Minute} // which nobody is going to wait
				}
				return conn.Close()
			})
			result <- dialed{err: err, at: time.Now()}
		}()
		if err := <-waits; !strings.Contains(err.Error(), "network is unreachable") {
			t.Errorf("waiting for %v", err)
		}
		start := time.Now()
		ip(t, "link", "set", "v0", "up")
		d := <-result
		t.Logf("connected %v after the link was set up", d.at.Sub(start))
		if d.err != nil || d.at.Sub(start) > 500*time.Millisecond {
			t.Errorf("connected only %v after the link was set up: %v", d.at.Sub(start), d.err)
		}
	})
}

// TestLinksDialUnrest sees that a connection comes about where the network
// never rests: a name server takes its time, and all the while there are changes.
func TestLinksDialUnrest(t *testing.T) {
	isolate(t, func(t *testing.T) {
		resolv := filepath.Join(t.TempDir(), "resolv.conf")
		ok(t, os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644))
		ok(t, unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")) // of this child only
		ok(t, unix.Mount(resolv, "/etc/resolv.conf", "", unix.MS_BIND, ""))
		slowNames(t, 150*time.Millisecond)
		listener, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close()
		links := &Links{changed: make(chan struct{})}
		result := dial(within(t, 10*time.Second), links, fmt.Sprint("truth.example.:", listener.Addr().(*net.TCPAddr).Port))
		for tick := time.NewTicker(5 * time.Millisecond); ; {
			select {
			case <-tick.C:
				links.tell()
				continue
			case d := <-result:
				if d.err != nil {
					t.Fatal(d.err)
				}
				_ = d.conn.Close()
			}
			return
		}
	})
}

// slowNames is a name server, by which every name is 127.0.0.1, after a while.
func slowNames(t *testing.T, while time.Duration) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		for {
			message := make([]byte, 512)
			n, from, err := conn.ReadFrom(message)
			if err != nil {
				return
			}
			time.AfterFunc(while, func() { _, _ = conn.WriteTo(nameAnswer(message[:n]), from) })
		}
	}()
}

// nameAnswer answers a query (RFC 1035, section 4): its header, its question,
// and, to a question for an A, one that points back to the name at offset 12.
func nameAnswer(query []byte) []byte {
	end := 12 + bytes.IndexByte(query[12:], 0) + 5 // of the question
	answer := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
	if query[end-3] == 1 {
		answer[7] = 1
		answer = append(answer, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	return answer
}

// TestLinksOutdated is about how long an attempt lives on after a change.
func TestLinksOutdated(t *testing.T) {
	closed := make(chan struct{})
	close(closed)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if outdated(ended, nil, time.Hour) {
		t.Error("outdated without a change")
	}
	start := time.Now()
	if !outdated(t.Context(), closed, 50*time.Millisecond) || time.Since(start) < 50*time.Millisecond {
		t.Errorf("not outdated, or at once: %v", time.Since(start))
	}
}

// TestLinksNil sees that nobody needs to have Links.
func TestLinksNil(t *testing.T) {
	var links *Links
	select {
	case <-links.Changed():
		t.Error("changed")
	default:
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	conn, err := links.Dial(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	_ = listener.Close()
	if _, err := links.Dial(t.Context(), "tcp", address); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("error %v", err)
	}
	ok(t, links.Close())
}

// TestLinksClose sees that listening ends, and a Dial with it does not.
func TestLinksClose(t *testing.T) {
	links, err := WatchLinks()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		links.listen() // one more: it ends as the first does
	}()
	ok(t, links.Close())
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("still listening")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := links.Dial(ctx, "tcp", "127.0.0.1:1"); !errors.Is(err, context.Canceled) && !strings.Contains(fmt.Sprint(err), "canceled") {
		t.Errorf("error %v", err)
	}
}
