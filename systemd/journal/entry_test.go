package journal

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func isJSONLine(line []byte) bool {
	body, ended := bytes.CutSuffix(line, []byte("\n"))
	return ended && !bytes.Contains(body, []byte("\n")) && json.Valid(body)
}

func TestGet(t *testing.T) {
	entry := testEntry()
	for name, want := range map[string]string{
		"MESSAGE": "two\nlines", "SAME": "1", "EMPTY": "", "NONE": "", "_BOOT_ID": entry.BootID,
	} {
		if got := entry.Get(name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

func TestPriority(t *testing.T) {
	for value, want := range map[string]int{"0": 0, "3": 3, "7": 7, "8": 6, "": 6, "33": 6} {
		entry := Entry{Fields: []Field{{"PRIORITY", []byte(value)}}}
		if got := entry.Priority(); got != want {
			t.Errorf("%q: %d, want %d", value, got, want)
		}
	}
	if got := (Entry{}).Priority(); got != 6 {
		t.Errorf("none: %d, want 6", got)
	}
}

func TestJSON(t *testing.T) {
	want := `{"__CURSOR":"` + testCursor + `","__REALTIME_TIMESTAMP":"1795310369955143",` +
		`"__MONOTONIC_TIMESTAMP":"795348444","_BOOT_ID":"e0dc3894ed2041b084e41e9447002170",` +
		`"MESSAGE":"two\nlines","PRIORITY":"3","TEXT":"tab\tand ünïcode = fine","BYTES":[0,255,10,10],` +
		`"ESCAPE":[27,91,51,49,109,114,101,100],"EMPTY":"","SAME":["1","2","1"]}` + "\n"
	if got := string(testEntry().AppendJSON(nil)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := string((Entry{}).AppendJSON([]byte("x"))); got != "x{}\n" {
		t.Errorf("empty entry: %q", got)
	}
}

// Both ways to find repeated names agree.
func TestJSONManyFields(t *testing.T) {
	entry := Entry{Fields: []Field{{"B", []byte{1}}}}
	for range 100 {
		entry.Fields = append(entry.Fields, Field{"A", []byte(`"\`)})
	}
	want := `{"B":[1],"A":["\"\\"` + strings.Repeat(`,"\"\\"`, 99) + "]}\n"
	if got := string(entry.AppendJSON(nil)); got != want {
		t.Errorf("got %s", got)
	}
	entry.Fields = entry.Fields[:3]
	if got, want := string(entry.AppendJSON(nil)), `{"B":[1],"A":["\"\\","\"\\"]}`+"\n"; got != want {
		t.Errorf("got %s", got)
	}
}

func TestCursor(t *testing.T) {
	p, err := ParseCursor(testCursor)
	if err != nil {
		t.Fatal(err)
	}
	want := Position{
		SeqnumID: "33b2bf160c2841e8946a1df016429096", Seqnum: 0x178,
		BootID:    "e0dc3894ed2041b084e41e9447002170",
		Monotonic: 795348444 * time.Microsecond, Realtime: time.UnixMicro(1795310369955143), Hash: 0x84b4152327124cf,
	}
	if p != want {
		t.Errorf("got %+v, want %+v", p, want)
	}
	if p.String() != testCursor {
		t.Errorf("got %s, want %s", p, testCursor)
	}
	for _, bad := range []string{
		"", "s=", "x", strings.Repeat("a", 1000), testCursor + ";", testCursor + ";y=1", testCursor + ";x=1",
		strings.TrimPrefix(testCursor, "s"), strings.Replace(testCursor, "i=178", "i=zz", 1),
		strings.Replace(testCursor, "t=6", "t=f60d344dcdd47000", 1), strings.Replace(testCursor, "b=e", "b=E", 1),
	} {
		if _, err := ParseCursor(bad); err == nil {
			t.Errorf("%q: no error", bad)
		}
	}
}

func TestGaps(t *testing.T) {
	var g gaps
	for i, step := range []struct {
		id   string
		n    uint64
		lost uint64
	}{{"a", 5, 0}, {"a", 6, 0}, {"a", 9, 2}, {"a", 9, 0}, {"a", 8, 0}, {"a", 10, 0}, {"b", 100, 0}, {"b", 102, 1}, {"a", 11, 0}} {
		if lost := g.see(Position{SeqnumID: step.id, Seqnum: step.n}); lost != step.lost {
			t.Errorf("step %d: %d lost, want %d", i, lost, step.lost)
		}
	}
}

func TestAvailable(t *testing.T) {
	root := t.TempDir()
	const id = "3d1219c7c4c5404aaa1f6d2a48adfda4"
	check := func(what string, want bool) {
		t.Helper()
		if got := Available(root); got != want {
			t.Errorf("%s: %v, want %v", what, got, want)
		}
	}
	write := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check("nothing", false)
	write("etc/machine-id", "uninitialized\n")
	write("run/log/journal/"+strings.Repeat("0", 32)+"/system.journal", "")
	check("no id", false)
	write("etc/machine-id", id+"\n")
	check("another machine's", false)
	write("var/log/journal/"+id+"/README", "")
	check("no file", false)
	write("var/log/journal/"+id+"/system.journal", "")
	check("persistent", true)
	os.RemoveAll(filepath.Join(root, "var"))
	write("run/log/journal/"+id+"/system.journal", "")
	check("volatile", true)
}

// compareJSON compares lines of JSON by their meaning.
func compareJSON(t *testing.T, got, want []byte) {
	t.Helper()
	a, b := json.NewDecoder(bytes.NewReader(got)), json.NewDecoder(bytes.NewReader(want))
	for n := 1; ; n++ {
		var x, y map[string]any
		errX, errY := a.Decode(&x), b.Decode(&y)
		if errX == io.EOF && errY == io.EOF {
			return
		}
		for _, newer := range []string{"__SEQNUM", "__SEQNUM_ID"} {
			delete(y, newer)
		}
		if errX != nil || errY != nil || !reflect.DeepEqual(x, y) { // cmp.Diff takes long for a megabyte
			t.Fatalf("entry %d: %v, %v, %.1000s", n, errX, errY, cmp.Diff(y, x))
		}
	}
}
