package strict

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sample has a field of every kind that texts are decoded into.
type sample struct {
	Pos     Pos
	Name    string            `yaml:"name"`
	Count   int               `yaml:"count"`
	Long    int64             `yaml:"long"`
	On      bool              `yaml:"on"`
	Even    even              `yaml:"even"`
	Both    both              `yaml:"both"`
	Words   map[string]string `yaml:"words"`
	Evens   map[even]int      `yaml:"evens"`
	Parts   map[string]part   `yaml:"parts"`
	List    []part            `yaml:"list"`
	Pointer *part             `yaml:"pointer"`
	Free    map[string]any    `yaml:"free"`
	Ignored string
	Embedded
}

type Embedded struct {
	Inner string `yaml:"inner"`
}

type part struct {
	Low  int `yaml:"low"`
	High int `yaml:"high"`
}

func (p *part) Validate() error {
	if p.Low > p.High {
		return errors.Join(errors.New("low: above high"), errors.New("high: below low"))
	}
	return nil
}

// even decides itself which texts it takes.
type even string

func (e *even) UnmarshalText(text []byte) error {
	if len(text)%2 != 0 {
		return errors.New("odd")
	}
	*e = even(text)
	return nil
}

// both is a text or a mapping.
type both struct {
	Text string
	Hex  string `yaml:"hex"`
}

func (b *both) UnmarshalText(text []byte) error {
	b.Text = string(text)
	return nil
}

func decode(t *testing.T, text string) (sample, error) {
	t.Helper()
	var s sample
	err := Decode("f", []byte(text), &s)
	s.Pos = Pos{}
	return s, err
}

