// Package mounts reads the kernel's mount tables, /proc/PID/mountinfo, and
// says what lies under a path.
//
// Whose table is read is the caller's choice, and it matters: a sandboxed unit
// lives in a mount namespace of its own where the root is read-only on every
// node. What a mount table means for a node is judged in package check.
package mounts

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Limits of what is read: a mount table has some dozens of lines on a node and
// some thousands where containers run.
const (
	maxLine   = 64 << 10
	maxMounts = 100_000
)

// Mount is a line of proc_pid_mountinfo(5), its escapes decoded.
type Mount struct {
	ID, Parent   int
	Device       string   // major:minor
	Root         string   // the folder of the file system that is mounted
	Point        string   // where, relative to the process's root
	Options      []string // of this mount
	Type         string   // of the file system, with its subtype: fuse.sshfs
	Source       string   // a device, or what the file system calls itself
	SuperOptions []string // of the file system, whoever else mounts it
}

// ReadOnly tells whether nothing can be written through this mount.
func (m Mount) ReadOnly() bool { return has(m.Options, "ro") }

// SuperReadOnly tells whether nothing can be written to the file system, by
// any mount of it.
func (m Mount) SuperReadOnly() bool { return has(m.SuperOptions, "ro") }

// Volatile tells whether the file system lives in memory, and is gone after
// the boot.
func (m Mount) Volatile() bool { return m.Type == "tmpfs" || m.Type == "ramfs" }

// SuperOption is the value of an option of the file system such as upperdir;
// empty if it is not there.
func (m Mount) SuperOption(name string) string {
	for _, option := range m.SuperOptions {
		if key, value, ok := strings.Cut(option, "="); ok && key == name {
			return value
		}
	}
	return ""
}

// Table is a mount table in the kernel's order.
type Table []Mount

// At is the mount that path, absolute and without symbolic links, lies on.
// It goes down the tree of mounts as the kernel does, so that a mount which
// another one hides is never the answer.
func (t Table) At(path string) (Mount, bool) {
	at, found := t.root()
	for range t {
		next, ok := t.below(at, path)
		if !ok {
			break
		}
		at = next
	}
	return at, found
}

// root is the mount at / whose parent is in no table: what the process was
// given as its root.
func (t Table) root() (Mount, bool) {
	for _, m := range t {
		isParent := func(p Mount) bool { return p.ID == m.Parent && p.ID != m.ID }
		if m.Point == "/" && !slices.ContainsFunc(t, isParent) {
			return m, true
		}
	}
	return Mount{}, false
}

// below is the mount on at that a walk to path meets first.
func (t Table) below(at Mount, path string) (Mount, bool) {
	var next Mount
	found := false
	for _, m := range t {
		if m.Parent == at.ID && m.ID != at.ID && under(path, m.Point) && (!found || len(m.Point) < len(next.Point)) {
			next, found = m, true
		}
	}
	return next, found
}

func under(name, folder string) bool {
	name, folder = path.Clean(name), path.Clean(folder)
	return folder == "/" || name == folder || strings.HasPrefix(name, folder+"/")
}

// Parse reads a mount table. Lines that have not the form of
// proc_pid_mountinfo(5) are errors that name the line.
func Parse(r io.Reader) (Table, error) {
	var table Table
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 4096), maxLine)
	for lines.Scan() {
		m, err := parseLine(lines.Bytes())
		if err != nil {
			return nil, fmt.Errorf("mountinfo line %d: %v", len(table)+1, err)
		}
		if table = append(table, m); len(table) > maxMounts {
			return nil, fmt.Errorf("mountinfo: more than %d mounts", maxMounts)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("mountinfo line %d: %v", len(table)+1, err)
	}
	return table, nil
}

// parseLine reads
//
//	36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue
//
// where any number of optional fields stand before the lone hyphen.
func parseLine(line []byte) (Mount, error) {
	head, tail, ok := bytes.Cut(line, []byte(" - "))
	before, after := bytes.Split(head, []byte(" ")), bytes.Split(tail, []byte(" "))
	if !ok || len(before) < 6 || len(after) < 3 {
		return Mount{}, fmt.Errorf("%d fields before the hyphen and %d after it (want 6 and 3)", len(before), len(after))
	}
	id, err1 := strconv.Atoi(string(before[0]))
	parent, err2 := strconv.Atoi(string(before[1]))
	if err1 != nil || err2 != nil {
		return Mount{}, fmt.Errorf("mount numbers %q and %q", before[0], before[1])
	}
	return Mount{
		ID: id, Parent: parent,
		Device:       string(before[2]),
		Root:         unescape(before[3]),
		Point:        unescape(before[4]),
		Options:      options(before[5]),
		Type:         unescape(after[0]),
		Source:       unescape(after[1]),
		SuperOptions: options(bytes.Join(after[2:], []byte(" "))),
	}, nil
}

// options splits at commas, then decodes: a comma in a value is escaped twice,
// once by the file system.
func options(field []byte) []string {
	var list []string
	for option := range bytes.SplitSeq(field, []byte(",")) {
		list = append(list, unescape(option))
	}
	return list
}

// unescape decodes the kernel's \ooo for blanks and backslashes (mangle in
// fs/seq_file.c). What is no such escape stays as it is.
func unescape(field []byte) string {
	if bytes.IndexByte(field, '\\') < 0 {
		return string(field)
	}
	out := make([]byte, 0, len(field))
	for i := 0; i < len(field); i++ {
		if field[i] == '\\' && i+3 < len(field) {
			if n, err := strconv.ParseUint(string(field[i+1:i+4]), 8, 8); err == nil {
				out = append(out, byte(n))
				i += 3
				continue
			}
		}
		out = append(out, field[i])
	}
	return string(out)
}

func has(list []string, word string) bool { return slices.Contains(list, word) }
