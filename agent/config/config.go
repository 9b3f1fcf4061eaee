// Package config reads bootagent.yaml, the configuration that is baked into an
// image and the same wherever the image boots.
//
// It decides what may be written there, and nobody checks again: a [Config]
// that [Load] returned is whole and sound. It opens no connection and reads no
// secret; what a source or a registry does with its part is decided there.
package config

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent/strict"
)

// Config is bootagent.yaml.
type Config struct {
	Node     Node     `yaml:"node"`
	Boot     Boot     `yaml:"boot"`
	Checks   Checks   `yaml:"checks"`
	Sources  []Source `yaml:"sources"` // later ones win, key by key
	Registry Registry `yaml:"registry"`
	Logs     []Sink   `yaml:"logs"`
	Output   Output   `yaml:"output"`
	Status   Status   `yaml:"status"`
}

// Node says who the node is. All of it may take facts: ${machine_id}.
type Node struct {
	ID   string `yaml:"id"`   // the identity in the inventory
	Role string `yaml:"role"` // what nodes of one kind have in common
	Name string `yaml:"name"` // with ${ordinal} it is claimed from the registry
}

// Boot says how a boot goes.
type Boot struct {
	Deadline Duration `yaml:"deadline"` // for all of its steps together
}

// Checks is the policy of each check, see package check.
type Checks struct {
	Root       Policy `yaml:"root"`
	Superblock Policy `yaml:"superblock"`
}

// Output says where a boot publishes.
type Output struct {
	Directory   string   `yaml:"directory"`   // the root of all but the credentials; on tmpfs
	Credentials string   `yaml:"credentials"` // a credential store as systemd reads it; on tmpfs
	EnvMode     FileMode `yaml:"env_mode"`    // of the environment file
}

// Status says where the resident answers.
type Status struct {
	Socket string `yaml:"socket"` // default: status.sock in the output directory
	Listen string `yaml:"listen"` // a loopback address, or "off"
}

// Default is the configuration of a node whose bootagent.yaml is empty.
func Default() Config {
	return Config{
		Node:   Node{ID: "${machine_id}"},
		Boot:   Boot{Deadline: Duration(2 * time.Minute)},
		Checks: Checks{Root: Enforce, Superblock: Warn},
		Output: Output{Directory: "/run/bootagent", Credentials: "/run/credstore", EnvMode: 0o600},
		Status: Status{Listen: "127.0.0.1:2016"},
	}
}

// Validate checks what no single key can know.
func (c *Config) Validate() error {
	var errs []error
	for _, place := range []struct{ key, path string }{
		{"output.directory", c.Output.Directory},
		{"output.credentials", c.Output.Credentials},
		{"status.socket", cmp.Or(c.Status.Socket, "/")},
	} {
		if !filepath.IsAbs(place.path) || filepath.Clean(place.path) != place.path {
			errs = append(errs, fmt.Errorf("%s: %q is not an absolute, clean path", place.key, place.path))
		}
	}
	if strings.Contains(c.Node.ID, "${ordinal}") || strings.Contains(c.Node.Role, "${ordinal}") {
		errs = append(errs, errors.New("node: only the name may have an ${ordinal}: it is claimed for an identity"))
	}
	return errors.Join(append(errs, different(c.Logs))...)
}

// Naming tells whether the name can be had from the registry. Each may come
// from another text than the other, the document too, so that it is asked when
// all were read.
func (c *Config) Naming() error {
	if strings.Contains(c.Node.Name, "${ordinal}") && !c.Registry.Set() {
		return errors.New("node.name: an ${ordinal} is claimed from a registry, and there is none (add registry:)")
	}
	return nil
}

// Validate checks the address: the endpoint tells a lot about the node, and
// is for those on it.
func (s *Status) Validate() error {
	if s.Listen == "off" {
		return nil
	}
	return loopback(s.Listen)
}

// Decode reads a configuration over what c holds already: a key that the text
// does not name keeps its value. The name stands for the text in errors.
func Decode(name string, text []byte, c *Config) error {
	return strict.Decode(name, text, c)
}
