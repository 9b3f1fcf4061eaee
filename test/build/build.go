// Package build makes the agent's program and its package for tests, as they
// are made for users. What is done with them is the tests' business; where
// nodes and servers come from is that of package rig.
package build

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// Cache keeps what was built, so that it is built once for all tests that ask
// for the same. Its zero value is ready for use; several tests may use it at
// the same time.
type Cache struct {
	mu   sync.Mutex
	made map[string]string
}

// Binary is the path of the program, built as it is shipped but for the tags.
func (c *Cache) Binary(t testing.TB, tags string) string {
	t.Helper()
	return c.get(t, "bootagent"+tags, func(path string) {
		run(t, nil, "go", "build", "-trimpath", "-tags", tags, "-ldflags", "-s -w -X main.version=1.0.0", "-o", path, "./cmd/bootagent")
	})
}

// Deb is the path of a package of that version, with the program of those tags.
func (c *Cache) Deb(t testing.TB, version, tags string) string {
	t.Helper()
	program := c.Binary(t, tags)
	return c.get(t, "bootagent"+tags+version+".deb", func(path string) {
		run(t, []string{"ARCH=" + runtime.GOARCH, "VERSION=" + version, "BINARY=" + program, "SOURCE_DATE_EPOCH=1767225600"},
			"go", "tool", "-modfile=packaging/tools.mod", "nfpm", "package", "-p", "deb", "-t", path)
	})
}

// Remove removes everything that was built.
func (c *Cache) Remove() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, path := range c.made {
		_ = os.RemoveAll(filepath.Dir(path))
	}
	c.made = nil
}

// get returns what was made under that name, and makes it first if need be.
func (c *Cache) get(t testing.TB, name string, build func(path string)) string {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if path := c.made[name]; path != "" {
		return path
	}
	dir, err := os.MkdirTemp("", "bootagent-build-")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, name)
	build(path)
	if c.made == nil {
		c.made = map[string]string{}
	}
	c.made[name] = path
	return path
}

// run runs a program in the repository's root, which is two folders above
// every test of this tree.
func run(t testing.TB, env []string, name string, args ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "../.."
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0"), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", name, err, out)
	}
}
