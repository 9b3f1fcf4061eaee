package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
	"strings"
)

// maxSecret bounds what is read for a secret: systemd takes 1 MB of
// credentials a unit.
const maxSecret = 1 << 20

// Secret says where a secret is, or a certificate. It is never written inline.
type Secret struct {
	Credential string `yaml:"credential" json:"credential,omitzero"` // by name, see Credentials
	File       string `yaml:"file" json:"file,omitzero"`
	Env        string `yaml:"env" json:"env,omitzero"`
}

// Credentials finds a credential by its name, e.g. in the folder that systemd
// gave the unit. [os.ErrNotExist] means that there is none of that name.
type Credentials func(name string) ([]byte, error)

// Set tells whether the secret is named at all.
func (s Secret) Set() bool { return s.Credential+s.File+s.Env != "" }

// String says where the secret is, not what.
func (s Secret) String() string {
	switch {
	case s.Credential != "":
		return "credential " + s.Credential
	case s.File != "":
		return "file " + s.File
	}
	return "environment variable " + s.Env
}

// Validate wants exactly one place.
func (s *Secret) Validate() error {
	places := 0
	for _, place := range []string{s.Credential, s.File, s.Env} {
		if place != "" {
			places++
		}
	}
	switch {
	case places != 1:
		return errors.New("one of credential, file and env is wanted")
	case strings.Contains(s.Credential, "/") || strings.HasPrefix(s.Credential, "."):
		return errors.New("credential: a name is wanted, no slash in it and no dot first")
	case s.File != "" && !filepath.IsAbs(s.File):
		return errors.New("file: an absolute path is wanted")
	}
	return nil
}

// Read returns the secret as it is now, without the line feed at its end. A
// secret that is not set is empty.
func (s Secret) Read(credentials Credentials) ([]byte, error) {
	var content []byte
	var err error
	switch {
	case s.Credential != "":
		content, err = credentials(s.Credential)
	case s.File != "":
		content, err = readBounded(s.File)
	case s.Env != "":
		value, ok := os.LookupEnv(s.Env)
		if content = []byte(value); !ok {
			err = os.ErrNotExist
		}
	}
	if errors.Is(err, os.ErrNotExist) {
		err = errors.New("not there")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %v", s, err)
	}
	return bytes.TrimSuffix(content, []byte("\n")), nil
}

// Folder finds credentials as files of a folder; one that systemd loaded from
// a folder of its own, `LoadCredential=agent:DIR`, has the prefix agent_. No
// folder has none.
func Folder(folder string) Credentials {
	return func(name string) ([]byte, error) {
		if folder == "" {
			return nil, os.ErrNotExist
		}
		content, err := readBounded(filepath.Join(folder, name))
		if errors.Is(err, os.ErrNotExist) {
			content, err = readBounded(filepath.Join(folder, "agent_"+name))
		}
		return content, err
	}
}

func readBounded(path string) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0) // a pipe without a writer is empty
	if err != nil {
		return nil, errnoOf(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if len(content) > maxSecret {
		err = fmt.Errorf("larger than %d bytes", maxSecret)
	}
	return content, errnoOf(err)
}

// errnoOf leaves out the path: who calls names the place already.
func errnoOf(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	return err
}
