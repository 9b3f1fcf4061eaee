package rig

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cgroups are one node's cgroup directories: one where the machine has only
// cgroup v2, two where it is a hybrid. Two nodes must not share one, for each
// systemd believes that all of it is its own.
type cgroups []string

// nodeCgroups names those of a node, by the test's PID and a number that is
// unique in the test binary.
func nodeCgroups(number int) cgroups {
	var named cgroups
	for _, root := range cgroupRoots() {
		named = append(named, filepath.Join(root, fmt.Sprintf("rig-%d-%d", os.Getpid(), number)))
	}
	return named
}

// make makes them anew, after removing those of tests that were killed.
func (c cgroups) make() error {
	if err := c.remove(); err != nil {
		return err
	}
	for _, dir := range c {
		removeAbandoned(filepath.Dir(dir))
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
	}
	return nil
}

// cgroupRoots are the hierarchies in which systemd keeps its units.
func cgroupRoots() []string {
	const root = "/sys/fs/cgroup"
	if _, err := os.Stat(root + "/cgroup.procs"); err == nil {
		return []string{root}
	}
	return []string{root + "/systemd", root + "/unified"}
}

// removeAbandoned removes cgroups whose test is gone. What cannot be removed
// is somebody else's affair.
func removeAbandoned(root string) {
	dirs, _ := filepath.Glob(filepath.Join(root, "rig-*"))
	for _, dir := range dirs {
		pid, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), "rig-"), "-")
		number, err := strconv.Atoi(pid)
		if err == nil && errors.Is(syscall.Kill(number, 0), syscall.ESRCH) {
			removeTree(dir)
		}
	}
}

// remove removes the cgroups. Their processes have been killed, but the
// kernel may be a moment behind.
func (c cgroups) remove() error {
	for _, dir := range c {
		if !poll(5*time.Second, func() bool { return removeTree(dir) }) {
			return fmt.Errorf("cgroup %s: still busy", dir)
		}
	}
	return nil
}

// removeTree removes a tree of cgroups, leaves first: their files cannot be
// removed. It says whether the tree is gone.
func removeTree(dir string) bool {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	for _, entry := range entries {
		if entry.IsDir() {
			removeTree(filepath.Join(dir, entry.Name()))
		}
	}
	return os.Remove(dir) == nil
}
