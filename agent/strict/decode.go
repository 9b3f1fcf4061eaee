package strict

import (
	"encoding"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// decoder decodes one text and collects its faults.
type decoder struct {
	file  string
	depth int

	faults int    // how many there were
	errs   Errors // the first of them
}

func (d *decoder) pos(n *yaml.Node) Pos {
	return Pos{File: d.file, Line: n.Line, Column: n.Column}
}

func (d *decoder) errorf(n *yaml.Node, format string, args ...any) {
	d.add(At(d.pos(n), fmt.Errorf(format, args...)))
}

func (d *decoder) add(err error) {
	if d.faults++; len(d.errs) < maxErrors {
		d.errs = append(d.errs, err)
	}
}

// report adds the errors of a value's own code.
func (d *decoder) report(n *yaml.Node, err error) {
	for _, e := range flatten(err) {
		if !isLocated(e) {
			e = At(d.pos(n), e)
		}
		d.add(e)
	}
}

// decode fills the value that v points to.
func (d *decoder) decode(n *yaml.Node, v any) {
	d.value(n, reflect.ValueOf(v).Elem())
}

func (d *decoder) value(n *yaml.Node, v reflect.Value) {
	if d.depth++; d.depth > maxDepth {
		d.errorf(n, "nested deeper than %d levels", maxDepth)
	} else if d.plain(n) {
		faults := d.faults
		d.kind(n, v)
		d.validate(n, v, faults)
	}
	d.depth--
}

// plain tells whether the node stands for itself, and reports it if not.
func (d *decoder) plain(n *yaml.Node) bool {
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		d.errorf(n, "anchors and aliases are not taken: write the value where it is used")
	case n.Style&yaml.TaggedStyle != 0:
		d.errorf(n, "tags are not taken: write the plain value")
	default:
		return true
	}
	return false
}

func (d *decoder) validate(n *yaml.Node, v reflect.Value, faults int) {
	if d.faults > faults || !v.CanAddr() {
		return
	}
	if val, ok := v.Addr().Interface().(Validator); ok {
		if err := val.Validate(); err != nil {
			d.report(n, err)
		}
	}
}

func (d *decoder) kind(n *yaml.Node, v reflect.Value) {
	u, ok := v.Addr().Interface().(encoding.TextUnmarshaler)
	if ok && (n.Kind == yaml.ScalarNode || v.Kind() != reflect.Struct) {
		d.text(n, u)
		return
	}
	switch v.Kind() {
	case reflect.Pointer:
		d.pointer(n, v)
	case reflect.Struct:
		d.structure(n, v)
	case reflect.Map:
		d.mapping(n, v)
	case reflect.Slice:
		d.list(n, v)
	case reflect.Interface:
		d.free(n, v)
	default:
		d.scalar(n, v)
	}
}

func (d *decoder) text(n *yaml.Node, u encoding.TextUnmarshaler) {
	if !d.isScalar(n) {
		return
	}
	if err := u.UnmarshalText([]byte(n.Value)); err != nil {
		d.report(n, err)
	}
}

func (d *decoder) pointer(n *yaml.Node, v reflect.Value) {
	target := reflect.New(v.Type().Elem())
	if !v.IsNil() {
		target = v
	}
	d.value(n, target.Elem())
	v.Set(target)
}

func (d *decoder) structure(n *yaml.Node, v reflect.Value) {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!null" {
		n = &yaml.Node{Kind: yaml.MappingNode, Line: n.Line, Column: n.Column}
	}
	fields := fieldsOf(v)
	if pos := v.FieldByName("Pos"); pos.IsValid() && pos.Type() == reflect.TypeFor[Pos]() {
		pos.Set(reflect.ValueOf(d.pos(n)))
	}
	d.pairs(n, func(key, value *yaml.Node) {
		if field, ok := fields[key.Value]; ok {
			d.value(value, field)
			return
		}
		d.errorf(key, "unknown key%s (known: %s)", named(key, value), known(fields))
	})
}

// fieldsOf lists the fields of a struct, those of embedded structs too, by
// their keys.
func fieldsOf(v reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for f, value := range v.Fields() {
		if key := f.Tag.Get("yaml"); key != "" {
			fields[key] = value
		} else if f.Anonymous && f.Type.Kind() == reflect.Struct {
			maps.Copy(fields, fieldsOf(value))
		}
	}
	return fields
}

// named quotes a key, but not the lone word in {word}: who wrote that may have
// meant a value that begins with a brace, and such a value may be a secret.
func named(key, value *yaml.Node) string {
	if value.Tag == "!!null" && value.Value == "" {
		return ""
	}
	return fmt.Sprintf(" %q", clip(key.Value))
}

