package journal

import (
	"strings"
	"time"
)

// Entry is one entry of the journal.
//
// The address fields (systemd.journal-fields(7)) are members, all others are in
// Fields. An address which is not known is zero, and is not written out.
type Entry struct {
	Cursor    string        // position in the journal, see ParseCursor; __CURSOR
	Realtime  time.Time     // when journald got it, in microseconds; __REALTIME_TIMESTAMP
	Monotonic time.Duration // the same on the clock of that boot; __MONOTONIC_TIMESTAMP
	BootID    string        // 32 hexadecimal digits; _BOOT_ID
	Fields    []Field       // in the order of the journal; names may repeat
}

// Field is one field of an entry. Its value is any bytes, and belongs to the
// entry: it must not be changed.
type Field struct {
	Name  string
	Value []byte
}

// Get is the first value of the field called name, "" when there is none.
func (e Entry) Get(name string) string {
	if name == fieldBootID {
		return e.BootID
	}
	for _, f := range e.Fields {
		if f.Name == name {
			return string(f.Value)
		}
	}
	return ""
}

// Priority is the syslog level of the entry, 0 (emergency) to 7 (debug); 6
// (info) when it has none, as journalctl takes it.
func (e Entry) Priority() int {
	for _, f := range e.Fields {
		if f.Name == "PRIORITY" && len(f.Value) == 1 && '0' <= f.Value[0] && f.Value[0] <= '7' {
			return int(f.Value[0] - '0')
		}
	}
	return 6
}

// Size is about how many bytes the entry takes in the export format, and no
// less than it takes in memory: a measure for batches, known without encoding.
func (e Entry) Size() int {
	size := 200 + len(e.Cursor)
	for _, f := range e.Fields {
		size += len(f.Name) + len(f.Value) + 10
	}
	return size
}

// The names of the address fields. Seqnum and its id came with systemd 254;
// both are in the cursor too, so they are read over and not written.
const (
	fieldCursor    = "__CURSOR"
	fieldRealtime  = "__REALTIME_TIMESTAMP"
	fieldMonotonic = "__MONOTONIC_TIMESTAMP"
	fieldBootID    = "_BOOT_ID"
)

// maxName is the longest name of a field that journald takes.
const maxName = 64

// validName tells whether name can stand in an export stream without being
// taken for something else: 1 to 64 visible ASCII characters, no "=". The
// journal allows fewer (capitals, digits, _), and receivers may too.
func validName[S string | []byte](name S) bool {
	if len(name) == 0 || len(name) > maxName {
		return false
	}
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' || name[i] == '=' {
			return false
		}
	}
	return true
}

// isAddress tells whether a field called name is a member of Entry, or another
// address field, rather than data.
func isAddress(name string) bool {
	return name == fieldBootID || strings.HasPrefix(name, "__")
}
