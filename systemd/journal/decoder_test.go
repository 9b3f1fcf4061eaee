package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

const testCursor = "s=33b2bf160c2841e8946a1df016429096;i=178;b=e0dc3894ed2041b084e41e9447002170;m=2f680ddc;t=660d344dcdd47;x=84b4152327124cf"

// testEntry is one entry with each peculiarity of the format.
func testEntry() Entry {
	return Entry{
		Cursor:    testCursor,
		Realtime:  time.UnixMicro(1795310369955143),
		Monotonic: 795348444 * time.Microsecond,
		BootID:    "e0dc3894ed2041b084e41e9447002170",
		Fields: []Field{
			{"MESSAGE", []byte("two\nlines")},
			{"PRIORITY", []byte("3")},
			{"TEXT", []byte("tab\tand ünïcode = fine")},
			{"BYTES", []byte{0, 0xff, '\n', '\n'}},
			{"ESCAPE", []byte("\x1b[31mred")},
			{"EMPTY", []byte{}},
			{"SAME", []byte("1")},
			{"SAME", []byte("2")},
			{"SAME", []byte("1")},
		},
	}
}

const testExport = "__CURSOR=" + testCursor + "\n" +
	"__REALTIME_TIMESTAMP=1795310369955143\n__MONOTONIC_TIMESTAMP=795348444\n" +
	"_BOOT_ID=e0dc3894ed2041b084e41e9447002170\n" +
	"MESSAGE\n\x09\x00\x00\x00\x00\x00\x00\x00two\nlines\n" +
	"PRIORITY=3\nTEXT=tab\tand ünïcode = fine\n" +
	"BYTES\n\x04\x00\x00\x00\x00\x00\x00\x00\x00\xff\n\n\n" +
	"ESCAPE\n\x08\x00\x00\x00\x00\x00\x00\x00\x1b[31mred\n" +
	"EMPTY=\nSAME=1\nSAME=2\nSAME=1\n\n"

func TestExport(t *testing.T) {
	if diff := cmp.Diff(testExport, string(testEntry().AppendExport(nil))); diff != "" {
		t.Error(diff)
	}
}

