package sinks

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/bootagent/bootagent/systemd/journal"
)

const testCursor = "s=33b2bf160c2841e8946a1df016429096;i=178;b=e0dc3894ed2041b084e41e9447002170;m=2f680ddc;t=660d344dcdd47;x=84b4152327124cf"

func TestCursorFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cursor.loki")
	if cursor, err := readCursor(path); cursor != "" || err != nil {
		t.Errorf("no file: %q, %v", cursor, err)
	}
	if cursor, err := readCursor(filepath.Join(path, "x")); cursor != "" || err != nil {
		t.Errorf("no folder: %q, %v", cursor, err)
	}
	for range 2 {
		if err := writeCursor(path, testCursor); err != nil {
			t.Fatal(err)
		}
	}
	if cursor, err := readCursor(path); cursor != testCursor || err != nil {
		t.Errorf("got %q, %v", cursor, err)
	}
	names, err := filepath.Glob(filepath.Join(filepath.Dir(path), "*"))
	hidden, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*"))
	if len(names)+len(hidden) != 1 || err != nil {
		t.Errorf("left behind: %q %q", names, hidden)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

// Nothing in the folder but a cursor file is taken for one, or waited for.
func TestCursorFileFaults(t *testing.T) {
	for name, prepare := range map[string]func(path string) error{
		"empty":      func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"garbage":    func(path string) error { return os.WriteFile(path, []byte("x=1\n"), 0o600) },
		"incomplete": func(path string) error { return os.WriteFile(path, []byte(testCursor), 0o600) },
		"two lines":  func(path string) error { return os.WriteFile(path, []byte(testCursor+"\n\n"), 0o600) },
		"large": func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat(testCursor+"\n", 100)), 0o600)
		},
		"folder": func(path string) error { return os.Mkdir(path, 0o700) },
		"fifo":   func(path string) error { return syscall.Mkfifo(path, 0o600) },
		"link": func(path string) error {
			if err := os.WriteFile(path+".target", []byte(testCursor+"\n"), 0o600); err != nil {
				return err
			}
			return os.Symlink(filepath.Base(path)+".target", path)
		},
	} {
		path := filepath.Join(t.TempDir(), "cursor.x")
		if err := prepare(path); err != nil {
			t.Fatal(err)
		}
		if cursor, err := readCursor(path); cursor != "" || err == nil {
			t.Errorf("%s: %q, %v", name, cursor, err)
		} else if slices.Contains([]string{"folder", "fifo", "link"}, name) != strings.HasSuffix(err.Error(), "not a regular file") {
			t.Errorf("%s: %v", name, err)
		}
		synctest.Test(t, func(t *testing.T) {
			ring, r := &journal.Ring{}, &receiver{}
			log, text := logged()
			run(t, &Shipper{Sink: r, Open: open(ring), CursorFile: path, Log: log})
			fill(ring, 0, 5)
			time.Sleep(time.Minute)
			fill(ring, 5, 10)
			time.Sleep(time.Minute)
			synctest.Wait()
			wantMessages(t, r, numbers(0, 10))
			if got := strings.Count(text.String(), "cursor unusable"); got != 1 {
				t.Errorf("%s: logged %d times: %s", name, got, text)
			}
			if name == "folder" {
				if got := strings.Count(text.String(), "cursor not written"); got != 1 {
					t.Errorf("%s: logged %d times: %s", name, got, text)
				}
				return
			}
			if cursor, err := readCursor(path); cursor == "" || err != nil {
				t.Errorf("%s: afterwards: %q, %v", name, cursor, err)
			}
		})
		if target, err := os.ReadFile(path + ".target"); err == nil && string(target) != testCursor+"\n" {
			t.Errorf("%s: written through: %q", name, target)
		}
	}
}

func BenchmarkWriteCursor(b *testing.B) {
	path := filepath.Join(b.TempDir(), "cursor.x")
	for b.Loop() {
		if err := writeCursor(path, testCursor); err != nil {
			b.Fatal(err)
		}
	}
}