func TestDecode(t *testing.T) {
	for text, want := range map[string]sample{
		"":                                {},
		"# nothing\n":                     {},
		"---\n":                           {},
		"null":                            {},
		"{}":                              {},
		"---\nname: x\n...\n":             {Name: "x"},
		"name: 007":                       {Name: "007"},
		"name: true":                      {Name: "true"},
		"name: 2026-01-02":                {Name: "2026-01-02"},
		`name: "null"`:                    {Name: "null"},
		`name: ""`:                        {},
		"name: |\n  a\n  b\n":             {Name: "a\nb\n"},
		"count: -3\nlong: 3000000000":     {Count: -3, Long: 3000000000},
		"on: true":                        {On: true},
		"on: False":                       {},
		"even: ab":                        {Even: "ab"},
		"both: text":                      {Both: both{Text: "text"}},
		"both: {hex: ff}":                 {Both: both{Hex: "ff"}},
		"words: {}":                       {Words: map[string]string{}},
		"words: {a: 1, 2: b, true: x}":    {Words: map[string]string{"a": "1", "2": "b", "true": "x"}},
		"evens: {ab: 1}":                  {Evens: map[even]int{"ab": 1}},
		"parts: {p: {high: 1}, q: }":      {Parts: map[string]part{"p": {High: 1}, "q": {}}},
		"list: []":                        {List: []part{}},
		"list:\n- high: 1\n- low: -1":     {List: []part{{High: 1}, {Low: -1}}},
		"pointer:":                        {Pointer: &part{}},
		"pointer: {high: 2}":              {Pointer: &part{High: 2}},
		"inner: x":                        {Embedded: Embedded{Inner: "x"}},
		"free: {a: 1, b: 1.5, c: [x, ~]}": {Free: map[string]any{"a": int64(1), "b": 1.5, "c": []any{"x", nil}}},
		"free: {a: true, b: {c: 1e3}}":    {Free: map[string]any{"a": true, "b": map[string]any{"c": 1000.0}}},
		"free: {a: 0x1f, b: 2026-01-02}":  {Free: map[string]any{"a": int64(31), "b": "2026-01-02"}},
	} {
		got, err := decode(t, text)
		if err != nil {
			t.Errorf("%q: %v", text, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%q:\n%s", text, diff)
		}
	}
}

// TestFaults pins the words of every fault, and its place.
func TestFaults(t *testing.T) {
	const known = "(known: both, count, even, evens, free, inner, list, long, name, on, parts, pointer, words)"
	for text, want := range map[string]string{
		"nam: x":                                `f:1:1: unknown key "nam" ` + known,
		"a: 1\nb: 2\n":                          `f:1:1: unknown key "a" ` + known + ` (and 1 more)`,
		"Ignored: x":                            `f:1:1: unknown key "Ignored" ` + known,
		`"<<": x`:                               `f:1:1: unknown key "<<" ` + known,
		"pointer: {x: 1}":                       `f:1:11: unknown key "x" (known: high, low)`,
		"pointer: {hunter2}":                    `f:1:11: unknown key (known: high, low)`,
		"both: {hunter2}":                       `f:1:8: unknown key (known: hex)`,
		strings.Repeat("k", 99) + ": x":         `f:1:1: unknown key "` + strings.Repeat("k", 64) + `…" ` + known,
		strings.Repeat("é", 33) + "é: x":        `f:1:1: unknown key "` + strings.Repeat("é", 32) + `…" ` + known,
		"name: x\nname: y":                      `f:2:1: key "name" again (first in line 1)`,
		"words:\n  a: x\n  b: x\n  a: y":        `f:4:3: key "a" again (first in line 2)`,
		"free: {a: {b: 1, b: 1}}":               `f:1:18: key "b" again (first in line 1)`,
		"name: &a x":                            "f:1:7: anchors and aliases are not taken: write the value where it is used",
		"&a name: x":                            "f:1:1: anchors and aliases are not taken: write the value where it is used",
		"name: &a x\ninner: *a":                 "f:1:7: anchors and aliases are not taken: write the value where it is used (and 1 more)",
		"&r {name: x}":                          "f:1:1: anchors and aliases are not taken: write the value where it is used",
		"free: {a: [&a 1]}":                     "f:1:12: anchors and aliases are not taken: write the value where it is used",
		"? *a\n: x":                             "f:1:1: syntax: an alias without its anchor (a text that begins with * needs quotes)",
		"name: *hunter2":                        "f:1:1: syntax: an alias without its anchor (a text that begins with * needs quotes)",
		"name: !!str x":                         "f:1:7: tags are not taken: write the plain value",
		"free: {a: !!binary aGk=}":              "f:1:11: tags are not taken: write the plain value",
		"!x {name: y}":                          "f:1:1: tags are not taken: write the plain value",
		"words: {<<: {a: b}}":                   "f:1:9: a merge key where a key is wanted",
		"<<: {name: x}":                         "f:1:1: a merge key where a key is wanted",
		"? [a]\n: x":                            "f:1:3: a list where a key is wanted",
		"? {a: b}\n: x":                         "f:1:3: a mapping where a key is wanted",
		"words: {~: x}":                         `f:1:9: no value (write "" for the empty text)`,
		"words: {a: }":                          `f:1:12: no value (write "" for the empty text)`,
		"name:":                                 `f:1:6: no value (write "" for the empty text)`,
		"even: ~":                               `f:1:7: no value (write "" for the empty text)`,
		"both:":                                 `f:1:6: no value (write "" for the empty text)`,
		"name: [x]":                             "f:1:7: a list where a single value is wanted",
		"name: {x: y}":                          "f:1:7: a mapping where a single value is wanted",
		"even: [x]":                             "f:1:7: a list where a single value is wanted",
		"words:":                                "f:1:7: nothing where a mapping (key: value) is wanted",
		"words: x":                              "f:1:8: a text where a mapping (key: value) is wanted",
		"pointer: 1":                            "f:1:10: a number where a mapping (key: value) is wanted",
		"both: [x]":                             "f:1:7: a list where a mapping (key: value) is wanted",
		"list:":                                 "f:1:6: nothing where a list is wanted",
		"list: {a: b}":                          "f:1:7: a mapping where a list is wanted",
		"x":                                     "f:1:1: a text where a mapping (key: value) is wanted",
		"[]":                                    "f:1:1: a list where a mapping (key: value) is wanted",
		"count: x":                              "f:1:8: a text where a whole number is wanted",
		`count: "1"`:                            "f:1:8: a text where a whole number is wanted",
		"count: 1.5":                            "f:1:8: a number where a whole number is wanted",
		"count: 0x10":                           "f:1:8: a number where a whole number is wanted",
		"count: 1_000":                          "f:1:8: a number where a whole number is wanted",
		"long: 9223372036854775808":             "f:1:7: a number where a whole number is wanted",
		"count: true":                           "f:1:8: true or false where a whole number is wanted",
		"on: yes":                               "f:1:5: a text where true or false is wanted",
		`on: "true"`:                            "f:1:5: a text where true or false is wanted",
		"on: 1":                                 "f:1:5: a number where true or false is wanted",
		"on: ~":                                 `f:1:5: no value (write "" for the empty text)`,
		"even: abc":                             "f:1:7: odd",
		"evens: {abc: 1}":                       "f:1:9: odd",
		"evens:\n  abc: x\n  ab: x":             "f:2:3: odd (and 1 more)",
		"free: {a: .inf}":                       "f:1:11: a number that JSON does not have or 64 bits do not hold",
		"free: {a: .nan}":                       "f:1:11: a number that JSON does not have or 64 bits do not hold",
		`{"free": {"a": 1e999}}`:                "f:1:16: a number that JSON does not have or 64 bits do not hold",
		"free: {a: 9223372036854775808}":        "f:1:11: a number that JSON does not have or 64 bits do not hold",
		"free: {a: 99999999999999999999999}":    "f:1:11: a number that JSON does not have or 64 bits do not hold",
		`{"free": {"a": 99999999999999999999}}`: "f:1:16: a number that JSON does not have or 64 bits do not hold",
		"pointer:\n  low: 1":                    "f:2:3: low: above high (and 1 more)",
		"list: [{low: 1, high: 2}, {low: 1}]":   "f:1:27: low: above high (and 1 more)",
		"parts:\n  p:\n    low: 1\n    high: x": "f:4:11: a text where a whole number is wanted",
		"name: x\n---\nname: y":                 "f:2:1: a second document (only one is read)",
		"name: x\n---\n":                        "f:2:1: a second document (only one is read)",
		"name: x\n--- \n]":                      "f:2:1: syntax: did not find expected node content",
		`{"name": "x"}}`:                        "f:1:1: syntax: did not find expected <document start>",
		"name: {":                               "f:1:1: syntax: did not find expected node content",
		"name: x\n\tinner: y":                   "f:2:1: syntax: found a tab character that violates indentation",
		"name: \"\xff\"":                        "f:1:1: syntax: invalid leading UTF-8 octet",
		"{\"name\": \"\xff\"}":                  "f:1:1: syntax: invalid leading UTF-8 octet",
		"name: \x01":                            "f:1:1: syntax: control characters are not allowed",
		"free: {a: " + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}":     "f:1:73: nested deeper than 64 levels",
		`{"free":{"a":` + strings.Repeat("[", 70) + strings.Repeat("]", 70) + "}}": "f:1:76: nested deeper than 64 levels",
	} {
		switch _, err := decode(t, text); {
		case err == nil:
			t.Errorf("%q: no error", text)
		case err.Error() != want:
			t.Errorf("%q:\n got %s\nwant %s", text, err, want)
		}
	}
}

