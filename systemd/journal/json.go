package journal

import (
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the entry as one line of JSON, shaped as journalctl -o json
// --all writes it, and returns the longer b: an object of strings; a value that
// is not text is an array of its bytes, and a field with several values is an
// array of these. The address fields come first, the others in their order.
// See https://systemd.io/JOURNAL_EXPORT_FORMATS.
func (e Entry) AppendJSON(b []byte) []byte {
	b = append(b, '{')
	if e.Cursor != "" {
		b = appendMember(b, fieldCursor)
		b = appendString(b, e.Cursor)
	}
	if !e.Realtime.IsZero() {
		b = appendMember(b, fieldRealtime)
		b = appendQuotedNumber(b, e.Realtime.UnixMicro())
	}
	if e.Monotonic != 0 {
		b = appendMember(b, fieldMonotonic)
		b = appendQuotedNumber(b, e.Monotonic.Microseconds())
	}
	if e.BootID != "" {
		b = appendMember(b, fieldBootID)
		b = appendString(b, e.BootID)
	}
	return append(appendFields(b, e.Fields), '}', '\n')
}

// appendFields writes each name once, at its first place, with all its values.
func appendFields(b []byte, fields []Field) []byte {
	repeats := repeated(fields)
	for i, f := range fields {
		if !validName(f.Name) || isAddress(f.Name) {
			continue
		}
		first, ok := repeats[f.Name]
		switch {
		case !ok:
			b = appendValue(appendMember(b, f.Name), f.Value)
		case first == i:
			b = appendValues(appendMember(b, f.Name), fields[i:], f.Name)
		}
	}
	return b
}

// repeated finds the names which come more than once, and their first place.
// Entries have some twenty fields, mostly all different: then it is nil. To
// compare each with each is faster than a map at that size, and slow past it.
func repeated(fields []Field) map[string]int {
	if len(fields) > 64 {
		return allNames(fields)
	}
	var repeats map[string]int
	for i, f := range fields {
		for j := range i {
			if fields[j].Name != f.Name {
				continue
			}
			if repeats == nil {
				repeats = make(map[string]int)
			}
			if _, ok := repeats[f.Name]; !ok {
				repeats[f.Name] = j
			}
			break
		}
	}
	return repeats
}

// allNames does what repeated does, in time that grows with len(fields).
func allNames(fields []Field) map[string]int {
	first := make(map[string]int, len(fields))
	repeats := make(map[string]int)
	for i, f := range fields {
		if j, ok := first[f.Name]; !ok {
			first[f.Name] = i
		} else {
			repeats[f.Name] = j
		}
	}
	return repeats
}

// appendValues writes all values of one field as an array.
func appendValues(b []byte, fields []Field, name string) []byte {
	b = append(b, '[')
	for i, f := range fields {
		if f.Name != name {
			continue
		}
		if i > 0 {
			b = append(b, ',')
		}
		b = appendValue(b, f.Value)
	}
	return append(b, ']')
}

// appendMember writes the start of a member of an object, with the comma that
// parts it from the one before.
func appendMember(b []byte, name string) []byte {
	if b[len(b)-1] != '{' {
		b = append(b, ',')
	}
	return append(appendString(b, name), ':')
}

func appendValue(b, value []byte) []byte {
	if printable(value, true) {
		return appendString(b, value)
	}
	b = append(b, '[')
	for i, c := range value {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendUint(b, uint64(c), 10)
	}
	return append(b, ']')
}

// appendString writes a JSON string. Its argument is printable, or an address
// that anybody may have made up: what is not UTF-8 becomes U+FFFD.
func appendString[S string | []byte](b []byte, s S) []byte {
	b = append(b, '"')
	plain := 0 // s[plain:i] needs no change
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c != '"' && c != '\\' && c < 0x7f {
			i++
			continue
		}
		b = append(b, s[plain:i]...)
		size := 1
		if c < utf8.RuneSelf {
			b = appendEscape(b, c)
		} else {
			var r rune
			r, size = utf8.DecodeRuneInString(string(s[i:min(len(s), i+utf8.UTFMax)]))
			b = utf8.AppendRune(b, r)
		}
		i += size
		plain = i
	}
	return append(append(b, s[plain:]...), '"')
}

// appendEscape writes an ASCII character which a JSON string does not have as it is.
func appendEscape(b []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch c {
	case '"', '\\':
		return append(b, '\\', c)
	case '\n':
		return append(b, '\\', 'n')
	case '\t':
		return append(b, '\\', 't')
	}
	return append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
}

func appendQuotedNumber(b []byte, n int64) []byte {
	return append(strconv.AppendInt(append(b, '"'), n, 10), '"')
}
