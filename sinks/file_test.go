package sinks

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/bootagent/bootagent/systemd/journal"
)

// lines is the JSON of a batch.
func lines(batch []journal.Entry) string {
	var text []byte
	for _, entry := range batch {
		text = entry.AppendJSON(text)
	}
	return string(text)
}

func content(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.json")
	sink, batch := &File{Path: path}, testBatch()
	for _, part := range [][]journal.Entry{batch[:2], batch[2:]} {
		if err := sink.Send(t.Context(), part); err != nil {
			t.Fatal(err)
		}
	}
	if got := content(t, path); got != lines(batch) {
		t.Errorf("got %s", got)
	}
	for line := range strings.Lines(content(t, path)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry["__CURSOR"] == nil {
			t.Errorf("%s: %v", line, err)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// A line that a crash cut short does not spoil the next one.
func TestFileIncompleteLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.json")
	sink, batch := &File{Path: path}, testBatch()
	for _, before := range []string{"", `{"MESSAGE":"whole"}` + "\n"} {
		for _, partial := range []string{"", "{", `{"MESSAGE":"` + strings.Repeat("x", 10000)} {
			if err := os.WriteFile(path, []byte(before+partial), 0o640); err != nil {
				t.Fatal(err)
			}
			if err := sink.Send(t.Context(), batch); err != nil {
				t.Fatal(err)
			}
			if got := content(t, path); got != before+lines(batch) {
				t.Errorf("after %q %.20q: %.200q", before, partial, got)
			}
		}
	}
}

// What is no file of JSON lines is left alone.
func TestFileForeign(t *testing.T) {
	dir := t.TempDir()
	name := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(name("hosts"), []byte("first\nsecond"), 0o644))
	must(os.Symlink("hosts", name("link")))
	must(syscall.Mkfifo(name("fifo"), 0o600))
	for _, test := range []string{"hosts", "link", "fifo", ".", "no/folder"} {
		if err := (&File{Path: name(test)}).Send(t.Context(), testBatch()); err == nil || errors.Is(err, ErrRejected) {
			t.Errorf("%s: %v", test, err)
		}
	}
	if got := content(t, name("hosts")); got != "first\nsecond" {
		t.Errorf("got %q", got)
	}
}

// On a full disk a batch is written as a whole or not at all.
func TestFileFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=16k"); err != nil {
		t.Skipf("needs to mount a small tmpfs: %v", err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	path := filepath.Join(dir, "log.json")
	sink, batch := &File{Path: path}, testBatch()
	want := ""
	for {
		err := sink.Send(t.Context(), batch)
		if err == nil && len(want) < 32<<10 {
			want += lines(batch)
			continue
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("got %v, want %v", err, syscall.ENOSPC)
		}
		break
	}
	if got := content(t, path); got != want {
		t.Errorf("%d bytes, want %d", len(got), len(want))
	}
}
