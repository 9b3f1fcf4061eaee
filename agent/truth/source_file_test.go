package truth

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/document"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// put writes files, by their names in a folder.
func put(t *testing.T, folder string, files map[string]string) {
	t.Helper()
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// said is each layer as "SOURCE KEY=VALUE", for the one key that it has.
func said(layers []document.Layer) []string {
	var list []string
	for _, layer := range layers {
		for name, value := range layer.Env {
			list = append(list, layer.Source+" "+string(name)+"="+string(value))
		}
	}
	return list
}

// saying is a document with one key.
func saying(key, value string) string {
	return "version: 1\nenv: {" + key + ": " + value + "}\n"
}

func TestFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a-document") // of any name, when it is named
	put(t, filepath.Dir(path), map[string]string{"a-document": saying("A", "1")})
	layers, err := File{Path: path}.Fetch(t.Context())
	if diff := cmp.Diff([]string{"file " + path + " A=1"}, said(layers)); diff != "" || err != nil {
		t.Errorf("layers (-want +got): %v\n%s", err, diff)
	}
}

func TestFileFolder(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, map[string]string{
		"20.yml": saying("A", "20"), "10.yaml": saying("A", "10"), "30.json": `{"version": 1, "env": {"A": "30"}}`, "9.yaml": saying("A", "9"),
		"README": "not a document", "40.yaml~": "nor this", "50.yaml.rpmsave": "nor this", "yaml": "nor this", "60.YAML": "nor this",
	})
	if err := os.Mkdir(filepath.Join(folder, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	target := filepath.Join(t.TempDir(), "elsewhere")
	put(t, filepath.Dir(target), map[string]string{"elsewhere": saying("A", "link")})
	if err := os.Symlink(target, filepath.Join(folder, "15.yaml")); err != nil {
		t.Fatal(err)
	}
	layers, err := File{Path: folder}.Fetch(t.Context())
	var want []string
	for _, line := range []string{"10.yaml A=10", "15.yaml A=link", "20.yml A=20", "30.json A=30", "9.yaml A=9"} {
		want = append(want, "file "+folder+"/"+line)
	}
	if diff := cmp.Diff(want, said(layers)); diff != "" || err != nil {
		t.Errorf("layers (-want +got): %v\n%s", err, diff)
	}
}

// TestFileWrong makes something in a folder and names what is to be read there.
func TestFileWrong(t *testing.T) {
	mkfifo := func(t *testing.T, path string) {
		if err := unix.Mkfifo(path, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	symlink := func(t *testing.T, path string) {
		if err := os.Symlink("nowhere", path); err != nil {
			t.Fatal(err)
		}
	}
	mkdir := func(t *testing.T, path string) {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	write := func(content string) func(*testing.T, string) {
		return func(t *testing.T, path string) {
			put(t, filepath.Dir(path), map[string]string{filepath.Base(path): content})
		}
	}
	huge := func(t *testing.T, path string) { // and sparse: only what is read costs anything
		write("")(t, path)
		if err := os.Truncate(path, 1<<40); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(*testing.T, string) {}
	for name, test := range map[string]struct {
		make func(t *testing.T, path string)
		path string // that is read; empty: the folder
		want error
		text string
	}{
		"no such file":       {nothing, "x.yaml", ErrAbsent, "no document for this node (no such file)"},
		"below a file":       {write(""), "x.yaml/y.yaml", ErrFinal, "not a directory"},
		"dangling link":      {symlink, "x.yaml", ErrAbsent, "no document for this node (no such file)"},
		"empty folder":       {nothing, "", ErrAbsent, "no document for this node (no .yaml, .yml or .json in the folder)"},
		"garbage":            {write("{"), "x.yaml", ErrFinal, "DIR/x.yaml:1:1: syntax: did not find expected node content"},
		"garbage in folder":  {write("{"), "", ErrFinal, "DIR/x.yaml:1:1: syntax: did not find expected node content"},
		"empty":              {write(""), "x.yaml", ErrFinal, "DIR/x.yaml: version: 1 is wanted (is this a bootagent document?)"},
		"huge":               {huge, "x.yaml", ErrFinal, "DIR/x.yaml: larger than 8388608 bytes"},
		"fifo":               {mkfifo, "x.yaml", ErrFinal, "not a regular file"},
		"fifo in folder":     {mkfifo, "", ErrFinal, "x.yaml: not a regular file"},
		"folder in folder":   {mkdir, "", ErrFinal, "x.yaml: not a regular file"},
		"dangling in folder": {symlink, "", ErrFinal, "x.yaml: no document for this node (no such file)"},
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			test.make(t, filepath.Join(folder, "x.yaml"))
			ended := make(chan error, 1)
			go func() {
				_, err := File{Path: filepath.Join(folder, test.path)}.Fetch(context.Background())
				ended <- err
			}()
			select {
			case err := <-ended:
				if !errors.Is(err, test.want) || errors.Is(err, ErrFinal) && errors.Is(err, ErrAbsent) {
					t.Errorf("error %v is not %v", err, test.want)
				}
				if got := strings.ReplaceAll(err.Error(), folder, "DIR"); got != test.text {
					t.Errorf("error %s\nwant  %s", got, test.text)
				}
			case <-time.After(10 * time.Second):
				t.Error("still reading")
			}
		})
	}
}

// TestFileUnreadable reads as somebody who is not root. Which file it was, the
// error has to say: the source's name does not.
func TestFileUnreadable(t *testing.T) {
	folder := t.TempDir()
	put(t, folder, map[string]string{"10.yaml": saying("A", "1"), "20.yaml": saying("A", "2")})
	path := filepath.Join(folder, "20.yaml")
	if err := errors.Join(os.Chmod(path, 0), os.Chmod(filepath.Dir(folder), 0o755)); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		runtime.LockOSThread() // of which only this test is not root
		defer runtime.UnlockOSThread()
		_, _ = unix.SetfsuidRetUid(65534)
		defer func() { _, _ = unix.SetfsuidRetUid(0) }()
	}
	layers, err := File{Path: folder}.read() // on this thread
	if layers != nil || !errors.Is(err, ErrFinal) || err.Error() != "20.yaml: permission denied" {
		t.Errorf("layers %v, error %v", layers, err)
	}
}
