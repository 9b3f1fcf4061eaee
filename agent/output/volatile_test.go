package output

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/mounts"
)

// tmpfs is a folder of its own in memory.
func tmpfs(t *testing.T) string {
	t.Helper()
	for _, base := range []string{"/dev/shm", "/run"} {
		if !inMemory(t, base) {
			continue
		}
		if dir, err := os.MkdirTemp(base, "bootagent-test-"); err == nil {
			t.Cleanup(func() { _ = os.RemoveAll(dir) })
			return dir
		}
	}
	t.Skip("no tmpfs to write to")
	return ""
}

// inMemory asks the mount table, which Volatile does not.
func inMemory(t *testing.T, folder string) bool {
	t.Helper()
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	table, err := mounts.Parse(file)
	if err != nil {
		t.Fatal(err)
	}
	m, ok := table.At(folder)
	return ok && m.Volatile()
}

func TestVolatile(t *testing.T) {
	memory, disk := tmpfs(t), t.TempDir()
	if inMemory(t, disk) || inMemory(t, "/") {
		t.Skip("there is no disk here")
	}
	file := filepath.Join(memory, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	toDisk := filepath.Join(memory, "link")
	if err := os.Symlink(disk, toDisk); err != nil {
		t.Fatal(err)
	}
	for folder, volatile := range map[string]bool{
		memory: true, memory + "/a": true, memory + "/a/b/c": true,
		disk: false, disk + "/a": false, disk + "/a/b": false, toDisk: false, toDisk + "/a": false,
		"/": false, "/nope": false, file + "/a": false, "/proc": false, "/proc/self/nope": false,
	} {
		err := Volatile(folder)
		if (err == nil) != volatile {
			t.Errorf("%s: %v", folder, err)
		}
		if err != nil && !strings.HasPrefix(err.Error(), folder) {
			t.Errorf("%s is not named by: %v", folder, err)
		}
	}
}

func TestFilesystem(t *testing.T) {
	for magic, want := range map[int64]string{
		0xef53: "ext4", 0x58465342: "xfs", 0x9123683e: "btrfs", 0x794c7630: "overlayfs", 0x73717368: "squashfs", 0x9fa0: "file system type 0x9fa0",
	} {
		if got := filesystem(magic); got != want {
			t.Errorf("%#x: %s, want %s", magic, got, want)
		}
	}
}
