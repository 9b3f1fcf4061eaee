package journal

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
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/bootagent/bootagent/systemd/journal/journaltest"
)

// The tests in this file run against a journald of their own.

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for end := time.Now().Add(15 * time.Second); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// write sends n numbered entries.
func write(t *testing.T, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		err := journal.Send(fmt.Sprint("entry ", i), journal.PriInfo, map[string]string{"NUMBER": strconv.Itoa(i)})
		must(t, err)
	}
}

func follow(t *testing.T, options FollowOptions) *Follower {
	t.Helper()
	f, err := Follow(t.Context(), options)
	must(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

// next is the next entry, which must come soon.
func next(t *testing.T, f *Follower) Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
	defer cancel()
	entry, err := f.Next(ctx)
	if err != nil {
		t.Fatalf("next: %v", err)
	}
	return entry
}

// expect reads up to the numbered entry last, and fails unless each number from
// first to last comes once.
func expect(t *testing.T, f *Follower, first, last int) (entry Entry) {
	t.Helper()
	for want := first; want <= last; {
		entry = next(t, f)
		text := entry.Get("NUMBER")
		if text == "" {
			continue // journald's own
		}
		if text != strconv.Itoa(want) {
			t.Fatalf("got entry %s, want %d", text, want)
		}
		want++
	}
	return entry
}

// journalctl runs the program once.
func journalctl(t *testing.T, args ...string) []byte {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "journalctl", append([]string{"--no-pager", "--quiet"}, args...)...).Output()
	if err != nil {
		t.Fatalf("journalctl: %v", err)
	}
	return out
}

// Each entry, of whatever content, comes as journalctl has it, and goes out so.
func TestFollowSameAsJournalctl(t *testing.T) {
	if !journaltest.Own(t, "") {
		return
	}
	strange := []map[string]string{
		{"LINES": "one\ntwo\n"},
		{"BYTES": "\x00\xff\xfe\n\x1b[1m", "TAB": "a\tb", "LAST": "\uffff", "RESERVED": "\ufdd0", "CONTROL": "\u0085", "NEITHER": "\u00a0\ufdf0"},
		{"EMPTY": ""},
		{"LARGE": strings.Repeat("0123456789abcdef", 1<<16)},
		{"LARGE_BYTES": strings.Repeat("\x00", 1<<17)},
	}
	for _, fields := range strange {
		must(t, journal.Send("a message\nof two lines", journal.PriErr, fields))
	}
	sendRaw(t, "MESSAGE=repeated\nSAME=1\nSAME=2\nSAME=1\nBOTH=text\nBOTH\n\x01\x00\x00\x00\x00\x00\x00\x00\xff\n")
	sendRaw(t, "PRIORITY=6\n") // no message
	write(t, 0, 1)

	f := follow(t, FollowOptions{})
	var export, lines []byte
	for {
		entry := next(t, f)
		if entry.Realtime.IsZero() || entry.Monotonic == 0 || !isID(entry.BootID) {
			t.Errorf("incomplete address: %v", entry)
		}
		export, lines = entry.AppendExport(export), entry.AppendJSON(lines)
		if entry.Get("NUMBER") == "0" {
			break
		}
	}
	want := withoutSeqnum(journalctl(t, "--output=export", "--all"))
	compareEntries(t, export, want)
	compareJSON(t, lines, journalctl(t, "--output=json", "--all"))
	if f.Lost() != 0 {
		t.Errorf("%d lost", f.Lost())
	}
}

// sendRaw sends a datagram of the native protocol.
func sendRaw(t *testing.T, text string) {
	t.Helper()
	c, err := net.Dial("unixgram", "/run/systemd/journal/socket")
	must(t, err)
	defer c.Close()
	_, err = c.Write([]byte(text))
	must(t, err)
}

// withoutSeqnum leaves out what systemd 254 and newer add to the format.
func withoutSeqnum(export []byte) []byte {
	var out []byte
	for line := range bytes.Lines(export) {
		if !bytes.HasPrefix(line, []byte("__SEQNUM")) {
			out = append(out, line...)
		}
	}
	return out
}

