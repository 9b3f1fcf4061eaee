package files

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
)

func folder(t *testing.T) (*os.Root, string) {
	t.Helper()
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = root.Close() })
	return root, dir
}

func TestReplaceAndRead(t *testing.T) {
	root, dir := folder(t)
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	for _, content := range []string{"one", "", strings.Repeat("x", 1000)} {
		if err := Replace(root, "f", []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		got, err := Read(root, "f", 1000)
		if err != nil || string(got) != content {
			t.Errorf("read %q, %v", got, err)
		}
	}
	info, err := os.Stat(filepath.Join(dir, "f"))
	if err != nil || info.Mode() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	if _, err := Read(root, "f", 999); err == nil || err.Error() != "larger than 999 bytes" {
		t.Errorf("too large: %v", err)
	}
	entries, _ := os.ReadDir(dir)
	if len(entries) != 1 {
		t.Errorf("left behind: %v", entries)
	}
}

func TestReadRefuses(t *testing.T) {
	root, dir := folder(t)
	for _, make := range []error{
		os.WriteFile(filepath.Join(dir, "file"), []byte("x"), 0o600),
		os.Symlink("file", filepath.Join(dir, "link")),
		os.Symlink("/etc/hostname", filepath.Join(dir, "out")),
		os.Mkdir(filepath.Join(dir, "folder"), 0o700),
		syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600),
	} {
		if make != nil {
			t.Fatal(make)
		}
	}
	for _, name := range []string{"link", "out", "folder", "pipe"} {
		if content, err := Read(root, name, 100); !errors.Is(err, ErrNotRegular) || content != nil {
			t.Errorf("%s: %q, %v", name, content, err)
		}
	}
	if _, err := Read(root, "none", 100); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("none: %v", err)
	}
	if _, err := Read(root, "../etc/passwd", 100); err == nil {
		t.Error("a name out of the folder was read")
	}
}

// A link under the name, or where the file grows, is replaced, never followed.
func TestReplaceFollowsNoLink(t *testing.T) {
	root, dir := folder(t)
	outside := filepath.Join(t.TempDir(), "outside")
	if err := os.WriteFile(outside, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"f", Fresh("f")} {
		if err := os.Symlink(outside, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := Replace(root, "f", []byte("new"), 0o600); err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(outside)
	if err != nil || string(content) != "mine" {
		t.Errorf("outside is %q, %v", content, err)
	}
	if got, err := Read(root, "f", 100); err != nil || string(got) != "new" {
		t.Errorf("read %q, %v", got, err)
	}
}

func TestReplaceFails(t *testing.T) {
	root, dir := folder(t)
	if err := os.MkdirAll(filepath.Join(dir, "folder", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Replace(root, "folder", []byte("x"), 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	if _, err := os.Lstat(filepath.Join(dir, Fresh("folder"))); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
}

// Whoever reads sees one content or the other.
func TestReplaceIsAtomic(t *testing.T) {
	root, _ := folder(t)
	contents := [2]string{strings.Repeat("a", 5000), strings.Repeat("b", 9000)}
	if err := Replace(root, "f", []byte(contents[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	var writer sync.WaitGroup
	writer.Go(func() {
		for i := range 500 {
			if err := Replace(root, "f", []byte(contents[i%2]), 0o600); err != nil {
				t.Error(err)
				return
			}
		}
	})
	for range 500 {
		got, err := Read(root, "f", 10_000)
		if err != nil || string(got) != contents[0] && string(got) != contents[1] {
			t.Fatalf("read %d bytes, %v", len(got), err)
		}
	}
	writer.Wait()
}
