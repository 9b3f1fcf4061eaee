package rig

import (
	"archive/tar"
	"bufio"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestIsPID1(t *testing.T) {
	for status, want := range map[string]bool{
		"Name:\tsystemd\nNSpid:\t24628\t7\t1\nNSsid:\t1\n":   true,
		"Name:\tsystemd\nNSpid:\t24628\t17\n":                false, // another one of the container
		"Name:\tsystemd-nspawn\nNSpid:\t24623\t1\nX:\t1 1\n": false,
		"Name:\tx\nNSpid:\t5\t4\t3\t1\n":                     false, // of a container in the container
		"":                                                   false,
	} {
		if got := isPID1(status); got != want {
			t.Errorf("%q: got %v", status, got)
		}
	}
}

func TestArchive(t *testing.T) {
	packed, err := archive(map[string]File{
		"/etc/b": {Content: "text", Mode: 0o600},
		"/etc/a": {},
		"/dir":   {Mode: fs.ModeDir},
		"/link":  {Mode: fs.ModeSymlink, Content: "etc/b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for reader := tar.NewReader(bytes.NewReader(packed)); ; {
		header, err := reader.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		var content strings.Builder
		io.Copy(&content, reader)
		got = append(got, fmt.Sprintf("%c %s %o %s%s", header.Typeflag, header.Name, header.Mode, header.Linkname, content.String()))
	}
	want := "5 dir 755 |0 etc/a 644 |0 etc/b 600 text|2 link 644 etc/b"
	if strings.Join(got, "|") != want {
		t.Errorf("got %q, want %q", strings.Join(got, "|"), want)
	}
	for _, path := range []string{"etc/x", "/etc/../x", "/etc/x/", ""} {
		if _, err := archive(map[string]File{path: {}}); err == nil {
			t.Errorf("path %q: no error", path)
		}
	}
	if _, err := archive(map[string]File{"/pipe": {Mode: fs.ModeNamedPipe}}); err == nil {
		t.Error("pipe: no error")
	}
}

// Whatever changes what is packed changes the key; how it is booted does not.
func TestImageKey(t *testing.T) {
	deb := filepath.Join(t.TempDir(), "a.deb")
	if err := os.WriteFile(deb, []byte("package"), 0o600); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for number, image := range []Image{
		{},
		{Debs: []string{deb}},
		{Files: map[string]File{"/a": {}}},
		{Files: map[string]File{"/a": {Mode: 0o600}}},
		{Files: map[string]File{"/a": {Owner: "nobody"}}},
		{Files: map[string]File{"/a": {Content: "text"}}},
		{Enable: []string{"a", "b"}},
		{Enable: []string{"ab"}},
	} {
		key, err := image.key("base")
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[key]; ok {
			t.Errorf("images %d and %d have one key", other, number)
		}
		seen[key] = number
		image.Words, image.Root, image.Hostname = []string{"word"}, Writable, "other"
		if again, _ := image.key("base"); again != key {
			t.Errorf("image %d: booted differently, packed again", number)
		}
	}
	if _, err := (Image{Debs: []string{deb + ".missing"}}).key("base"); err == nil {
		t.Error("missing package: no error")
	}
}

func TestFieldValue(t *testing.T) {
	for raw, want := range map[string]string{
		`"text"`:           "text",
		`[97,0,98]`:        "a\x00b",
		`["first","more"]`: "first",
		`[[97,1],"more"]`:  "a\x01",
	} {
		if got, err := fieldValue([]byte(raw)); err != nil || got != want {
			t.Errorf("%s: got %q, %v", raw, got, err)
		}
	}
	if _, err := fieldValue([]byte(`{"a":1}`)); err == nil {
		t.Error("object: no error")
	}
}

func TestPruneKeepsTheLastUsed(t *testing.T) {
	dir := t.TempDir()
	now := time.Now()
	for age := range 20 {
		path := filepath.Join(dir, fmt.Sprintf("image-%d", age))
		used := now.Add(-time.Duration(age) * time.Hour)
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, used, used); err != nil {
			t.Fatal(err)
		}
	}
	if err := prune(dir, "image"); err != nil {
		t.Fatal(err)
	}
	left, _ := filepath.Glob(filepath.Join(dir, "image-*"))
	_, err := os.Stat(filepath.Join(dir, "image-15"))
	if len(left) != 16 || err != nil {
		t.Errorf("left: %v", left)
	}
}

func TestBound(t *testing.T) {
	text := bound(append(bytes.Repeat([]byte("x"), 1<<20), "end\n"...))
	if len(text) > 33<<10 || !strings.HasPrefix(text, "[…]") || !strings.HasSuffix(text, "end") {
		t.Errorf("%d bytes: %.20q…", len(text), text)
	}
}

// failing is a test that has failed; it keeps what is logged, and its
// cleanups until end.
type failing struct {
	testing.TB
	logged   strings.Builder
	cleanups []func()
}

func (f *failing) Failed() bool                    { return true }
func (f *failing) Logf(format string, args ...any) { fmt.Fprintf(&f.logged, format+"\n", args...) }
func (f *failing) Cleanup(cleanup func())          { f.cleanups = append(f.cleanups, cleanup) }

func (f *failing) end() {
	for i := len(f.cleanups) - 1; i >= 0; i-- {
		f.cleanups[i]()
	}
}

func TestFailedTestLogsTheJournal(t *testing.T) {
	t.Parallel()
	Need(t)
	for name, meanwhile := range map[string]func(*Node){
		"running": func(*Node) {},
		"stopped": (*Node).Stop,
		"killed":  (*Node).Kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test := &failing{TB: t}
			node := Boot(test, Image{})
			pid := node.pid1()
			meanwhile(node)
			test.end()
			if !strings.Contains(test.logged.String(), "multi-user.target") {
				t.Errorf("logged: %s", test.logged.String())
			}
			if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
				t.Errorf("PID 1 after the test: %v", err)
			}
		})
	}
}

// The test binary is killed in the middle of a test: its node goes with it,
// and what is left goes with the next test.
func TestKilledTest(t *testing.T) {
	Need(t)
	if os.Getenv("BOOTAGENT_RIG_VICTIM") == "1" {
		node := Boot(t, Image{})
		fmt.Printf("\nnode %d\n", node.pid1())
		io.Copy(io.Discard, os.Stdin) // until killed
		return
	}
	t.Parallel()
	victim := exec.Command(os.Args[0], "-test.run=^TestKilledTest$", "-test.timeout=2m")
	victim.Env = append(os.Environ(), "BOOTAGENT_RIG_VICTIM=1")
	stdin, err := victim.StdinPipe()
	must(t, err)
	defer stdin.Close()
	stdout, err := victim.StdoutPipe()
	must(t, err)
	must(t, victim.Start())
	var node int
	for lines := bufio.NewScanner(stdout); node == 0 && lines.Scan(); {
		fmt.Sscanf(lines.Text(), "node %d", &node)
	}
	must(t, victim.Process.Kill())
	victim.Wait()
	if node == 0 {
		t.Fatal("no node")
	}
	Eventually(t, 10*time.Second, "end of the node", func() bool { return syscall.Kill(node, 0) == syscall.ESRCH })
	Eventually(t, 10*time.Second, "end of its cgroups", func() bool {
		var left []string
		for _, root := range cgroupRoots() {
			removeAbandoned(root)
			dirs, _ := filepath.Glob(fmt.Sprintf("%s/rig-%d-*", root, victim.Process.Pid))
			left = append(left, dirs...)
		}
		return len(left) == 0
	})
}
