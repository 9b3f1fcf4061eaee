package output

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path"
	"strconv"

	"github.com/bootagent/bootagent/agent/document"
	"golang.org/x/sys/unix"
)

func mkdirs(root *os.Root, dir string) error {
	if dir == "." {
		return nil
	}
	if err := mkdirs(root, path.Dir(dir)); err != nil {
		return err
	}
	switch err := root.Mkdir(dir, 0o755); {
	case errors.Is(err, fs.ErrExist):
		return nil
	case err != nil:
		return plain(err)
	}
	return root.Chmod(dir, 0o755)
}

// write makes a new file. It has its owner before its mode, so that it is
// never open to anybody whom it was not meant for.
func write(root *os.Root, f File) error {
	file, err := root.OpenFile(f.Path, os.O_WRONLY|os.O_CREATE|os.O_EXCL|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(f.Content)
	if err == nil && f.Owner+f.Group != "" {
		err = chown(file, f)
	}
	if err == nil {
		err = file.Chmod(f.Mode)
	}
	if closeErr := file.Close(); err == nil {
		err = closeErr
	}
	return err
}

func chown(file *os.File, f File) error {
	uid, err := number(f.Owner, func(name string) (string, error) {
		u, err := user.Lookup(name)
		if err != nil {
			return "", err
		}
		return u.Uid, nil
	})
	if err != nil {
		return err
	}
	gid, err := number(f.Group, func(name string) (string, error) {
		g, err := user.LookupGroup(name)
		if err != nil {
			return "", err
		}
		return g.Gid, nil
	})
	if err != nil {
		return err
	}
	return file.Chown(uid, gid)
}

// number is the account's number, -1 for none: as it was.
func number(account document.Account, lookup func(string) (string, error)) (int, error) {
	if account == "" {
		return -1, nil
	}
	id := string(account)
	if _, err := strconv.ParseUint(id, 10, 31); err != nil {
		if id, err = lookup(string(account)); err != nil {
			return 0, fmt.Errorf("%s: no such account on this node", account)
		}
	}
	return strconv.Atoi(id)
}

// plain leaves out what an error of package os says of calls.
func plain(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return fmt.Errorf("%s: %v", pathErr.Path, pathErr.Err)
	}
	return err
}

// cause leaves out the path, too: the one that matters to users is named by
// who calls.
func cause(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	if linkErr, ok := errors.AsType[*os.LinkError](err); ok {
		return linkErr.Err
	}
	return err
}
