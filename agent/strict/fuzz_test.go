package strict

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// bombs are texts that are much to read, for their size.
func bombs() map[string]string {
	var aliases strings.Builder
	aliases.WriteString("free:\n  a0: &a0 [x, x]\n")
	for i := range 30 {
		name := strings.Repeat("i", i)
		aliases.WriteString("  b" + name + ": &a" + name + "i [*a" + name + "]\n")
	}
	var laughs strings.Builder
	laughs.WriteString("free:\n  a: &a [x,x,x,x,x,x,x,x,x]\n")
	for c := 'b'; c < 'm'; c++ {
		laughs.WriteString("  " + string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "]\n")
	}
	const many = 1 << 16
	return map[string]string{
		"aliases":   aliases.String(),
		"laughs":    laughs.String(),
		"brackets":  "free: " + strings.Repeat("[", many),
		"closed":    "free: " + strings.Repeat("[", many) + strings.Repeat("]", many),
		"braces":    strings.Repeat("{a: ", many),
		"json":      strings.Repeat(`{"free":`, many) + "1" + strings.Repeat("}", many),
		"json deep": strings.Repeat(`{"free":`, 9000) + "1" + strings.Repeat("}", 9000),
		"dashes":    strings.Repeat("- ", many),
		"questions": strings.Repeat("? ", many),
		"keys":      strings.Repeat("a:\n", many),
		"comments":  strings.Repeat("# c\n", many) + "name: x",
		"indents":   indents(1000),
		"long key":  strings.Repeat("k", many) + ": x",
		"itself":    "&a [*a]",
	}
}

func indents(n int) string {
	var text strings.Builder
	for i := range n {
		text.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return text.String()
}

func TestBombs(t *testing.T) {
	const enough = 20 * time.Second // some hundred times of what it takes, with the race detector
	for name, text := range bombs() {
		start := time.Now()
		_, err := decode(t, text)
		if name == "comments" && err != nil || name != "comments" && err == nil {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > enough {
			t.Errorf("%s: took %v", name, took)
		} else {
			t.Logf("%-10s %7d bytes %v", name, len(text), took.Round(time.Millisecond))
		}
	}
}

// FuzzDecode wants an end without a panic, errors with a place, and the same
// of a text in its JSON and its YAML form.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{
		"", "name: x\ncount: 1\nlist: [{low: 1, high: 2}]\n", "{\"free\": {\"\\ud83d\\ude00\": [1, 2.5, null, \"\\u2028\"]}}",
		"free:\n  - a\n  - {b: ~}\n", "free: {a: 1_000, b: 0o17, c: 017, d: +1, e: .5, f: 1., g: -0, h: 2001-01-01}",
		"a: &a b\nc: *a", "<<: {a: b}", "? a\n: b", "--- x\n--- y", "\xef\xbb\xbfname: x", "\xff\xfen\x00:\x00 \x00x\x00", "name: ! 5",
		"name: >-\n  a\n\n  b", "%YAML 1.1\n---\nname: x", "name: 'a''b'",
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var s sample
		if err := Decode("f", text, &s); err != nil {
			for _, e := range err.(Errors) {
				if !strings.HasPrefix(e.Error(), "f:") {
					t.Errorf("%q: no place: %v", text, e)
				}
			}
			return
		}
		var asJSON, asYAML sample
		tree := map[string]any{"free": s.Free, "words": s.Words, "name": s.Name, "count": s.Count, "on": s.On}
		for key, value := range tree {
			if m, ok := value.(map[string]any); ok && m == nil {
				delete(tree, key)
			}
			if m, ok := value.(map[string]string); ok && m == nil {
				delete(tree, key)
			}
		}
		j, err := json.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		y, err := yaml.Marshal(tree)
		if err != nil {
			t.Fatal(err)
		}
		if err := Decode("json", j, &asJSON); err != nil {
			t.Fatalf("%s: %v", j, err)
		}
		if err := Decode("yaml", y, &asYAML); err != nil {
			t.Fatalf("%s: %v", y, err)
		}
		asJSON.Pos, asYAML.Pos = Pos{}, Pos{}
		if diff := cmp.Diff(asJSON, asYAML); diff != "" {
			t.Errorf("%s\n%s\n%s", j, y, diff)
		}
	})
}
