package journal

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"time"
)

// Limits of an entry that is kept whole. Journald itself takes fields of 768 MiB
// and 1024 fields of the sender's beside its own, which is more than receivers
// take (systemd-journal-remote: 1024 in all) and more than an agent should hold.
// What is over a limit is cut or left out, and FieldCut says so in the entry.
const (
	MaxField  = 2 << 20 // bytes of one value
	MaxEntry  = 4 << 20 // bytes of all names and values
	MaxFields = 1000    // fields, FieldCut included
)

// FieldCut is the name of the field that a Decoder adds to an entry which is
// not whole, once for each cut field and once for those left out.
const FieldCut = "BOOTAGENT_CUT"

// ErrMalformed is wrapped by the errors of a Decoder whose input is not in the
// export format: there is no telling where the next entry starts.
var ErrMalformed = errors.New("malformed export format")

const (
	maxFraming = 768 << 20 // bytes of a value that are read over; more is no journal
	maxCuts    = 8         // cut fields which are named
	maxNames   = 1024      // different names which are remembered
)

// Decoder reads entries in the journal export format. It needs no more memory
// than the limits say, whatever it is given.
type Decoder struct {
	r     *bufio.Reader
	names map[string]string // so that these are not allocated for each entry

	maxField, maxEntry, maxFields int

	// The entry being read: values one after the other in data, and where each
	// ends. Reused, so that a whole entry costs two allocations.
	entry   Entry
	data    []byte
	fields  []span
	cuts    []string
	dropped int
}

// span is a field whose value is data[start:end].
type span struct {
	name       string
	start, end int
}

// NewDecoder makes a Decoder that reads from r, some more than it decodes.
func NewDecoder(r io.Reader) *Decoder {
	return &Decoder{
		r:        bufio.NewReaderSize(r, 64<<10),
		names:    make(map[string]string),
		maxField: MaxField, maxEntry: MaxEntry, maxFields: MaxFields,
	}
}

// Decode reads the next entry. The error is io.EOF at the end of the last
// entry, io.ErrUnexpectedEOF when the input ends inside of one, one that wraps
// ErrMalformed, or that of the reader; after an error the Decoder is of no use.
func (d *Decoder) Decode() (Entry, error) {
	d.reset()
	for started := false; ; {
		start, size, err := d.line()
		switch {
		case errors.Is(err, io.EOF) && (started || size > 0):
			return Entry{}, io.ErrUnexpectedEOF
		case err != nil:
			return Entry{}, err
		case size == 0 && started:
			return d.finish(), nil
		case size == 0: // empty lines before an entry mean nothing
			d.data = d.data[:start]
			continue
		}
		started = true
		if err := d.field(start, size); err != nil {
			return Entry{}, err
		}
	}
}

// reset forgets the last entry, and its room when that was an unusual lot.
func (d *Decoder) reset() {
	if cap(d.data) > 256<<10 {
		d.data = nil
	}
	d.entry = Entry{}
	d.data, d.fields, d.cuts, d.dropped = d.data[:0], d.fields[:0], nil, 0
}

// line reads a line to the end of data. It returns where the line starts there,
// and how long it is; less of it may have been kept, but enough for a name.
func (d *Decoder) line() (start, size int, err error) {
	start = len(d.data)
	limit := start + maxName + 1 + d.room()
	for {
		chunk, err := d.r.ReadSlice('\n')
		size += len(chunk)
		d.data = append(d.data, chunk[:min(len(chunk), limit-len(d.data))]...)
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return start, size, err
		}
		size--
		d.data = d.data[:min(len(d.data), start+size)]
		return start, size, nil
	}
}

// room is how many bytes of the next value may be kept.
func (d *Decoder) room() int {
	return max(0, min(d.maxField, d.maxEntry-len(d.data)))
}

// field takes over the field whose first line is data[start:].
func (d *Decoder) field(start, size int) error {
	line := d.data[start:]
	if i := bytes.IndexByte(line, '='); i >= 0 {
		d.add(start, line[:i], start+i+1, size-i-1)
		return nil
	}
	if size > maxName {
		return fmt.Errorf("journal: %w: name of %d bytes", ErrMalformed, size)
	}
	return d.binary(start, line)
}

