package journal

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
)

// script makes a journalctl that does what no real one does at command. Beside
// it is the file "runs", with a line for each time it was run.
func script(t *testing.T, text string) (binary string) {
	t.Helper()
	binary = filepath.Join(t.TempDir(), "journalctl")
	text = "#!/bin/sh\nPATH=/bin:/usr/bin\necho \"$*\" >>" + filepath.Dir(binary) + "/runs\n" + text
	must(t, os.WriteFile(binary, []byte(text), 0o755))
	return binary
}

func runs(t *testing.T, binary string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(filepath.Dir(binary), "runs"))
	must(t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// safeBuffer is a log that may be read while it is written.
type safeBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

func position(seqnum uint64) Position {
	return Position{SeqnumID: strings.Repeat("a", 32), Seqnum: seqnum, BootID: strings.Repeat("b", 32),
		Monotonic: time.Second, Realtime: time.UnixMicro(1), Hash: seqnum}
}

func export(from, to uint64) string {
	var text []byte
	for n := from; n <= to; n++ {
		text = Entry{Cursor: position(n).String(), Fields: []Field{{"NUMBER", fmt.Append(nil, n)}}}.AppendExport(text)
	}
	return string(text)
}

// A journalctl that fails is tried again, at longer and longer intervals, and
// the log says so once, in few words.
func TestFollowFails(t *testing.T) {
	binary := script(t, `head -c 100000 /dev/zero | tr '\0' x >&2; echo "no permission" >&2; exit 3`)
	log, text := logrus.New(), &safeBuffer{}
	log.SetOutput(text)
	f := follow(t, FollowOptions{Binary: binary, Log: log})
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if entry, err := f.Next(ctx); err != context.DeadlineExceeded {
		t.Errorf("%v, %v", entry, err)
	}
	f.Close()
	if n := len(runs(t, binary)); n < 2 || n > 5 {
		t.Errorf("ran %d times in a second", n)
	}
	if got := text.String(); strings.Count(got, "\n") != 1 || len(got) > 1000 ||
		!strings.Contains(got, "exit status 3") || !strings.Contains(got, "no permission") {
		t.Errorf("log: %s", got)
	}
}

// It goes on after the last whole entry, and repeats none.
func TestFollowResumes(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/first", []byte(export(1, 3)+"__CURSOR=half"), 0o600))
	must(t, os.WriteFile(dir+"/second", []byte(export(3, 5)+"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xff"), 0o600))
	must(t, os.WriteFile(dir+"/third", []byte(export(5, 6)), 0o600))
	binary := script(t, `case "$*" in
		*"i=3;"*) cat `+dir+`/second; sleep 100;;
		*"i=5;"*) cat `+dir+`/third; sleep 100;;
		*) cat `+dir+`/first;;
	esac`)
	log, text := logrus.New(), &safeBuffer{}
	log.SetOutput(text)
	f := follow(t, FollowOptions{Binary: binary, Log: log, Boot: position(1).BootID})
	expect(t, f, 1, 6)
	if f.Lost() != 0 {
		t.Errorf("%d lost", f.Lost())
	}
	if got := text.String(); strings.Count(got, "journalctl ended") != 2 || strings.Count(got, "journalctl is back") != 2 ||
		!strings.Contains(got, "malformed") {
		t.Errorf("log: %s", got)
	}
}

// What it cannot read is leapt over, in longer and longer leaps, and counted.
func TestFollowUnreadable(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/first", []byte(export(1, 3)), 0o600))
	must(t, os.WriteFile(dir+"/second", []byte(export(9, 10)), 0o600))
	binary := script(t, `case "$*" in
		*--cursor=*"i=3;"*|*"i=5;"*|*"i=6;"*) echo "Failed to iterate through journal: Bad message" >&2; exit 1;;
		*--cursor=*) cat `+dir+`/second; sleep 100;;
		*) cat `+dir+`/first;;
	esac`)
	f := follow(t, FollowOptions{Binary: binary, Boot: position(1).BootID})
	expect(t, f, 1, 3)
	expect(t, f, 9, 10)
	if f.Lost() != 5 {
		t.Errorf("%d lost, want 5", f.Lost())
	}
	ran := runs(t, binary)
	if last := ran[len(ran)-1]; !strings.Contains(last, "i=8;") || len(ran) != 6 {
		t.Errorf("%d runs, last %s", len(ran), last)
	}
}

// A cursor of another boot says nothing about this one.
func TestFollowForeignCursor(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(dir+"/all", []byte(export(100, 101)), 0o600))
	binary := script(t, `cat `+dir+`/all; sleep 100`)
	after := position(5)
	after.BootID = strings.Repeat("c", 32)
	f := follow(t, FollowOptions{Binary: binary, Directory: dir, After: after.String(), Boot: position(1).BootID})
	expect(t, f, 100, 101)
	if got := runs(t, binary); f.Lost() != 0 || strings.Contains(got[0], "--cursor") {
		t.Errorf("%d lost, ran %s", f.Lost(), got)
	}
}

func TestFollowOptions(t *testing.T) {
	for name, options := range map[string]FollowOptions{
		"cursor": {After: "x"},
		"boot":   {Boot: "today"},
		"binary": {Binary: "/no/such/journalctl"},
	} {
		if f, err := Follow(t.Context(), options); err == nil {
			f.Close()
			t.Errorf("%s: no error", name)
		}
	}
}

// Close ends a journalctl that does not want to end, and its children.
func TestFollowClose(t *testing.T) {
	binary := script(t, `trap "" TERM INT HUP; while :; do sleep 100; done`)
	f := follow(t, FollowOptions{Binary: binary})
	eventually(t, "the start", func() bool {
		_, err := os.Stat(filepath.Join(filepath.Dir(binary), "runs"))
		return err == nil
	})
	began := time.Now()
	f.Close()
	if took := time.Since(began); took > time.Second {
		t.Errorf("took %v", took)
	}
	f.Close()
}
