package status

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestClientStatus(t *testing.T) {
	agent := &resident{state: Ready}
	c := Client{Socket: serve(t, agent).socket, Directories: []string{t.TempDir()}}
	s, err := c.Ask(t.Context())
	if diff := cmp.Diff(agent.Status(), s); diff != "" || err != nil {
		t.Errorf("status (-want +got): %v\n%s", err, diff)
	}
}

// hangUp is the answer of one who closes the connection.
const hangUp = "hang up"

// answering is a socket behind which everybody gets the same, or nothing.
func answering(t *testing.T, answer string) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := conn.Read(make([]byte, 1<<10)); err == nil && answer != hangUp {
				_, _ = io.WriteString(conn, answer)
			}
			if strings.HasSuffix(answer, "\x00") || answer == "" { // and hangs
				<-ended
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		close(ended)
		_ = listener.Close()
		<-done
	})
	return socket
}

// TestClientNoAnswer asks an agent that is not there, or not well: then a
// receipt speaks for it, soon.
func TestClientNoAnswer(t *testing.T) {
	refused := func(t *testing.T) string {
		socket := filepath.Join(t.TempDir(), "s")
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		listener.(*net.UnixListener).SetUnlinkOnClose(false)
		_ = listener.Close()
		return socket
	}
	says := func(answer string) func(t *testing.T) string {
		return func(t *testing.T) string { return answering(t, answer) }
	}
	const ok = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	for name, test := range map[string]struct {
		socket func(t *testing.T) string
		text   string
	}{
		"no socket":      {func(t *testing.T) string { return "/nonexistent/s" }, "agent: SOCKET: connect: no such file or directory"},
		"nobody listens": {refused, "agent: SOCKET: connect: connection refused"},
		"hangs":          {says(""), "agent: no answer on SOCKET"},
		"hangs halfway":  {says(ok + "Content-Length: 100\r\n\r\n{\x00"), "agent: no answer on SOCKET"},
		"hangs up":       {says(hangUp), "agent: SOCKET: EOF"},
		"breaks off":     {says(ok + "Content-Length: 100\r\n\r\n{"), "agent: SOCKET: unexpected EOF"},
		"garbage":        {says(ok + "Content-Length: 4\r\n\r\n{\"a\""), "agent: answer is not a status: unexpected end of JSON input"},
		"another JSON":   {says(ok + "Content-Length: 2\r\n\r\n{}"), "agent: answer is not a status: no state in it"},
		"an error":       {says("HTTP/1.1 503 X\r\nContent-Length: 5\r\n\r\nbusy\n"), "agent: busy"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			socket, directory := test.socket(t), t.TempDir()
			c := Client{Socket: socket, Directories: []string{t.TempDir(), directory}}
			start := time.Now()
			_, err := c.Ask(t.Context())
			if want := "no receipt of a boot (" + test.text + ")"; !errors.Is(err, ErrNoReceipt) || strings.ReplaceAll(err.Error(), socket, "SOCKET") != want {
				t.Errorf("error %v\nwant  %s", err, want)
			}
			if took := time.Since(start); took > 3*time.Second {
				t.Errorf("took %v", took)
			}
			for state, want := range map[State]State{Booting: Booting, Failed: Failed, Done: Degraded} {
				r := testReceipt()
				r.State = state
				write(t, r, directory)
				ctx := t.Context()
				if strings.HasPrefix(name, "hangs") { // once is enough to wait for
					timed, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
					defer cancel()
					ctx = timed
				}
				s, err := c.Ask(ctx)
				if err != nil || s.State != want || s.Node.ID != "i-0abc" || s.Privileges != nil {
					t.Errorf("receipt of a boot that is %s: %s, %v", state, s.State, err)
				}
				if silent := s.Conditions[len(s.Conditions)-1]; state == Done && (silent.Type != "Agent" || silent.Status || strings.ReplaceAll(silent.Message, socket, "SOCKET") != test.text) {
					t.Errorf("condition %+v", silent)
				}
			}
		})
	}
}

// TestClientBadReceipt sees that a receipt which cannot be read is not taken
// for none.
func TestClientBadReceipt(t *testing.T) {
	directory := t.TempDir()
	if err := os.WriteFile(filepath.Join(directory, receiptFile), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Client{Socket: "/nonexistent/s", Directories: []string{directory}}.Ask(t.Context())
	if err == nil || errors.Is(err, ErrNoReceipt) {
		t.Errorf("error %v", err)
	}
}

// TestClientBounded asks somebody who never stops talking.
func TestClientBounded(t *testing.T) {
	socket := answering(t, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"+strings.Repeat(" ", maxStatus+1<<20)+"\x00")
	start := time.Now()
	_, err := Client{Socket: socket}.Status(t.Context())
	if err == nil || !strings.Contains(err.Error(), "not a status") || time.Since(start) > askTime {
		t.Errorf("after %v: error %v", time.Since(start), err)
	}
}
