package sinks

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/systemd/journal"
)

// What a Shipper reads from, and sends to.
var (
	_ Reader = (*journal.Follower)(nil)
	_ Reader = (*journal.RingReader)(nil)
	_ Sink   = (*JournalUpload)(nil)
	_ Sink   = (*File)(nil)
)

// testBatch are three entries as a journal has them, of any content.
func testBatch() []journal.Entry {
	var ring journal.Ring
	ring.BootID = "e0dc3894ed2041b084e41e9447002170"
	for _, message := range []string{"first", "two\nlines", "\x00\xff bytes"} {
		ring.Add(journal.Entry{
			Monotonic: 795348444 * time.Microsecond,
			Fields: []journal.Field{
				{Name: "MESSAGE", Value: []byte(message)},
				{Name: "SAME", Value: []byte("1")}, {Name: "SAME", Value: []byte("2")},
			},
		})
	}
	reader := ring.Follow("")
	var batch []journal.Entry
	for range 3 {
		entry, _ := reader.Next(context.Background()) // never fails: all are there
		entry.Realtime = entry.Realtime.Truncate(time.Microsecond)
		batch = append(batch, entry)
	}
	return batch
}

func TestJournalUploadRequest(t *testing.T) {
	batch := testBatch()
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests++
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		var want []byte
		for _, entry := range batch {
			want = entry.AppendExport(want)
		}
		if !bytes.Equal(body, want) {
			t.Errorf("body %q", body)
		}
		if r.Method != "POST" || r.URL.Path != "/insert/journald/upload" || r.ContentLength != int64(len(want)) ||
			r.Header.Get("Content-Type") != "application/vnd.fdo.journal" || r.Header.Get("Authorization") != "Bearer x" {
			t.Errorf("%s %s %d %v", r.Method, r.URL, r.ContentLength, r.Header)
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer server.Close()
	header := http.Header{"authorization": {"Bearer x"}}
	for _, slash := range []string{"", "/"} {
		sink := &JournalUpload{
			URL: server.URL + "/insert/journald" + slash, Client: server.Client(),
			Header: func() (http.Header, error) { return header, nil },
		}
		if err := sink.Send(t.Context(), batch); err != nil {
			t.Error(err)
		}
	}
	if requests != 2 {
		t.Errorf("%d requests", requests)
	}
	sink := &JournalUpload{URL: server.URL, Header: func() (http.Header, error) { return nil, errors.New("token: gone") }}
	if err := sink.Send(t.Context(), batch); err == nil || !strings.HasSuffix(err.Error(), "token: gone") {
		t.Errorf("no credential: %v", err)
	}
}

func TestJournalUploadStatus(t *testing.T) {
	for _, test := range []struct {
		code  int
		want  error
		after time.Duration
	}{
		{200, nil, 0}, {202, nil, 0}, {204, nil, 0},
		{400, ErrRejected, 0}, {413, ErrRejected, 0}, {417, ErrRejected, 0}, {422, ErrRejected, 0},
		{301, ErrDenied, 0}, {307, ErrDenied, 0}, {401, ErrDenied, 0}, {403, ErrDenied, 0}, {404, ErrDenied, 0}, {405, ErrDenied, 0}, {415, ErrDenied, 0},
		{408, &RetryError{}, 0}, {429, &RetryError{}, 7 * time.Second}, {500, &RetryError{}, 0}, {503, &RetryError{}, 7 * time.Second},
	} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if test.after > 0 {
				w.Header().Set("Retry-After", "7")
			}
			if r.URL.Path != "/upload" {
				t.Errorf("%d: redirect followed", test.code)
			}
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(test.code)
			if test.code != 204 {
				fmt.Fprintf(w, "first\n%s", strings.Repeat("x", 1<<20))
			}
		}))
		sink := &JournalUpload{URL: strings.Replace(server.URL, "//", "//user:secret@", 1) + "?token=secret", Client: server.Client()}
		sink.URL = strings.TrimSuffix(sink.URL, "?token=secret")
		err := sink.Send(t.Context(), testBatch())
		server.Close()
		if retry, ok := errors.AsType[*RetryError](test.want); ok {
			_ = retry
			got, ok := errors.AsType[*RetryError](err)
			if !ok || got.After != test.after || errors.Is(err, ErrRejected) || errors.Is(err, ErrDenied) {
				t.Errorf("%d: %v", test.code, err)
			}
		} else if !errors.Is(err, test.want) || errors.Is(err, ErrRejected) && errors.Is(err, ErrDenied) {
			t.Errorf("%d: %v, want %v", test.code, err, test.want)
		}
		if err == nil {
			continue
		}
		text := err.Error()
		if strings.Contains(text, "secret") || len(text) > 400 || strings.Contains(text, "\n") {
			t.Errorf("%d: %s", test.code, text)
		}
		if strings.Contains(text, "first") == errors.Is(err, ErrRejected) {
			t.Errorf("%d: response told or not: %s", test.code, text)
		}
	}
}

