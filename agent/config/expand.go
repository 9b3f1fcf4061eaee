package config

import (
	"errors"
	"fmt"
	"regexp"
	"slices"

	"github.com/bootagent/bootagent/agent/facts"
)

// Expand replaces the ${…} in everything that may take facts; what was
// replaced before is left alone, and so is what other copies of c refer to.
// The role may be used in all but itself. The node's name keeps its
// ${ordinal}, which only a registry knows.
func (c *Config) Expand(f facts.Facts) error {
	c.detach()
	role, err := facts.Expand(c.Node.Role, f.Lookup)
	if err != nil {
		return fmt.Errorf("node.role: %v", err)
	}
	c.Node.Role = role
	lookup := func(name string) (string, bool) {
		if name == "role" {
			return role, true
		}
		return f.Lookup(name)
	}
	var errs []error
	for _, t := range c.templates() {
		if *t.text, err = facts.Expand(*t.text, lookup); err != nil {
			errs = append(errs, fmt.Errorf("%s: %v", t.key, err))
		}
	}
	name := func(name string) (string, bool) {
		if name == "ordinal" {
			return "${ordinal}", true
		}
		return lookup(name)
	}
	if c.Node.Name, err = facts.Expand(c.Node.Name, name); err != nil {
		errs = append(errs, fmt.Errorf("node.name: %v", err))
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	return c.Node.plain()
}

// detach makes copies of what c shares with those it was copied from.
func (c *Config) detach() {
	c.Sources, c.Logs = slices.Clone(c.Sources), slices.Clone(c.Logs)
	for i, s := range c.Sources {
		c.Sources[i] = Source{File: copied(s.File), HTTP: copied(s.HTTP)}
	}
	for i, s := range c.Logs {
		c.Logs[i] = Sink{File: copied(s.File), JournalUpload: copied(s.JournalUpload)}
	}
	c.Registry.File, c.Registry.Etcd = copied(c.Registry.File), copied(c.Registry.Etcd)
}

func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	v := *p
	return &v
}

type template struct {
	key  string
	text *string
}

func (c *Config) templates() []template {
	list := []template{{"node.id", &c.Node.ID}}
	for _, s := range c.Sources {
		if s.File != nil {
			list = append(list, template{"sources: file.path", &s.File.Path})
		}
		if s.HTTP != nil {
			list = append(list, template{"sources: http.url", &s.HTTP.URL})
		}
	}
	if r := c.Registry.File; r != nil {
		list = append(list, template{"registry: file.path", &r.Path})
	}
	if r := c.Registry.Etcd; r != nil {
		list = append(list, template{"registry: etcd.prefix", &r.Prefix})
	}
	for _, s := range c.Logs {
		if s.File != nil {
			list = append(list, template{"logs: file.path", &s.File.Path})
		}
		if s.JournalUpload != nil {
			list = append(list, template{"logs: journal_upload.url", &s.JournalUpload.URL})
		}
	}
	return list
}

// plain wants words that can stand in a path, a key and a host name.
func (n Node) plain() error {
	word := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)
	name := regexp.MustCompile(`^([A-Za-z0-9]|\$\{ordinal\})([A-Za-z0-9._-]|\$\{ordinal\}){0,127}$`)
	switch {
	case !word.MatchString(n.ID):
		return fmt.Errorf("node.id: %q: want letters, digits, dots, hyphens and underscores", n.ID)
	case n.Role != "" && !word.MatchString(n.Role):
		return fmt.Errorf("node.role: %q: want letters, digits, dots, hyphens and underscores", n.Role)
	case n.Name != "" && !name.MatchString(n.Name):
		return fmt.Errorf("node.name: %q: want letters, digits, dots, hyphens and underscores", n.Name)
	}
	return nil
}