func TestAllFaultsInOrder(t *testing.T) {
	_, err := decode(t, "name: []\nlist:\n- low: x\n- low: 1\nevens:\n  abc: 1\nnope: 1\ncount: 1\n")
	var all Errors
	if !errors.As(err, &all) {
		t.Fatalf("%T is not Errors", err)
	}
	var got []string
	for _, e := range all.Unwrap() {
		place, _, _ := strings.Cut(e.Error(), ": ")
		got = append(got, place)
	}
	want := []string{"f:1:7", "f:3:8", "f:4:3", "f:4:3", "f:6:3", "f:7:1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s\n%v", diff, all.Unwrap())
	}
}

func TestFaultsAreBounded(t *testing.T) {
	var text strings.Builder
	for i := range 10 * maxErrors {
		fmt.Fprintf(&text, "k%d: x\n", i)
	}
	text.WriteString("pointer: {low: 1, x: 1}\n") // not to be validated, in spite of the bound
	_, err := decode(t, text.String())
	var all Errors
	if !errors.As(err, &all) || len(all) != maxErrors {
		t.Errorf("%d faults", len(all))
	}
}

// locatedList has errors that know their place.
type locatedList struct {
	Items []item `yaml:"items"`
}

type item struct {
	Pos  Pos
	Name string `yaml:"name"`
}

func (l *locatedList) Validate() error {
	var errs []error
	for _, i := range l.Items {
		errs = append(errs, At(i.Pos, errBad))
	}
	return errors.Join(append(errs, errors.New("placeless"))...)
}

var errBad = errors.New("bad")

