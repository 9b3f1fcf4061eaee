package rig

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// makeDeadline is for the slowest of all: a program built on a busy machine.
const makeDeadline = 15 * time.Minute

// cached returns a file of the cache, after making it if it is not there.
// Kind is the first part of its name, key the rest. One of a kind is made at
// a time, also by several test binaries.
func cached(t testing.TB, kind, key string, make func(ctx context.Context, path string) error) string {
	t.Helper()
	dir := cacheDir(t)
	lock, err := os.Create(filepath.Join(dir, kind+".lock"))
	must(t, err)
	defer lock.Close() // unlocks
	must(t, unix.Flock(int(lock.Fd()), unix.LOCK_EX))
	path := filepath.Join(dir, kind+"-"+key)
	if now := time.Now(); os.Chtimes(path, now, now) == nil {
		return path
	}
	began := time.Now()
	unfinished := filepath.Join(dir, kind+".unfinished")
	must(t, os.RemoveAll(unfinished))
	ctx, cancel := context.WithTimeout(context.Background(), makeDeadline)
	defer cancel()
	must(t, make(ctx, unfinished))
	must(t, os.Rename(unfinished, path))
	t.Logf("rig: made %s in %.1fs", path, time.Since(began).Seconds())
	must(t, prune(dir, kind))
	return path
}

// cacheDir is where things are kept that took long to make.
func cacheDir(t testing.TB) string {
	t.Helper()
	cache, err := os.UserCacheDir()
	must(t, err)
	dir := filepath.Join(cache, "bootagent-test")
	must(t, os.MkdirAll(dir, 0o700))
	return dir
}

// prune removes all of a kind but those used last. An image that is mounted
// may be removed: it stays until it is unmounted.
func prune(dir, kind string) error {
	const kept = 16
	files, err := filepath.Glob(filepath.Join(dir, kind+"-*"))
	if err != nil || len(files) <= kept {
		return err
	}
	used := map[string]time.Time{}
	for _, file := range files {
		if info, err := os.Stat(file); err == nil {
			used[file] = info.ModTime()
		}
	}
	slices.SortFunc(files, func(a, b string) int {
		if c := used[b].Compare(used[a]); c != 0 {
			return c
		}
		return strings.Compare(a, b)
	})
	for _, file := range files[kept:] {
		if err := os.Remove(file); err != nil {
			return err
		}
	}
	return nil
}
