// Package document is what the sources of truth say about a node: its
// environment, files, credentials and flags, and some settings of the agent.
//
// It parses one source's text, strictly, into a [Layer]; lays layers over each
// other, key by key, remembering where each key came from; and decides which
// names and values are taken at all. It knows nothing of how a text was
// fetched, nor of how a document is written to a node.
package document

import (
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/strict"
)

// Limits of a document: far above what a node needs, far below what hurts it.
const (
	MaxSize = 8 << 20 // bytes of one source's text

	maxKeys       = 50_000
	maxCredential = 1 << 20 // what systemd takes in all for a unit
	maxEnvValue   = 128<<10 - 512
)

// Document says what a node is to have. Names and values are valid, see Parse.
type Document struct {
	Env         map[EnvName]EnvValue
	Files       map[FileName]File
	Credentials map[CredentialName]Credential
	Flags       map[FlagName]any // as encoding/json has them, whole numbers as int64
	Agent       config.Agent
}

// File is a file of a document.
type File struct {
	Content string          `yaml:"content"`
	Mode    config.FileMode `yaml:"mode"`  // 0644 if zero
	Owner   Account         `yaml:"owner"` // root if empty
	Group   Account         `yaml:"group"` // root if empty
}

// Perm is the file's permissions.
func (f File) Perm() fs.FileMode {
	if f.Mode == 0 {
		return 0o644
	}
	return fs.FileMode(f.Mode)
}

// Credential is a secret, as a text or as {base64: …}.
type Credential struct {
	Base64 *string `yaml:"base64"`
	Value  []byte
}

// UnmarshalText takes the text itself.
func (c *Credential) UnmarshalText(text []byte) error {
	c.Value = append([]byte{}, text...)
	return c.bounded()
}

// Validate decodes the base64 form.
func (c *Credential) Validate() error {
	if c.Value != nil {
		return nil
	}
	if c.Base64 == nil {
		return errors.New("a text or {base64: …} is wanted")
	}
	value, err := base64.StdEncoding.DecodeString(*c.Base64)
	if err != nil {
		return errors.New("base64: not of the standard form with padding (RFC 4648, section 4)")
	}
	c.Value, c.Base64 = value, nil
	return c.bounded()
}

func (c *Credential) bounded() error {
	if len(c.Value) > maxCredential {
		return fmt.Errorf("larger than %d bytes, which systemd would not take", maxCredential)
	}
	return nil
}

// Layer is one source's part of the truth.
type Layer struct {
	Source string // where it is from, no secret in it
	Document
}

// text is the form in which a source writes a document.
type text struct {
	Version     int                           `yaml:"version"`
	Env         map[EnvName]EnvValue          `yaml:"env"`
	Files       map[FileName]File             `yaml:"files"`
	Credentials map[CredentialName]Credential `yaml:"credentials"`
	Flags       map[FlagName]any              `yaml:"flags"`
	Agent       config.Agent                  `yaml:"agent"`
}

// Validate wants the one version there is.
func (t *text) Validate() error {
	if t.Version != 1 {
		return errors.New("version: 1 is wanted (is this a bootagent document?)")
	}
	if n := len(t.Env) + len(t.Files) + len(t.Credentials) + len(t.Flags); n > maxKeys {
		return fmt.Errorf("%d keys (at most %d)", n, maxKeys)
	}
	return nil
}

// Parse reads a document in YAML or JSON. The name stands for it in errors,
// which tell of names and places, never of values.
func Parse(name string, content []byte) (Document, error) {
	if len(content) > MaxSize {
		return Document{}, fmt.Errorf("%s: larger than %d bytes", name, MaxSize)
	}
	var t text
	if err := strict.Decode(name, content, &t); err != nil {
		return Document{}, err
	}
	if err := t.Validate(); err != nil { // also of an empty text
		return Document{}, fmt.Errorf("%s: %v", name, err)
	}
	return Document{t.Env, t.Files, t.Credentials, t.Flags, t.Agent}, nil
}