// binary reads the rest of a field in binary form: its size in 64 bits, little
// endian, that many bytes, and the end of the line.
func (d *Decoder) binary(start int, name []byte) error {
	var prefix [8]byte
	if _, err := io.ReadFull(d.r, prefix[:]); err != nil {
		return unexpected(err)
	}
	size := binary.LittleEndian.Uint64(prefix[:])
	if size > maxFraming {
		return fmt.Errorf("journal: %w: value of %d bytes", ErrMalformed, size)
	}
	value := len(d.data)
	keep := min(int(size), d.room())
	if err := d.read(keep); err != nil {
		return unexpected(err)
	}
	if _, err := d.r.Discard(int(size) - keep); err != nil {
		return unexpected(err)
	}
	if c, err := d.r.ReadByte(); err != nil {
		return unexpected(err)
	} else if c != '\n' {
		return fmt.Errorf("journal: %w: value longer than its %d bytes", ErrMalformed, size)
	}
	d.add(start, d.data[start:start+len(name)], value, int(size))
	return nil
}

// read appends n bytes to data, growing with what comes rather than with what
// was promised.
func (d *Decoder) read(n int) error {
	for n > 0 {
		part := min(n, 64<<10)
		d.data = slices.Grow(d.data, part)
		end := len(d.data) + part
		if _, err := io.ReadFull(d.r, d.data[len(d.data):end]); err != nil {
			return err
		}
		d.data = d.data[:end]
		n -= part
	}
	return nil
}

// unexpected is the error for input that ends inside of an entry.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// add takes over a value of size bytes, of which data[value:] was kept, the
// field itself having begun at start.
func (d *Decoder) add(start int, rawName []byte, value, size int) {
	name := d.intern(rawName)
	kept := d.data[value:min(len(d.data), value+size)]
	switch {
	case isAddress(name):
		d.address(name, kept)
		d.data = d.data[:start]
		return
	case !validName(name), len(d.fields) == d.maxFields, value > d.maxEntry:
		d.dropped++
		d.data = d.data[:start]
		return
	}
	if most := min(d.maxField, max(0, d.maxEntry-value)); size > most {
		kept = trimRune(kept[:min(len(kept), most)])
		d.cut(name, len(kept), size)
	}
	d.data = d.data[:value+len(kept)]
	d.fields = append(d.fields, span{name, value, len(d.data)})
}

// intern is a text that comes again and again as a string.
func (d *Decoder) intern(name []byte) string {
	if s, ok := d.names[string(name)]; ok {
		return s
	}
	s := string(name)
	if len(d.names) < maxNames && len(s) <= maxName {
		d.names[s] = s
	}
	return s
}

// address takes over an address field; a value that makes no sense is as good
// as none.
func (d *Decoder) address(name string, value []byte) {
	if len(value) > maxCursor || !printable(value, false) {
		return
	}
	switch name {
	case fieldCursor:
		d.entry.Cursor = string(value)
	case fieldBootID:
		d.entry.BootID = d.intern(value)
	case fieldRealtime:
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n >= 0 {
			d.entry.Realtime = time.UnixMicro(n)
		}
	case fieldMonotonic:
		if n, err := strconv.ParseInt(string(value), 10, 64); err == nil && n >= 0 && n <= math.MaxInt64/1000 {
			d.entry.Monotonic = time.Duration(n) * time.Microsecond
		}
	}
}

// cut notes that a field was cut.
func (d *Decoder) cut(name string, kept, size int) {
	if len(d.cuts) == maxCuts {
		d.cuts[maxCuts-1] = "further fields"
		return
	}
	d.cuts = append(d.cuts, fmt.Sprintf("%s: %d of %d bytes", name, kept, size))
}

// finish makes the entry out of what was read, in memory of its own.
func (d *Decoder) finish() Entry {
	marks := d.marks()
	data := bytes.Clone(d.data)
	fields := make([]Field, 0, len(d.fields)+len(marks))
	for _, s := range d.fields {
		fields = append(fields, Field{s.name, data[s.start:s.end:s.end]})
	}
	for _, text := range marks {
		fields = append(fields, Field{FieldCut, []byte(text)})
	}
	entry := d.entry
	entry.Fields = fields
	return entry
}

// marks are the values of FieldCut, and makes room for them among the fields.
func (d *Decoder) marks() []string {
	marks := d.cuts
	if len(marks) == 0 && d.dropped == 0 {
		return nil
	}
	if over := min(len(d.fields)+len(marks)+1-d.maxFields, len(d.fields)); over > 0 {
		d.fields = d.fields[:len(d.fields)-over]
		d.dropped += over
	}
	if d.dropped > 0 {
		marks = append(marks, fmt.Sprintf("%d fields left out", d.dropped))
	}
	return marks
}
