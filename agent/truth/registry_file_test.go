package truth

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// helperDirectory tells a child of this test to be an agent on that inventory.
const helperDirectory = "TRUTH_TEST_DIRECTORY"

func TestFileRegistry(t *testing.T) {
	testContract(t, func(t *testing.T) func() Registry {
		directory := filepath.Join(t.TempDir(), "inventory")
		return func() Registry { return &FileRegistry{Directory: directory} }
	})
}

func TestFileRegistryLayout(t *testing.T) {
	f := &FileRegistry{Directory: t.TempDir()}
	reg := register(t, f, testNode("i-1", "b1", "web-${ordinal}"))
	if reg.TTL != 0 || reg.Key != filepath.Join(f.Directory, "i-1.json") || f.String() != "file "+f.Directory {
		t.Errorf("registration %+v of %s", reg, f)
	}
	if data, err := os.ReadFile(filepath.Join(f.Directory, "names", "web-1")); err != nil || !strings.HasPrefix(string(data), `{"id":"i-1","boot_id":"b1",`) {
		t.Errorf("claim %s, %v", data, err)
	}
	files, err := filepath.Glob(filepath.Join(f.Directory, ".*"))
	if len(files) > 0 || err != nil {
		t.Errorf("left behind: %v, %v", files, err)
	}
}

func TestFileRegistryHealsCrash(t *testing.T) {
	crashes := map[string]func(dir string) error{
		"name without record": func(dir string) error { return os.Remove(filepath.Join(dir, "i-1.json")) },
		"record without name": func(dir string) error { return os.Remove(filepath.Join(dir, "names", "web-1")) },
		"broken record":       func(dir string) error { return os.WriteFile(filepath.Join(dir, "i-1.json"), nil, 0o644) },
		"temporary file":      func(dir string) error { return os.WriteFile(filepath.Join(dir, ".tmp-x"), nil, 0o644) },
	}
	for name, crash := range crashes {
		t.Run(name, func(t *testing.T) {
			f := &FileRegistry{Directory: t.TempDir()}
			register(t, f, testNode("i-1", "b1", "web-${ordinal}"))
			ok(t, crash(f.Directory))
			reg := register(t, f, testNode("i-1", "b1", "web-${ordinal}"))
			ok(t, reg.Renew(t.Context()))
			wantNames(t, f, "i-1=web-1")
			if _, err := os.Lstat(filepath.Join(f.Directory, ".tmp-x")); err == nil {
				t.Error("temporary file left")
			}
		})
	}
}

func TestFileRegistryLostName(t *testing.T) {
	f := &FileRegistry{Directory: t.TempDir()}
	reg := register(t, f, testNode("i-1", "b1", "web-${ordinal}"))
	ok(t, os.Remove(filepath.Join(f.Directory, "names", "web-1")))
	wantErr(t, reg.Renew(t.Context()), ErrLost)
	wantErr(t, reg.Update(t.Context(), reg.Node), ErrLost)
}

func TestFileRegistryUnreadableClaim(t *testing.T) {
	f := &FileRegistry{Directory: t.TempDir()}
	ok(t, os.Mkdir(filepath.Join(f.Directory, "names"), 0o755))
	ok(t, os.WriteFile(filepath.Join(f.Directory, "names", "web-1"), []byte("?"), 0o644))
	_, err := f.Register(t.Context(), testNode("i-1", "b1", "web-1"))
	wantErr(t, err, ErrTaken)
	if reg := register(t, f, testNode("i-1", "b1", "web-${ordinal}")); reg.Node.Ordinal != 2 {
		t.Errorf("ordinal %d, want 2", reg.Node.Ordinal)
	}
}

// TestFileRegistryClockSteps: a token grows also when the clock went back.
func TestFileRegistryClockSteps(t *testing.T) {
	f := &FileRegistry{Directory: t.TempDir()}
	ok(t, os.Mkdir(filepath.Join(f.Directory, "names"), 0o755))
	const future = 1 << 62
	ok(t, os.WriteFile(filepath.Join(f.Directory, "names", "web-1"), []byte(`{"id":"i-1","boot_id":"b1","token":4611686018427387904}`), 0o644))
	if reg := register(t, f, testNode("i-1", "b2", "web-1")); reg.Token <= future {
		t.Errorf("token %d, want more than %d", reg.Token, future)
	}
}