// A field that would break the stream is not in it.
func TestExportNames(t *testing.T) {
	entry := Entry{BootID: "1", Fields: []Field{
		{"", nil}, {"A=B", nil}, {"A\nB", nil}, {"__CURSOR", nil}, {"_BOOT_ID", []byte("2")},
		{strings.Repeat("N", 65), nil}, {"GOOD", []byte("x")},
	}}
	if got, want := string(entry.AppendExport(nil)), "_BOOT_ID=1\nGOOD=x\n\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got, want := string(entry.AppendJSON(nil)), `{"_BOOT_ID":"1","GOOD":"x"}`+"\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestDecode(t *testing.T) {
	stream := "\n" + testExport + "\n\n" + testExport
	readers := map[string]io.Reader{
		"whole":   strings.NewReader(stream),
		"by byte": iotest.OneByteReader(strings.NewReader(stream)),
	}
	for name, r := range readers {
		decoder := NewDecoder(r)
		for range 2 {
			entry, err := decoder.Decode()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if diff := cmp.Diff(testEntry(), entry, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%s: %s", name, diff)
			}
		}
		if _, err := decoder.Decode(); err != io.EOF {
			t.Errorf("%s: at the end: %v, want io.EOF", name, err)
		}
	}
}

func TestDecodeFaults(t *testing.T) {
	tests := map[string]struct {
		in   string
		want error
	}{
		"nothing":         {"", io.EOF},
		"empty lines":     {"\n\n\n", io.EOF},
		"half a line":     {"MESS", io.ErrUnexpectedEOF},
		"no end":          {"MESSAGE=x\n", io.ErrUnexpectedEOF},
		"half a size":     {"MESSAGE\n\x01\x00", io.ErrUnexpectedEOF},
		"half a value":    {"MESSAGE\n\x09\x00\x00\x00\x00\x00\x00\x00x", io.ErrUnexpectedEOF},
		"no end of value": {"MESSAGE\n\x01\x00\x00\x00\x00\x00\x00\x00x", io.ErrUnexpectedEOF},
		"value too long":  {"MESSAGE\n\x01\x00\x00\x00\x00\x00\x00\x00xx\n\n", ErrMalformed},
		"size too large":  {"MESSAGE\n\xff\xff\xff\xff\xff\xff\xff\xffx\n\n", ErrMalformed},
		"name too long":   {strings.Repeat("N", 65) + "\n", ErrMalformed},
	}
	for name, test := range tests {
		if _, err := NewDecoder(strings.NewReader(test.in)).Decode(); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// The addresses of newer systemds are in the cursor; what is none is left out.
func TestDecodeAddresses(t *testing.T) {
	in := "__CURSOR=" + testCursor + "\n__SEQNUM=376\n__SEQNUM_ID=33b2bf160c2841e8946a1df016429096\n" +
		"__REALTIME_TIMESTAMP=never\n__MONOTONIC_TIMESTAMP=-1\n__CURSOR\n\x01\x00\x00\x00\x00\x00\x00\x00\x01\nMESSAGE=x\n\n"
	want := Entry{Cursor: testCursor, Fields: []Field{{"MESSAGE", []byte("x")}}}
	got, err := NewDecoder(strings.NewReader(in)).Decode()
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestDecodeLimits(t *testing.T) {
	binaryField := func(name string, size int) string {
		length := binary.LittleEndian.AppendUint64(nil, uint64(size))
		return name + "\n" + string(length) + strings.Repeat("\x00", size) + "\n"
	}
	tests := map[string]struct {
		in   string
		want []Field
	}{
		"text at the limit": {"A=1234567890\n\n", []Field{{"A", []byte("1234567890")}}},
		"text":              {"A=12345678901\nB=2\n\n", []Field{{"A", []byte("1234567890")}, {"B", []byte("2")}, {FieldCut, []byte("A: 10 of 11 bytes")}}},
		"text, at a rune":   {"A=123456789ü\n\n", []Field{{"A", []byte("123456789")}, {FieldCut, []byte("A: 9 of 11 bytes")}}},
		"bytes":             {binaryField("A", 1e6) + "\n", []Field{{"A", make([]byte, 10)}, {FieldCut, []byte("A: 10 of 1000000 bytes")}}},
		"entry": {"A=1234567890\nB=1234567890\nC=1234567890\nD=12\n\n", []Field{
			{"A", []byte("1234567890")}, {"B", []byte("1234567890")}, {"C", []byte("1234")}, {FieldCut, []byte("C: 4 of 10 bytes")}, {FieldCut, []byte("1 fields left out")}}},
		"fields":      {"A=1\nB=1\nC=1\nD=1\nE=1\nF=1\n\n", []Field{{"A", []byte("1")}, {"B", []byte("1")}, {"C", []byte("1")}, {"D", []byte("1")}, {FieldCut, []byte("2 fields left out")}}},
		"name":        {strings.Repeat("N", 65) + "=1\nB=1\n\n", []Field{{"B", []byte("1")}, {FieldCut, []byte("1 fields left out")}}},
		"strange":     {"a b=1\n=2\nB=1\n\n", []Field{{"B", []byte("1")}, {FieldCut, []byte("2 fields left out")}}},
		"long line":   {strings.Repeat("N", 1e6) + "=1\nB=1\n\n", nil},
		"long values": {"A=" + strings.Repeat("x", 1e6) + "\nB=1\n\n", []Field{{"A", []byte("xxxxxxxxxx")}, {"B", []byte("1")}, {FieldCut, []byte("A: 10 of 1000000 bytes")}}},
	}
	for name, test := range tests {
		decoder := NewDecoder(strings.NewReader(test.in))
		decoder.maxField, decoder.maxEntry, decoder.maxFields = 10, 30, 5
		got, err := decoder.Decode()
		if test.want == nil {
			if !errors.Is(err, ErrMalformed) {
				t.Errorf("%s: %v, want %v", name, err, ErrMalformed)
			}
			continue
		}
		if diff := cmp.Diff(test.want, got.Fields); diff != "" || err != nil {
			t.Errorf("%s: %v %s", name, err, diff)
		}
	}
}

// An endless value needs no more memory than a short one.
func TestDecodeBounded(t *testing.T) {
	const endless = 256 << 20
	in := io.MultiReader(strings.NewReader("A="), io.LimitReader(zeros{}, endless), strings.NewReader("\n\n"))
	decoder := NewDecoder(in)
	decoder.maxField = 1 << 10
	entry, err := decoder.Decode()
	if err != nil || len(entry.Fields) != 2 || len(entry.Fields[0].Value) != 1<<10 {
		t.Fatalf("%v, %d fields", err, len(entry.Fields))
	}
	if cap(decoder.data) > 128<<10 {
		t.Errorf("%d bytes held", cap(decoder.data))
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

func FuzzDecoder(f *testing.F) {
	f.Add([]byte(testExport))
	f.Add([]byte("A=1\nA=2\n\nB\n\x01\x00\x00\x00\x00\x00\x00\x00\n\n\n"))
	f.Add([]byte("A\n\xff\xff\xff\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, in []byte) {
		narrow := NewDecoder(bytes.NewReader(in))
		narrow.maxField, narrow.maxEntry, narrow.maxFields = 16, 64, 10
		for {
			entry, err := narrow.Decode()
			if err != nil {
				break
			}
			if len(entry.Fields) > 10 {
				t.Fatalf("%d fields", len(entry.Fields))
			}
			for _, field := range entry.Fields {
				if field.Name != FieldCut && len(field.Value) > 16 {
					t.Fatalf("value of %d bytes", len(field.Value))
				}
			}
		}
		entries, _ := decodeAll(in) // up to where it makes sense
		var export []byte
		for _, entry := range entries {
			if line := entry.AppendJSON(nil); !isJSONLine(line) {
				t.Fatalf("not a line of JSON: %q", line)
			}
			export = entry.AppendExport(export)
		}
		// An entry with nothing in it is an empty line, which means nothing.
		entries = slices.DeleteFunc(entries, func(e Entry) bool { return len(e.AppendExport(nil)) == 1 })
		again, err := decodeAll(export)
		if diff := cmp.Diff(entries, again, cmpopts.EquateEmpty()); diff != "" || err != io.EOF {
			t.Fatal(err, diff)
		}
	})
}

// decodeAll decodes up to the first error.
func decodeAll(in []byte) ([]Entry, error) {
	decoder := NewDecoder(bytes.NewReader(in))
	var entries []Entry
	for {
		entry, err := decoder.Decode()
		if err != nil {
			return entries, err
		}
		entries = append(entries, entry)
	}
}

// benchmarkExport are 1000 entries as a node writes them: 22 fields, 0.8 kB each.
func benchmarkExport() []byte {
	entry := Entry{Cursor: testCursor, Realtime: time.UnixMicro(1795310369955143), Monotonic: time.Hour, BootID: testEntry().BootID}
	for _, name := range []string{"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "_PID", "_UID", "_GID", "_COMM", "_EXE",
		"_CMDLINE", "_CAP_EFFECTIVE", "_SYSTEMD_CGROUP", "_SYSTEMD_UNIT", "_SYSTEMD_SLICE", "_SYSTEMD_INVOCATION_ID",
		"_MACHINE_ID", "_HOSTNAME", "_TRANSPORT", "_SOURCE_REALTIME_TIMESTAMP", "CODE_FILE", "CODE_LINE", "_RUNTIME_SCOPE"} {
		entry.Fields = append(entry.Fields, Field{name, []byte("a value of some usual size")})
	}
	return bytes.Repeat(entry.AppendExport(nil), 1000)
}

func BenchmarkDecoder(b *testing.B) {
	stream := benchmarkExport()
	b.SetBytes(int64(len(stream) / 1000))
	b.ReportAllocs()
	var decoder *Decoder
	for n := 0; b.Loop(); n++ {
		if n%1000 == 0 {
			decoder = NewDecoder(bytes.NewReader(stream))
		}
		if _, err := decoder.Decode(); err != nil {
			b.Fatal(err)
		}
	}
}

func benchmarkAppend(b *testing.B, encode func(Entry, []byte) []byte) {
	entry, err := NewDecoder(bytes.NewReader(benchmarkExport())).Decode()
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	var buffer []byte
	for b.Loop() {
		buffer = encode(entry, buffer[:0])
	}
	b.SetBytes(int64(len(buffer)))
}

func BenchmarkAppendExport(b *testing.B) { benchmarkAppend(b, Entry.AppendExport) }

func BenchmarkAppendJSON(b *testing.B) { benchmarkAppend(b, Entry.AppendJSON) }
