// Package journal reads the journal of systemd: what an entry is, how it is
// written down, and how to follow it from any point without missing one.
//
//	entry.go       an entry and its fields
//	cursor.go      the position of an entry; what vanished between two of them
//	export.go      the journal export format, written
//	decoder.go     the journal export format, read, with bounds
//	json.go        the JSON form, as of journalctl -o json
//	journalctl.go  a reader which runs journalctl --follow
//	child.go       that process, which must not outlive or hang its reader
//	ring.go        entries in memory, for a node without a journal
//
// Where entries go, and what is done when that fails, is the business of
// package sinks; nothing here opens a connection or writes a file.
package journal

import (
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Available tells whether the journal of this machine can be read here: a
// journal file in ROOT/run/log/journal/ID or ROOT/var/log/journal/ID which
// opens, ID being that of ROOT/etc/machine-id. It is false where no journald
// runs, and where the caller may not read its files (group systemd-journal).
// Root is "/" on a node.
func Available(root string) bool {
	for _, dir := range directories(root) {
		names, err := filepath.Glob(filepath.Join(dir, "*.journal"))
		if err != nil {
			continue
		}
		for _, name := range names {
			if file, err := os.Open(name); err == nil {
				file.Close()
				return true
			}
		}
	}
	return false
}

// directories are the folders journald keeps the files of this machine in: the
// volatile and the persistent one, see systemd-journald.service(8).
func directories(root string) []string {
	id, err := readID(filepath.Join(root, "etc/machine-id"))
	if err != nil {
		return nil
	}
	return []string{
		filepath.Join(root, "run/log/journal", id),
		filepath.Join(root, "var/log/journal", id),
	}
}

// changed is when a file of these folders was changed last; the zero time when
// there is none. Journald writes through mappings, which leave no trace, and
// therefore truncates the file to its own size at most 250 ms later.
func changed(dirs []string) time.Time {
	var newest time.Time
	for _, dir := range dirs {
		names, err := filepath.Glob(filepath.Join(dir, "*.journal"))
		if err != nil {
			continue
		}
		for _, name := range names {
			if info, err := os.Stat(name); err == nil && info.ModTime().After(newest) {
				newest = info.ModTime()
			}
		}
	}
	return newest
}

// thisBoot is the id of the running boot, as the journal writes it.
func thisBoot() (string, error) {
	return readID("/proc/sys/kernel/random/boot_id")
}

// readID reads a file with a 128 bit id: 32 hexadecimal digits, dashes aside.
func readID(path string) (string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	id := strings.ReplaceAll(strings.TrimSpace(string(data)), "-", "")
	if !isID(id) {
		return "", &os.PathError{Op: "read", Path: path, Err: os.ErrInvalid}
	}
	return id, nil
}

// isID tells whether s is a 128 bit id in 32 lower-case hexadecimal digits.
func isID(s string) bool {
	return len(s) == 32 && strings.Trim(s, "0123456789abcdef") == ""
}
