// Package files reads and replaces the small files that one part of the agent
// leaves for another: receipts, cursors, records. Their folders are on tmpfs
// and others may have been there, so nothing in them is taken on trust: links
// are not followed, pipes and devices are not opened, reads are bounded.
//
// What is in a file is no business of this package, nor is the publication of
// a configuration, which is package output.
package files

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"
)

// ErrNotRegular says that something else than a file has the name.
var ErrNotRegular = errors.New("not a regular file")

// Read returns the content of a regular file of up to limit bytes. The error
// is of the file, without its name, and wraps fs.ErrNotExist or ErrNotRegular
// where that is so.
func Read(root *os.Root, name string, limit int64) ([]byte, error) {
	f, err := open(root, name)
	if err != nil {
		return nil, plain(err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(content)) > limit {
		return nil, fmt.Errorf("larger than %d bytes", limit)
	}
	return content, err
}

// open opens a regular file. The name is looked at first, and what was opened
// has to be the same: an os.Root follows links within itself, whatever the
// flags say. A file that is replaced in between is looked at again.
func open(root *os.Root, name string) (*os.File, error) {
	const looks = 100
	for range looks {
		before, err := root.Lstat(name)
		if err != nil {
			return nil, err
		}
		if !before.Mode().IsRegular() {
			return nil, ErrNotRegular
		}
		f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			return nil, err
		}
		if opened, err := f.Stat(); err == nil && os.SameFile(before, opened) {
			return f, nil
		}
		_ = f.Close()
	}
	return nil, errors.New("changes whenever it is opened")
}

// Replace puts content under the name, at once and as a whole: whoever reads
// sees what was there before or what is there now. The mode is as given,
// whatever the umask. A crash may leave a file of the name [Fresh] behind,
// which the next Replace removes.
func Replace(root *os.Root, name string, content []byte, mode fs.FileMode) error {
	fresh := Fresh(name)
	if err := root.Remove(fresh); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return plain(err)
	}
	f, err := root.OpenFile(fresh, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return plain(err)
	}
	_, err = f.Write(content)
	err = cmp.Or(err, f.Chmod(mode), f.Close())
	if err == nil {
		err = root.Rename(fresh, name)
	}
	if err != nil {
		_ = root.Remove(fresh)
		return plain(err)
	}
	return nil
}

// Fresh is the name under which a file grows until it is whole.
func Fresh(name string) string { return "." + name + ".new" }

// plain leaves out what an error of package os says of calls and paths.
func plain(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	if linkErr, ok := errors.AsType[*os.LinkError](err); ok {
		return linkErr.Err
	}
	return err
}
