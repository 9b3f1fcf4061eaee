package journal

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"unicode/utf8"
)

// AppendExport appends the entry in the journal export format, byte for byte as
// journalctl -o export of systemd 252 writes it, and returns the longer b.
// See https://systemd.io/JOURNAL_EXPORT_FORMATS.
//
// Left out: __SEQNUM and __SEQNUM_ID, which are in the cursor, and any field
// whose name would break the format.
func (e Entry) AppendExport(b []byte) []byte {
	if e.Cursor != "" {
		b = appendText(b, fieldCursor, e.Cursor)
	}
	if !e.Realtime.IsZero() {
		b = appendNumber(b, fieldRealtime, e.Realtime.UnixMicro())
	}
	if e.Monotonic != 0 {
		b = appendNumber(b, fieldMonotonic, e.Monotonic.Microseconds())
	}
	if e.BootID != "" {
		b = appendText(b, fieldBootID, e.BootID)
	}
	for _, f := range e.Fields {
		if validName(f.Name) && !isAddress(f.Name) {
			b = appendField(b, f)
		}
	}
	return append(b, '\n')
}

// appendField writes NAME=VALUE, or the binary form of a value which a line
// would not carry: NAME, its size in 64 bits little endian, the value.
func appendField(b []byte, f Field) []byte {
	if printable(f.Value, false) {
		return appendText(b, f.Name, f.Value)
	}
	b = append(append(b, f.Name...), '\n')
	b = binary.LittleEndian.AppendUint64(b, uint64(len(f.Value)))
	return append(append(b, f.Value...), '\n')
}

func appendText[S string | []byte](b []byte, name string, value S) []byte {
	b = append(append(b, name...), '=')
	return append(append(b, value...), '\n')
}

func appendNumber(b []byte, name string, n int64) []byte {
	b = append(append(b, name...), '=')
	return append(strconv.AppendInt(b, n, 10), '\n')
}

// printable tells whether systemd takes a value for text (utf8_is_printable_newline
// of its src/basic/utf8.c): valid UTF-8 without control characters, tab aside,
// and without characters that Unicode sets aside for internal use. A new line
// is text in JSON, and not in the export format.
func printable(value []byte, newline bool) bool {
	for i := 0; i < len(value); {
		c := value[i]
		if c < utf8.RuneSelf {
			if c < ' ' && c != '\t' && (c != '\n' || !newline) || c == 0x7f {
				return false
			}
			i++
			continue
		}
		r, size := utf8.DecodeRune(value[i:])
		if r == utf8.RuneError && size == 1 || !isText(r) {
			return false
		}
		i += size
	}
	return true
}

// isText tells whether systemd takes a character past ASCII for text.
func isText(r rune) bool {
	return r > 0x9f && (r < 0xfdd0 || r > 0xfdef) && r&0xfffe != 0xfffe
}

// trimRune cuts an incomplete UTF-8 sequence off the end of b, so that text
// which was cut stays text. What is not text anyway is left alone.
func trimRune(b []byte) []byte {
	for n := 1; n < utf8.UTFMax && n <= len(b); n++ {
		tail := b[len(b)-n:]
		if utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				return bytes.TrimSuffix(b, tail)
			}
			return b
		}
	}
	return b
}
