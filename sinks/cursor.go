package sinks

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/bootagent/bootagent/systemd/journal"
)

// cursorSize bounds a cursor file.
const cursorSize = 512

// readCursor reads a cursor file; "" when there is none. The folder is the
// agent's own, but what was left in it is not trusted: only a regular file that
// is not a link, of a bounded size, with a well-formed cursor in it.
func readCursor(path string) (string, error) {
	root, err := os.OpenRoot(filepath.Dir(path))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cursor: %v", err)
	}
	defer root.Close()
	file, err := openRegular(root, filepath.Base(path))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cursor: %v", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, cursorSize+1))
	if err != nil {
		return "", fmt.Errorf("cursor: %v", err)
	}
	if len(data) > cursorSize {
		return "", fmt.Errorf("cursor: %s: larger than %d bytes", path, cursorSize)
	}
	cursor, whole := strings.CutSuffix(string(data), "\n")
	if !whole {
		return "", fmt.Errorf("cursor: %s: incomplete line", path)
	}
	if _, err := journal.ParseCursor(cursor); err != nil {
		return "", fmt.Errorf("cursor: %s: %v", path, err)
	}
	return cursor, nil
}

// openRegular opens a file which is neither a link nor anything that could
// block: the name is looked at first, and what was opened must be the same.
func openRegular(root *os.Root, name string) (*os.File, error) {
	before, err := root.Lstat(name)
	if err != nil {
		return nil, err
	}
	if !before.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: not a regular file", name)
	}
	file, err := root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	if after, err := file.Stat(); err != nil || !os.SameFile(before, after) {
		file.Close()
		return nil, fmt.Errorf("%s: changed while it was opened", name)
	}
	return file, nil
}

// writeCursor replaces a cursor file by one rename, so that a crash leaves the
// old cursor or the new one. It is on tmpfs: nothing to sync.
func writeCursor(path, cursor string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("cursor: %v", err)
	}
	defer root.Close()
	name := filepath.Base(path)
	temporary := "." + name + ".new"
	if err := root.Remove(temporary); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("cursor: %v", err)
	}
	file, err := root.OpenFile(temporary, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("cursor: %v", err)
	}
	_, err = file.WriteString(cursor + "\n")
	if err := errors.Join(err, file.Close()); err != nil {
		_ = root.Remove(temporary)
		return fmt.Errorf("cursor: %v", err)
	}
	if err := root.Rename(temporary, name); err != nil {
		return fmt.Errorf("cursor: %v", err)
	}
	return nil
}