func compareEntries(t *testing.T, got, want []byte) {
	t.Helper()
	if bytes.Equal(got, want) {
		return
	}
	a, b := bufio.NewReader(bytes.NewReader(got)), bufio.NewReader(bytes.NewReader(want))
	for n := 1; ; n++ {
		x, errX := a.ReadString('\n')
		y, errY := b.ReadString('\n')
		if x != y || errX != nil || errY != nil {
			t.Fatalf("line %d differs: %.200q, journalctl has %.200q", n, x, y)
		}
	}
}

// All that was written before comes first, then what is written meanwhile.
func TestFollowWholeBoot(t *testing.T) {
	if !journaltest.Own(t, "") {
		return
	}
	write(t, 0, 100)
	f := follow(t, FollowOptions{})
	expect(t, f, 0, 99)
	if !Available("/") {
		t.Error("journal not available")
	}
	write(t, 100, 100)
	middle := expect(t, f, 100, 149)
	last := expect(t, f, 150, 199)

	expect(t, follow(t, FollowOptions{After: middle.Cursor}), 150, 199)
	after := follow(t, FollowOptions{After: last.Cursor})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if entry, err := after.Next(ctx); err != context.DeadlineExceeded {
		t.Errorf("after the last entry: %v, %v", entry, err)
	}
	write(t, 200, 1)
	expect(t, after, 200, 200)
	directories, err := filepath.Glob("/run/log/journal/*")
	must(t, err)
	expect(t, follow(t, FollowOptions{Directory: directories[0]}), 0, 200)
	if f.Lost() != 0 || after.Lost() != 0 {
		t.Errorf("lost %d, %d", f.Lost(), after.Lost())
	}
	after.Close()
	if _, err := after.Next(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestFollowOtherBoot(t *testing.T) {
	if !journaltest.Own(t, "") {
		return
	}
	write(t, 0, 1)
	f := follow(t, FollowOptions{Boot: strings.Repeat("a", 32)})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if entry, err := f.Next(ctx); err != context.DeadlineExceeded {
		t.Errorf("%v, %v", entry, err)
	}
}

// Files are rotated under the reader's hands.
func TestFollowRotation(t *testing.T) {
	if !journaltest.Own(t, "RuntimeMaxFileSize=1M\nRuntimeMaxUse=64M\n") {
		return
	}
	f := follow(t, FollowOptions{})
	go write(t, 0, 10000)
	expect(t, f, 0, 9999)
	files, err := filepath.Glob("/run/log/journal/*/*")
	must(t, err)
	if len(files) < 4 || f.Lost() != 0 {
		t.Errorf("%d files, %d lost", len(files), f.Lost())
	}
}

// What was vacuumed away is counted: before the first entry, after a cursor, and
// while the reader is busy elsewhere.
func TestFollowVacuum(t *testing.T) {
	if !journaltest.Own(t, "RuntimeMaxFileSize=512K\nRuntimeMaxUse=2M\n") {
		return
	}
	write(t, 0, 10)
	early := follow(t, FollowOptions{})
	cursor := expect(t, early, 0, 9).Cursor
	early.Close()
	write(t, 10, 20000)
	barrier(t)

	fresh := follow(t, FollowOptions{})
	first := next(t, fresh)
	if seq := seqnum(t, first); fresh.Lost() != seq-1 || seq == 1 {
		t.Errorf("first entry has number %d, %d lost", seq, fresh.Lost())
	}
	late := follow(t, FollowOptions{After: cursor})
	again := next(t, late)
	if again.Cursor != first.Cursor {
		t.Errorf("after a vacuumed entry: %s, want the oldest, %s", again.Cursor, first.Cursor)
	}
	if want := seqnum(t, again) - seqnum(t, Entry{Cursor: cursor}) - 1; late.Lost() != want {
		t.Errorf("%d lost, want %d", late.Lost(), want)
	}
}

func seqnum(t *testing.T, entry Entry) uint64 {
	t.Helper()
	p, err := ParseCursor(entry.Cursor)
	must(t, err)
	return p.Seqnum
}

// barrier waits until journald has written what was sent.
func barrier(t *testing.T) {
	t.Helper()
	must(t, journal.Send("barrier", journal.PriInfo, map[string]string{"BARRIER": t.Name()}))
	eventually(t, "the journal", func() bool {
		return len(journalctl(t, "--output=cat", "BARRIER="+t.Name())) > 0
	})
}

// childPid is the journalctl that runs, 0 when none does.
func (f *Follower) childPid() int {
	children, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		return 0
	}
	for _, path := range children {
		line, err := os.ReadFile(path)
		if err == nil && bytes.HasPrefix(line, []byte(f.options.Binary+"\x00--output=export")) {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			return pid
		}
	}
	return 0
}

// journalctl is killed again and again: nothing is lost, nothing comes twice.
func TestFollowKill(t *testing.T) {
	if !journaltest.Own(t, "") {
		return
	}
	f := follow(t, FollowOptions{})
	done := make(chan bool)
	go func() {
		defer close(done)
		for n := 0; n < 5000; n += 500 {
			write(t, n, 500)
			if pid := f.childPid(); pid > 0 {
				syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}()
	expect(t, f, 0, 2499)
	<-done
	expect(t, f, 2500, 4999)
	if f.Lost() != 0 {
		t.Errorf("%d lost", f.Lost())
	}
	f.Close()
	if pid := f.childPid(); pid != 0 {
		t.Errorf("process %d is left", pid)
	}
}

// A journalctl that hangs is replaced.
func TestFollowHang(t *testing.T) {
	if !journaltest.Own(t, "") {
		return
	}
	write(t, 0, 1)
	f := follow(t, FollowOptions{})
	f.stall = 300 * time.Millisecond
	expect(t, f, 0, 0)
	must(t, syscall.Kill(f.childPid(), syscall.SIGSTOP))
	time.AfterFunc(400*time.Millisecond, func() { write(t, 1, 1) })
	expect(t, f, 1, 1)
}

// A journal that is not there yet is waited for.
func TestFollowNoJournal(t *testing.T) {
	if !journaltest.Own(t, "") {
		return
	}
	dir := t.TempDir()
	f := follow(t, FollowOptions{Directory: dir})
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	if entry, err := f.Next(ctx); err != context.DeadlineExceeded {
		t.Errorf("%v, %v", entry, err)
	}
	write(t, 0, 3)
	barrier(t)
	files, err := filepath.Glob("/run/log/journal/*/system.journal")
	must(t, err)
	data, err := os.ReadFile(files[0])
	must(t, err)
	must(t, os.WriteFile(dir+"/new", data, 0o600))
	must(t, os.Rename(dir+"/new", dir+"/system.journal"))
	expect(t, f, 0, 2)
}

// The end of the process is the end of journalctl, even if it is killed. Not in
// a namespace of processes, whose end would be the end of all anyway.
func TestChildDies(t *testing.T) {
	if os.Getenv("TEST_CHILD") != "" {
		c, err := start(t.Context(), "/bin/sleep", []string{"600"})
		must(t, err)
		_ = c
		pids, err := os.ReadFile(fmt.Sprintf("/proc/self/task/%d/children", os.Getpid()))
		must(t, err)
		threads, err := filepath.Glob("/proc/self/task/*/children")
		must(t, err)
		for _, thread := range threads {
			if pids, err = os.ReadFile(thread); err == nil && len(pids) > 0 {
				break
			}
		}
		fmt.Printf("child %s\n", pids)
		select {}
	}
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^TestChildDies$")
	cmd.Env = append(os.Environ(), "TEST_CHILD=1")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	var pid int
	_, err = fmt.Fscanf(out, "child %d", &pid)
	must(t, err)
	cmd.Process.Kill()
	io.Copy(io.Discard, out)
	cmd.Wait()
	eventually(t, "the end of the child", func() bool {
		state, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		return err != nil || strings.Contains(string(state), ") Z ")
	})
}
