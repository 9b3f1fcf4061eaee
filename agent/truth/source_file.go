package truth

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bootagent/bootagent/agent/document"
	"golang.org/x/sys/unix"
)

// File is a document in a file, or a folder of documents: those whose names
// end in .yaml, .yml or .json, in the order of their names.
type File struct {
	Path string
}

// String is "file PATH".
func (f File) String() string { return "file " + f.Path }

// Fetch reads the file or folder. What is on a disk now is all there will be:
// its errors are final.
func (f File) Fetch(ctx context.Context) ([]document.Layer, error) {
	type answer struct {
		layers []document.Layer
		err    error
	}
	answered := make(chan answer, 1)
	go func() { // a mount may hang for ever, and nothing ends that
		layers, err := f.read()
		answered <- answer{layers, err}
	}()
	select {
	case a := <-answered:
		return a.layers, a.err
	case <-ctx.Done():
		return nil, errors.New("no answer from the file system")
	}
}

func (f File) read() ([]document.Layer, error) {
	paths, err := f.paths()
	if err != nil {
		return nil, err
	}
	var layers []document.Layer
	for _, path := range paths {
		content, err := readText(path)
		if err != nil && path != f.Path { // its folder is there, and names it
			return nil, final{fmt.Errorf("%s: %v", filepath.Base(path), err)}
		} else if err != nil {
			return nil, err
		}
		doc, err := document.Parse(path, content)
		if err != nil {
			return nil, final{err}
		}
		layers = append(layers, document.Layer{Source: "file " + path, Document: doc})
	}
	return layers, nil
}

// paths lists the files. A folder without any is absent.
func (f File) paths() ([]string, error) {
	info, err := os.Stat(f.Path)
	if err != nil {
		return nil, fileError(err)
	}
	if !info.IsDir() {
		return []string{f.Path}, nil
	}
	entries, err := os.ReadDir(f.Path) // in the order of names
	if err != nil {
		return nil, fileError(err)
	}
	var paths []string
	for _, entry := range entries {
		if slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(entry.Name())) {
			paths = append(paths, filepath.Join(f.Path, entry.Name()))
		}
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("%w (no .yaml, .yml or .json in the folder)", ErrAbsent)
	}
	return paths, nil
}

// readText reads one file, as far as a document may be long. To open a FIFO it
// would wait for ever, were it not told otherwise.
func readText(path string) ([]byte, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fileError(err)
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, final{cmp.Or(err, errors.New("not a regular file"))}
	}
	content, err := io.ReadAll(io.LimitReader(file, document.MaxSize+1))
	if err != nil {
		return nil, fileError(err)
	}
	return content, nil
}

// fileError leaves out the path, which the source's name has.
func fileError(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w (no such file)", ErrAbsent)
	}
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return final{err}
}
