package truth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/bootagent/bootagent/agent/document"
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
func (f File) Fetch(context.Context) ([]document.Layer, error) {
	paths, err := f.paths()
	if err != nil {
		return nil, err
	}
	var layers []document.Layer
	for _, path := range paths {
		layer, err := readLayer(path)
		if err != nil {
			return nil, err
		}
		layers = append(layers, layer)
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

func readLayer(path string) (document.Layer, error) {
	file, err := os.Open(path)
	if err != nil {
		return document.Layer{}, fileError(err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, document.MaxSize+1))
	if err != nil {
		return document.Layer{}, fileError(err)
	}
	doc, err := document.Parse(path, content)
	if err != nil {
		return document.Layer{}, final{err}
	}
	return document.Layer{Source: "file " + path, Document: doc}, nil
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