func TestValidateKnowsPlaces(t *testing.T) {
	text := "\nitems:\n- name: a\n-   name: b\n"
	var l locatedList
	err := Decode("f", []byte(text), &l)
	if !errors.Is(err, errBad) {
		t.Errorf("%v does not wrap the error", err)
	}
	var all Errors
	errors.As(err, &all)
	if got := fmt.Sprint(all.Unwrap()); got != "[f:3:3: bad f:4:5: bad f:2:1: placeless]" {
		t.Error(got)
	}
	if want := (Pos{"f", 4, 5}); l.Items[1].Pos != want {
		t.Errorf("Pos = %v", l.Items[1].Pos)
	}
}

// once counts how often it is validated.
type once struct {
	N     string `yaml:"n"`
	times int
}

func (o *once) Validate() error { o.times++; return nil }

func TestValidateIsCalledOnce(t *testing.T) {
	var v struct {
		Plain   once            `yaml:"plain"`
		Pointer *once           `yaml:"pointer"`
		List    []once          `yaml:"list"`
		Map     map[string]once `yaml:"map"`
	}
	if err := Decode("f", []byte("plain: {n: 1}\npointer: {n: 1}\nlist: [{n: 1}]\nmap: {k: {n: 1}}"), &v); err != nil {
		t.Fatal(err)
	}
	for what, times := range map[string]int{
		"plain": v.Plain.times, "pointer": v.Pointer.times, "list": v.List[0].times, "map": v.Map["k"].times,
	} {
		if times != 1 {
			t.Errorf("%s: validated %d times", what, times)
		}
	}
}

func TestOverlay(t *testing.T) {
	s := sample{
		Name: "below", Count: 1, Words: map[string]string{"a": "1", "b": "1"},
		Parts: map[string]part{"p": {Low: 1, High: 5}}, List: []part{{High: 1}, {High: 2}},
		Pointer: &part{Low: 3, High: 4}, Free: map[string]any{"x": true, "y": 1},
	}
	texts := []string{
		"count: 2\nwords: {b: '2', c: '3'}\nparts: {p: {high: 9}}\nlist: [{high: 7}]\npointer: {high: 8}\nfree: {x: }",
		"", "pointer:\nparts: {p: }", "inner: top",
	}
	for i, text := range texts {
		if err := Decode(strconv.Itoa(i), []byte(text), &s); err != nil {
			t.Fatal(err)
		}
	}
	s.Pos = Pos{}
	want := sample{
		Name: "below", Count: 2, Words: map[string]string{"a": "1", "b": "2", "c": "3"},
		Parts: map[string]part{"p": {Low: 1, High: 9}}, List: []part{{High: 7}},
		Pointer: &part{Low: 3, High: 8}, Free: map[string]any{"x": nil, "y": 1}, Embedded: Embedded{Inner: "top"},
	}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
}

func TestJSON(t *testing.T) {
	text := `
{ "name": "\ud83d\ude00 \/ \u0041",
  "words": {"é": "\u2028", "k": "x"}, "free": {"a": [1, -0, 2.5, 1e2, null, true, "s"]},
	"count" : 3 }`
	got, err := decode(t, text)
	want := sample{
		Name: "😀 / A", Words: map[string]string{"é": "\u2028", "k": "x"}, Count: 3,
		Free: map[string]any{"a": []any{int64(1), int64(0), 2.5, 100.0, nil, true, "s"}},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
}

// TestJSONPlaces wants every fault where it is, also behind surrogate pairs
// and in lines with more bytes than characters.
func TestJSONPlaces(t *testing.T) {
	for text, want := range map[string]string{
		"{\"name\": \"\\ud83d\\ude00\", \"on\": 1}":             "f:1:32: a number",
		"{\"name\": \"\\ud83d\\ude00\",\n\t\"on\" : \"x\"}":     "f:2:9: a text",
		"{\"name\": \"😀é\", \"on\": 1}":                         "f:1:22: a number",
		"{\"name\": \"\\ud83d\\ude00\",\r\n\"nope\": 1}":        "f:2:1: unknown key",
		"\n\n {\"list\": [ {}, {}\n , 7]}":                      "f:4:4: a number",
		"{\"words\": {\"a\": \"\\ud83d\\ude00\", \"a\": \"\"}}": "f:1:33: key \"a\" again",
		"{\"name\": {\"a\":[{\"b\":1}]}, \"on\":   [] }":        "f:1:10: a mapping",
	} {
		if _, err := decode(t, text); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s\n got %v\nwant %s", text, err, want)
		}
	}
}