func TestFileRegistryFollowsNoLink(t *testing.T) {
	outside := filepath.Join(t.TempDir(), "outside")
	ok(t, os.WriteFile(outside, []byte(`{"id":"i-1"}`), 0o644))
	f := &FileRegistry{Directory: t.TempDir()}
	ok(t, os.Symlink(outside, filepath.Join(f.Directory, "i-1.json")))
	if nodes, err := f.Nodes(t.Context()); len(nodes) > 0 || err == nil || !strings.Contains(err.Error(), "i-1.json: not a regular file") {
		t.Errorf("nodes %v, %v", nodes, err)
	}
	register(t, f, testNode("i-1", "b1", "")) // replaces the link
	if data, err := os.ReadFile(outside); string(data) != `{"id":"i-1"}` || err != nil {
		t.Errorf("written through a link: %s, %v", data, err)
	}

	f = &FileRegistry{Directory: t.TempDir()}
	ok(t, os.Symlink(filepath.Dir(outside), filepath.Join(f.Directory, "names")))
	if _, err := f.Register(t.Context(), testNode("i-1", "b1", "outside")); err == nil || !strings.Contains(err.Error(), "not a directory") {
		t.Errorf("names in a link: %v", err)
	}
}

func TestFileRegistryBadRecords(t *testing.T) {
	f := &FileRegistry{Directory: t.TempDir()}
	register(t, f, testNode("i-1", "b1", ""))
	ok(t, os.WriteFile(filepath.Join(f.Directory, "a.json"), []byte(`{"id":"b"}`), 0o644))
	ok(t, unix.Mkfifo(filepath.Join(f.Directory, "p.json"), 0o644))
	ok(t, os.WriteFile(filepath.Join(f.Directory, "z.json"), make([]byte, maxRecord+1), 0o644))
	nodes, err := f.Nodes(t.Context())
	if len(nodes) != 1 || nodes[0].ID != "i-1" {
		t.Errorf("nodes %+v", nodes)
	}
	for _, want := range []string{`a.json: not a node: says it is "b"`, "p.json: not a regular file", "z.json: larger than"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want %s", err, want)
		}
	}
}

func TestFileRegistryMissing(t *testing.T) {
	f := &FileRegistry{Directory: filepath.Join(t.TempDir(), "none", "none")}
	wantNames(t, f)
	_, err := f.Register(t.Context(), testNode("i-1", "b1", ""))
	if want := "registry: file " + f.Directory + ": none: no such file or directory"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestFileRegistryLockWaits: an agent that stands still does not make others
// wait for longer than they want.
func TestFileRegistryLockWaits(t *testing.T) {
	f := &FileRegistry{Directory: t.TempDir()}
	d, err := openDirectory(f.Directory)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	unlock, err := d.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = f.Register(ctx, testNode("i-1", "b1", ""))
	wantErr(t, err, context.DeadlineExceeded)
	unlock()
	register(t, f, testNode("i-1", "b1", ""))
}

// TestFileRegistryHelper is not a test: it is the unprivileged agent of
// TestFileRegistryUnprivileged.
func TestFileRegistryHelper(t *testing.T) {
	directory := os.Getenv(helperDirectory)
	if directory == "" {
		t.Skip("runs as a child only")
	}
	f := &FileRegistry{Directory: directory}
	reg := register(t, f, testNode("i-1", "b1", "web-${ordinal}"))
	ok(t, reg.Renew(t.Context()))
	next := reg.Node
	next.State = StateDegraded
	ok(t, reg.Update(t.Context(), next))
	other := register(t, f, testNode("i-2", "b1", "web-${ordinal}"))
	ok(t, other.Release(t.Context()))
}

// TestFileRegistryUnprivileged: what root registered at boot, the owner of the
// directory adopts.
func TestFileRegistryUnprivileged(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	const nobody = 65534
	base, err := os.MkdirTemp("", "truth") // t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(base) })
	ok(t, os.Chmod(base, 0o755))
	f := &FileRegistry{Directory: filepath.Join(base, "inventory")}
	ok(t, os.Mkdir(f.Directory, 0o755))
	ok(t, os.Chown(f.Directory, nobody, nobody))
	boot := register(t, f, testNode("i-1", "b1", "web-${ordinal}"))

	self := filepath.Join(base, "test")
	program, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	ok(t, os.WriteFile(self, program, 0o755))
	child := exec.CommandContext(t.Context(), self, "-test.run=^TestFileRegistryHelper$")
	child.Dir = base
	child.Env = []string{helperDirectory + "=" + f.Directory}
	child.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	if out, err := child.CombinedOutput(); err != nil {
		t.Fatalf("unprivileged agent: %v\n%s", err, out)
	}
	nodes, err := f.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || nodes[0].State != StateDegraded || nodes[0].Name != "web-1" {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	if err := boot.Renew(t.Context()); errors.Is(err, ErrLost) {
		t.Errorf("root's view: %v", err)
	}
}
