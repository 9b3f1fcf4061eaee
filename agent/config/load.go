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
	c := Default()
	found := 0
	words := commandLine(o.CommandLine)
	files := o.Files
	if path := words["bootagent.config"]; path != "" {
		files = append(files[:len(files):len(files)], path)
	}
	for _, path := range files {
		text, err := readConfig(path)
		if errors.Is(err, os.ErrNotExist) && path != words["bootagent.config"] {
			continue
		} else if err != nil {
			return Config{}, fmt.Errorf("configuration %s: %v", path, errnoOf(err))
		}
		if err := Decode(path, text, &c); err != nil {
			return Config{}, err
		}
		found++
	}
	if o.Credentials != nil {
		if text, err := o.Credentials("bootagent.config"); err == nil {
			if err := Decode("credential bootagent.config", text, &c); err != nil {
				return Config{}, err
			}
			found++
		}
	}
	if found == 0 {
		return Config{}, fmt.Errorf("no configuration: %s: not there (write it, or name one by --config)", strings.Join(files, ", "))
	}
	return c, c.override(words)
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
