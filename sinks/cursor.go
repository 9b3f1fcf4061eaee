package sinks

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/bootagent/bootagent/agent/files"
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
	data, err := files.Read(root, filepath.Base(path), cursorSize)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("cursor: %s: %v", path, err)
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

// writeCursor replaces a cursor file, so that a crash leaves the old cursor or
// the new one.
func writeCursor(path, cursor string) error {
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return fmt.Errorf("cursor: %v", err)
	}
	defer root.Close()
	if err := files.Replace(root, filepath.Base(path), []byte(cursor+"\n"), 0o600); err != nil {
		return fmt.Errorf("cursor: %s: %v", path, err)
	}
	return nil
}
