// Package strict reads YAML and JSON texts that people and other machines
// wrote, and takes nothing on trust: every key must be known, none may come
// twice, and every fault is reported with its file, line and column, all of
// them in one go.
//
// It serves the configuration and the documents alike. What a key means, and
// which values it takes, is not decided here but by the types that a text is
// decoded into.
//
// Anchors, aliases, merge keys and explicit tags are refused: a text means
// what it says at the place where it says it, and cannot grow when it is read.
package strict

import (
	"errors"
	"fmt"
	"strings"
)

// Pos is a place in a text. A struct that has a field of this type, named
// Pos, learns from it where its mapping begins.
type Pos struct {
	File         string
	Line, Column int // from 1; columns count characters
}

// String is FILE:LINE:COLUMN, as compilers print it.
func (p Pos) String() string {
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
}

// Validator is implemented by types whose decoded values obey rules of their
// own. Validate is called once, after all of the value was decoded without a
// fault. An error that has no place of its own, see [At], gets the place of
// the value; errors.Join reports several.
type Validator interface {
	Validate() error
}

// At says where in a text err was found.
func At(pos Pos, err error) error {
	return &located{pos: pos, err: err}
}

type located struct {
	pos Pos
	err error
}

func (l *located) Error() string { return l.pos.String() + ": " + l.err.Error() }
func (l *located) Unwrap() error { return l.err }

// Errors are the faults of a text, in its order: all of them, or the first
// hundred.
type Errors []error

// Error is the first fault, and how many follow it: one line, whatever there
// was to say. Use [Errors.Unwrap] for all of them.
func (e Errors) Error() string {
	first := strings.ReplaceAll(e[0].Error(), "\n", " ")
	if len(e) == 1 {
		return first
	}
	return fmt.Sprintf("%s (and %d more)", first, len(e)-1)
}

// Unwrap lists the faults, see [errors.Is].
func (e Errors) Unwrap() []error { return e }

// Decode reads text into v, a pointer. A key of v that the text does not
// name keeps its value, so that defaults are set before and texts can be laid
// over each other; lists are replaced. The name stands for the text in errors.
//
// Struct fields take the key of their yaml tag; strings take any scalar as it
// is written; a type with UnmarshalText, also of a map's keys, decides itself,
// a struct only where a scalar stands in its place. The error is of type
// [Errors] and quotes no value, except where UnmarshalText or Validate do.
func Decode(name string, text []byte, v any) error {
	root, err := parse(name, text)
	if err != nil {
		return Errors{err}
	}
	if root == nil {
		return nil
	}
	d := decoder{file: name}
	d.decode(root, v)
	if len(d.errs) > 0 {
		return d.errs
	}
	return nil
}

// flatten lists the errors that err joins.
func flatten(err error) []error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var all []error
		for _, e := range joined.Unwrap() {
			all = append(all, flatten(e)...)
		}
		return all
	}
	return []error{err}
}

func isLocated(err error) bool {
	var l *located
	return errors.As(err, &l)
}
