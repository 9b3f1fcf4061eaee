package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"

	"github.com/bootagent/bootagent/agent/files"
)

// staging is where a configuration grows before it is published.
const staging = ".config.new"

// Target is where a boot publishes.
type Target struct {
	Directory   string   // the root of all but the credentials
	Credentials string   // the credential store
	Baked       []string // the image's own credential stores: their names are taken

	// Progress, if not nil, is called before each step that can be seen from
	// outside.
	Progress func(step string)
}

// Committed is the key of the boot whose configuration is published, empty if
// none is. It alone decides whether a boot is done.
func (t Target) Committed() string {
	root, err := os.OpenRoot(t.Directory)
	if err != nil {
		return ""
	}
	defer root.Close()
	key, err := files.Read(root, path.Join(configDir, bootFile), 256)
	if err != nil {
		return ""
	}
	return string(key)
}

// Commit publishes tree: first the credentials, then the configuration by one
// rename, with key in its file .boot. The credentials in ours may be
// overwritten; any other that is there already is an error. After an error
// nothing of this tree is left.
func (t Target) Commit(tree Tree, key string, ours []string) error {
	if err := t.free(tree.Credentials, ours); err != nil {
		return err
	}
	if t.Committed() != "" {
		return errors.New("config: published already (withdraw it first)")
	}
	err := t.publish(tree, key)
	if err != nil {
		t.Withdraw(paths(tree.Credentials))
	}
	return err
}

func (t Target) publish(tree Tree, key string) error {
	root, err := os.OpenRoot(t.Directory)
	if err != nil {
		return plain(err)
	}
	defer root.Close()
	if err := t.credentials(root, tree); err != nil {
		return err
	}
	t.progress("stage")
	if err := stage(root, tree.Config, key); err != nil {
		return err
	}
	t.progress("commit")
	if err := root.Rename(staging, configDir); err != nil {
		return fmt.Errorf("config: %v", cause(err))
	}
	t.progress("committed")
	return nil
}

// free wants the names of the credentials not to be anybody else's.
func (t Target) free(credentials []File, ours []string) error {
	for _, c := range credentials {
		for _, store := range t.Baked {
			if _, err := os.Lstat(path.Join(store, c.Path)); err == nil {
				return fmt.Errorf("credential %s: the image has one of this name, in %s", c.Path, store)
			}
		}
		if _, err := os.Lstat(path.Join(t.Credentials, c.Path)); err == nil && !slices.Contains(ours, c.Path) {
			return fmt.Errorf("credential %s: there already, in %s, and not from a boot", c.Path, t.Credentials)
		}
	}
	return nil
}

func (t Target) credentials(root *os.Root, tree Tree) error {
	if len(tree.Credentials) > 0 {
		store, err := openDir(t.Credentials)
		if err != nil {
			return err
		}
		defer store.Close()
		if err := t.replace(store, tree.Credentials); err != nil {
			return err
		}
	}
	if len(tree.Agent) == 0 {
		return nil
	}
	if err := root.Mkdir(agentDir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return plain(err)
	}
	own, err := openAgent(root)
	if err != nil {
		return plain(err)
	}
	defer own.Close()
	return t.replace(own, tree.Agent)
}

// openAgent opens the folder of the resident's credentials. A link in its
// place is not it, wherever it points.
func openAgent(root *os.Root) (*os.Root, error) {
	if info, err := root.Lstat(agentDir); err != nil {
		return nil, err
	} else if !info.IsDir() {
		return nil, fmt.Errorf("%s: not a folder", agentDir)
	}
	return root.OpenRoot(agentDir)
}

// openDir opens a folder for confined writing, and makes it if need be.
func openDir(folder string) (*os.Root, error) {
	if err := os.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, plain(err)
	}
	root, err := os.OpenRoot(folder)
	if err != nil {
		return nil, plain(err)
	}
	return root, nil
}

// replace writes files so that each appears whole.
func (t Target) replace(root *os.Root, files []File) error {
	for _, f := range files {
		t.progress("credential")
		hidden := f
		hidden.Path = ".bootagent." + f.Path
		_ = root.Remove(hidden.Path)
		err := write(root, hidden)
		if err == nil {
			err = root.Rename(hidden.Path, f.Path)
		}
		if err != nil {
			return fmt.Errorf("credential %s: %v", f.Path, cause(err))
		}
	}
	return nil
}

// stage writes the configuration beside its place.
func stage(root *os.Root, files []File, key string) error {
	if err := root.RemoveAll(staging); err != nil {
		return plain(err)
	}
	if err := root.Mkdir(staging, 0o755); err != nil {
		return plain(err)
	}
	if err := root.Chmod(staging, 0o755); err != nil { // whatever the umask
		return plain(err)
	}
	dir, err := root.OpenRoot(staging)
	if err != nil {
		return plain(err)
	}
	defer dir.Close()
	for _, f := range append(slices.Clone(files), File{Path: bootFile, Content: []byte(key), Mode: 0o644}) {
		if err := mkdirs(dir, path.Dir(f.Path)); err != nil {
			return err
		}
		if err := write(dir, f); err != nil {
			return fmt.Errorf("%s: %v", f.Path, cause(err))
		}
	}
	return nil
}

// Withdraw removes what a boot published or began to: the configuration
// first, then the credentials of these names. What is not there is fine.
func (t Target) Withdraw(credentials []string) {
	if root, err := os.OpenRoot(t.Directory); err == nil {
		defer root.Close()
		_ = root.RemoveAll(staging + ".old") // of a withdrawal that was killed
		if root.Rename(configDir, staging+".old") == nil {
			_ = root.RemoveAll(staging + ".old")
		}
		_ = root.RemoveAll(staging)
		if own, err := openAgent(root); err == nil {
			defer own.Close()
			removeAll(own)
		}
	}
	if store, err := os.OpenRoot(t.Credentials); err == nil {
		defer store.Close()
		for _, name := range credentials {
			_ = store.Remove(name)
			_ = store.Remove(".bootagent." + name)
		}
	}
}

// removeAll empties a folder that is all ours.
func removeAll(root *os.Root) {
	entries, _ := fs.ReadDir(root.FS(), ".")
	for _, entry := range entries {
		_ = root.RemoveAll(entry.Name())
	}
}

func (t Target) progress(step string) {
	if t.Progress != nil {
		t.Progress(step)
	}
}

func paths(files []File) []string {
	names := make([]string, len(files))
	for i, f := range files {
		names[i] = f.Path
	}
	return names
}