// A receiver that is not there, and one that hangs up in the middle.
func TestJournalUploadConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 100))
			c.Close()
		}
	}()
	sink := &JournalUpload{URL: "http://user:secret@" + listener.Addr().String() + "/?token=secret"}
	if err := sink.Send(t.Context(), testBatch()); !errors.Is(err, ErrNoAnswer) || strings.Contains(err.Error(), "secret") {
		t.Errorf("hung up: %v", err)
	}
	listener.Close()
	err = sink.Send(t.Context(), testBatch())
	if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, ErrNoAnswer) || strings.Contains(err.Error(), "secret") {
		t.Errorf("closed: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := sink.Send(ctx, testBatch()); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	for _, bad := range []string{"http://host:port", "://", "\x00"} {
		sink.URL = bad
		if err := sink.Send(t.Context(), testBatch()); !errors.Is(err, ErrDenied) || sink.String() != "journal_upload invalid URL" {
			t.Errorf("%q: %s: %v", bad, sink, err)
		}
	}
}

func TestRetryAfterHeader(t *testing.T) {
	now := time.Date(2026, 11, 22, 1, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"": 0, "x": 0, "-1": 0, "120": 2 * time.Minute, "99999999999999999999": 0,
		"Sun, 22 Nov 2026 01:00:30 GMT": 30 * time.Second, "Sun, 22 Nov 2026 00:00:00 GMT": 0,
	} {
		if got := retryAfterHeader(http.Header{"Retry-After": {value}}, now); got != want {
			t.Errorf("%q: %v, want %v", value, got, want)
		}
	}
}

const journalRemote = "/lib/systemd/systemd-journal-remote"

// startRemote starts a systemd-journal-remote on a port of its own, and returns
// its URL and the folder it writes to.
func startRemote(t *testing.T) (url, dir string) {
	t.Helper()
	for _, program := range []string{journalRemote, "journalctl"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("needs %s, which is not installed (package systemd-journal-remote)", program)
		}
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	socket, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	// The socket is handed over as systemd does it (sd_listen_fds(3)): as
	// descriptor 3, with the pid of the one that is to use it, which sh knows.
	cmd := exec.Command("/bin/sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec `+journalRemote+` --listen-http=-3 --split-mode=none --output="$0"`, filepath.Join(dir, "remote.journal"))
	cmd.ExtraFiles = []*os.File{socket}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr := &bytes.Buffer{}
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	socket.Close()
	listener.Close()
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("systemd-journal-remote: %s", stderr)
		}
	})
	return "http://" + listener.Addr().String(), dir
}

// stored are the entries that the receiver has.
func stored(t *testing.T, dir string) []journal.Entry {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "journalctl", "--directory="+dir, "--output=export", "--all", "--quiet").Output()
	if err != nil {
		t.Fatal(err)
	}
	decoder := journal.NewDecoder(bytes.NewReader(out))
	var entries []journal.Entry
	for {
		entry, err := decoder.Decode()
		if err == io.EOF {
			return entries
		}
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
}

// What is sent to a real receiver is there as it was.
func TestJournalUploadRemote(t *testing.T) {
	url, dir := startRemote(t)
	sink := &JournalUpload{URL: url}
	large := testBatch()
	for i := range large {
		large[i].Monotonic += time.Second
		large[i].Realtime = large[i].Realtime.Add(time.Second)
	}
	large[0].Fields[0].Value = bytes.Repeat([]byte("large"), 200<<10)
	want := append(testBatch(), large...)
	for _, batch := range [][]journal.Entry{want[:3], want[3:]} {
		if err := sink.Send(t.Context(), batch); err != nil {
			t.Fatal(err)
		}
	}
	got := stored(t, dir)
	if len(got) != len(want) {
		t.Fatalf("%d entries stored, want %d", len(got), len(want))
	}
	for i := range got {
		if a, b := sorted(got[i]), sorted(want[i]); !bytes.Equal(a, b) {
			t.Errorf("entry %d: got %.500q, want %.500q", i, a, b)
		}
	}
}

// sorted is an entry in export format, but for its cursor, which each journal
// makes anew, and for the order of its fields, which a journal may change.
func sorted(entry journal.Entry) []byte {
	entry.Cursor = ""
	entry.Fields = slices.Clone(entry.Fields)
	slices.SortFunc(entry.Fields, func(a, b journal.Field) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), bytes.Compare(a.Value, b.Value))
	})
	return entry.AppendExport(nil)
}

// A Shipper and a real receiver: all there is, in order, once.
func TestShipToRemote(t *testing.T) {
	url, dir := startRemote(t)
	ring := &journal.Ring{BootID: "e0dc3894ed2041b084e41e9447002170"}
	s := &Shipper{Sink: &JournalUpload{URL: url}, Open: open(ring)}
	run(t, s)
	const total = 5000
	for n := range total {
		e := entry(fmt.Sprint(n), "6")
		e.Monotonic = time.Duration(n+1) * time.Millisecond
		ring.Add(e)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Drain(ctx, 200*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	lost := int(s.Stats().Lost) // the ring is smaller than what was added
	got := stored(t, dir)
	if len(got) != total-lost || lost > total-4096 {
		t.Errorf("%d entries stored, %d lost, of %d: %+v", len(got), lost, total, s.Stats())
	}
	for i, entry := range got {
		if want := fmt.Sprint(lost + i); entry.Get("MESSAGE") != want {
			t.Fatalf("entry %d: %s, want %s", i, entry.Get("MESSAGE"), want)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	batch := testBatch()[:1]
	for n := range 20 {
		batch[0].Fields = append(batch[0].Fields, journal.Field{Name: fmt.Sprint("FIELD", n), Value: []byte("a value of some usual size")})
	}
	for len(batch) < 1000 {
		batch = append(batch, batch[0])
	}
	for b.Loop() {
		b.SetBytes(int64(len(encode(batch))))
	}
}