func known(fields map[string]reflect.Value) string {
	keys := make([]string, 0, len(fields))
	for key := range fields {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return strings.Join(keys, ", ")
}

func (d *decoder) mapping(n *yaml.Node, v reflect.Value) {
	if v.IsNil() {
		v.Set(reflect.MakeMap(v.Type()))
	}
	d.pairs(n, func(key, value *yaml.Node) {
		name := reflect.New(v.Type().Key()).Elem()
		faults := d.faults
		d.kind(key, name)
		if d.faults > faults {
			return
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if old := v.MapIndex(name); old.IsValid() {
			element.Set(old)
		}
		d.value(value, element)
		v.SetMapIndex(name, element)
	})
}

// pairs calls do for each key of a mapping, and reports keys that are not
// plain words or come twice.
func (d *decoder) pairs(n *yaml.Node, do func(key, value *yaml.Node)) {
	if n.Kind != yaml.MappingNode {
		d.errorf(n, "%s where a mapping (key: value) is wanted", describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		switch line, twice := seen[key.Value], seen[key.Value] != 0; {
		case key.Kind != yaml.ScalarNode || key.Tag == "!!merge":
			d.errorf(key, "%s where a key is wanted", describe(key))
		case !d.plain(key):
		case twice:
			d.errorf(key, "key %q again (first in line %d)", clip(key.Value), line)
		default:
			seen[key.Value] = key.Line
			do(key, value)
		}
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value) {
	if n.Kind != yaml.SequenceNode {
		d.errorf(n, "%s where a list is wanted", describe(n))
		return
	}
	list := reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content))
	for i, item := range n.Content {
		d.value(item, list.Index(i))
	}
	v.Set(list)
}

// scalar decodes strings, booleans and whole numbers.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value) {
	if !d.isScalar(n) {
		return
	}
	switch v.Kind() {
	case reflect.String:
		v.SetString(n.Value)
	case reflect.Bool:
		if n.Tag != "!!bool" {
			d.errorf(n, "%s where true or false is wanted", describe(n))
			return
		}
		v.SetBool(strings.EqualFold(n.Value, "true"))
	case reflect.Int, reflect.Int64:
		i, err := strconv.ParseInt(n.Value, 10, v.Type().Bits())
		if err != nil || n.Tag != "!!int" {
			d.errorf(n, "%s where a whole number is wanted", describe(n))
			return
		}
		v.SetInt(i)
	default:
		panic("strict: no decoding for " + v.Type().String())
	}
}

func (d *decoder) isScalar(n *yaml.Node) bool {
	switch {
	case n.Kind != yaml.ScalarNode:
		d.errorf(n, "%s where a single value is wanted", describe(n))
	case n.Tag == "!!null":
		d.errorf(n, `no value (write "" for the empty text)`)
	default:
		return true
	}
	return false
}

// free decodes what has no type of its own into the types of encoding/json,
// whole numbers as int64.
func (d *decoder) free(n *yaml.Node, v reflect.Value) {
	var value any
	switch n.Kind {
	case yaml.MappingNode:
		value = into[map[string]any](d, n)
	case yaml.SequenceNode:
		value = into[[]any](d, n)
	default:
		value = d.freeScalar(n)
	}
	if value == nil {
		v.SetZero()
		return
	}
	v.Set(reflect.ValueOf(value))
}

func into[T any](d *decoder, n *yaml.Node) T {
	var v T
	d.kind(n, reflect.ValueOf(&v).Elem())
	return v
}

func (d *decoder) freeScalar(n *yaml.Node) any {
	var err error
	var value any
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		return strings.EqualFold(n.Value, "true")
	case "!!int":
		value, err = strconv.ParseInt(n.Value, 0, 64)
	case "!!float":
		value, err = parseFloat(n.Value)
	default:
		return n.Value
	}
	if err != nil {
		d.errorf(n, "a number that JSON does not have or 64 bits do not hold")
		return nil
	}
	return value
}

// parseFloat refuses whole numbers, too: one that is no int64 would lose
// digits.
func parseFloat(s string) (float64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err == nil && (math.IsInf(f, 0) || math.IsNaN(f) || !strings.ContainsAny(s, ".eE")) {
		err = errors.New("not finite, or too long")
	}
	return f, err
}

// describe says what a node is, never what it holds.
func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "a mapping"
	case yaml.SequenceNode:
		return "a list"
	case yaml.AliasNode:
		return "an alias"
	}
	switch n.Tag {
	case "!!null":
		return "nothing"
	case "!!bool":
		return "true or false"
	case "!!int", "!!float":
		return "a number"
	case "!!merge":
		return "a merge key"
	}
	return "a text"
}

// clip shortens a key for an error: the text is a stranger's.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
