package strict

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// maxDepth bounds how deep a text may nest: recursion over a text that the
// network sent must end.
const maxDepth = 64

// maxErrors bounds what is remembered of a text that is all faults.
const maxErrors = 100

// parse returns the one value of a text as a tree of nodes; nil if the text
// is empty.
func parse(name string, text []byte) (*yaml.Node, error) {
	if root, ok := parseJSON(text); ok {
		return root, nil
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	var doc yaml.Node
	switch err := dec.Decode(&doc); {
	case errors.Is(err, io.EOF):
		return nil, nil
	case err != nil:
		return nil, syntaxError(name, err)
	}
	var second yaml.Node
	switch err := dec.Decode(&second); {
	case err == nil:
		return nil, At(Pos{name, second.Line, second.Column}, errors.New("a second document (only one is read)"))
	case !errors.Is(err, io.EOF):
		return nil, syntaxError(name, err)
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" && root.Value == "" {
		return nil, nil
	}
	return root, nil
}

// syntaxError gives the parser's complaint the form of ours. The parser
// quotes nothing of the text but the name of an alias, which is a value that
// nobody put in quotes: *secret.
func syntaxError(name string, err error) error {
	msg := strings.TrimPrefix(err.Error(), "yaml: ")
	if strings.HasPrefix(msg, "unknown anchor ") {
		msg = "an alias without its anchor (a text that begins with * needs quotes)"
	}
	pos := Pos{File: name, Line: 1, Column: 1}
	if m := regexp.MustCompile(`^line (\d+): `).FindStringSubmatch(msg); m != nil {
		pos.Line, _ = strconv.Atoi(m[1])
		msg = msg[len(m[0]):]
	}
	return At(pos, fmt.Errorf("syntax: %s", msg))
}

// parseJSON reads a text that is JSON. YAML parsers take most of JSON but
// not all: a character beyond the BMP, which JSON may write as two \u
// escapes, is an error to them. What is not UTF-8 is left to them: package
// json would take it, and change it.
func parseJSON(text []byte) (*yaml.Node, bool) {
	trimmed := bytes.TrimLeft(text, " \t\r\n")
	if len(trimmed) == 0 || trimmed[0] != '{' || !utf8.Valid(text) || !json.Valid(text) {
		return nil, false
	}
	p := jsonParser{dec: json.NewDecoder(bytes.NewReader(text)), text: text}
	p.dec.UseNumber()
	return p.value(), true
}

type jsonParser struct {
	dec  *json.Decoder
	text []byte

	// How far lines were counted, and the characters of the last of them.
	offset, line, column int
}

// value reads the next value. The text was found valid before, so that no
// token is an error.
func (p *jsonParser) value() *yaml.Node {
	node := p.node()
	tok, _ := p.dec.Token()
	switch tok := tok.(type) {
	case json.Delim:
		node.Kind, node.Tag = yaml.MappingNode, "!!map"
		if tok == '[' {
			node.Kind, node.Tag = yaml.SequenceNode, "!!seq"
		}
		for p.dec.More() {
			node.Content = append(node.Content, p.value())
		}
		_, _ = p.dec.Token()
	case string:
		node.Tag, node.Value = "!!str", tok
	case json.Number:
		node.Tag, node.Value = "!!int", tok.String()
		if strings.ContainsAny(node.Value, ".eE") {
			node.Tag = "!!float"
		}
	case bool:
		node.Tag, node.Value = "!!bool", strconv.FormatBool(tok)
	case nil:
		node.Tag, node.Value = "!!null", "null"
	}
	return node
}

// node is a scalar, to be filled, at the place of the next token.
func (p *jsonParser) node() *yaml.Node {
	next := int(p.dec.InputOffset())
	for next < len(p.text) && strings.IndexByte(" \t\r\n,:", p.text[next]) >= 0 {
		next++
	}
	for ; p.offset < next; p.offset++ {
		switch c := p.text[p.offset]; {
		case c == '\n':
			p.line, p.column = p.line+1, 0
		case utf8.RuneStart(c):
			p.column++
		}
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Line: p.line + 1, Column: p.column + 1}
}
