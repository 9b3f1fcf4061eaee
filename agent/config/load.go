package config

import (
	"errors"
	"fmt"
	"os"
	"strings"
)

// Origin says where the configuration of this boot comes from. The order is
// fixed, weakest first: the built-in defaults, the files, the credential, the
// kernel command line.
type Origin struct {
	Files       []string    // those that are there are read, one over the other
	Named       bool        // the files were named by somebody, and must be there
	Credentials Credentials // bootagent.config in it is a whole configuration
	CommandLine []string    // the kernel's words, see package systemd
}

// Files are where an installed agent looks: the vendor's, then the image's.
func Files() []string {
	return []string{"/usr/lib/bootagent/bootagent.yaml", "/etc/bootagent/bootagent.yaml"}
}

// Load reads the configuration. That there is none at all is an error: a node
// that does nothing must be meant to.
func Load(o Origin) (Config, error) {
	words := commandLine(o.CommandLine)
	c, found := Default(), 0
	for _, t := range o.texts(words["bootagent.config"]) {
		content, err := t.read()
		if t.optional && errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return Config{}, fmt.Errorf("configuration %s: %v", t.name, errnoOf(err))
		}
		if err := Decode(t.name, content, &c); err != nil {
			return Config{}, err
		}
		found++
	}
	if found == 0 {
		return Config{}, fmt.Errorf("no configuration: %s: not there (write it, or name one by --config)", strings.Join(o.Files, ", "))
	}
	if err := c.override(words); err != nil {
		return Config{}, err
	}
	return c, nil
}

// text is one of the texts that a configuration is laid together from.
type text struct {
	name     string
	read     func() ([]byte, error)
	optional bool
}

// texts lists them, weakest first. What the command line names must be there.
func (o Origin) texts(named string) []text {
	var list []text
	for _, path := range o.Files {
		list = append(list, text{path, func() ([]byte, error) { return readConfig(path) }, !o.Named})
	}
	if o.Credentials != nil {
		const name = "bootagent.config"
		list = append(list, text{"credential " + name, func() ([]byte, error) { return o.Credentials(name) }, true})
	}
	if named != "" {
		list = append(list, text{named, func() ([]byte, error) { return readConfig(named) }, false})
	}
	return list
}

func readConfig(path string) ([]byte, error) {
	if strings.Contains(path, "://") {
		return nil, errors.New("a path is wanted")
	}
	return readBounded(path)
}

// commandLine finds our words; the last of a kind counts.
func commandLine(words []string) map[string]string {
	ours := map[string]string{}
	for _, word := range words {
		key, value, _ := strings.Cut(word, "=")
		if strings.HasPrefix(key, "bootagent.") {
			ours[key] = value
		}
	}
	return ours
}

// override sets what the command line says of single keys.
func (c *Config) override(words map[string]string) error {
	if role, ok := words["bootagent.role"]; ok {
		c.Node.Role = role
	}
	if policy, ok := words["bootagent.root"]; ok {
		if err := c.Checks.Root.UnmarshalText([]byte(policy)); err != nil {
			return fmt.Errorf("kernel command line: bootagent.root: %v", err)
		}
	}
	return nil
}
