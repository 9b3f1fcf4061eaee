package sinks

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/bootagent/bootagent/systemd/journal"
)

// File appends entries to a file, each as a line of JSON, shaped as journalctl
// -o json writes it. For a laptop, a test, a first look: on a node the file
// would be on tmpfs.
//
// The file is opened for each batch, so it may be renamed or removed at any
// time. A line which a crash cut short is removed before the next is written.
type File struct {
	Path string // made with mode 0640 if it is not there; its folder must be
}

// lineSize bounds the search for the start of an incomplete line.
const lineSize = 32 << 20

// Send implements Sink. The batch is in the file after it as a whole or, the
// disk being full, not at all.
func (f *File) Send(ctx context.Context, batch []journal.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := f.send(batch); err != nil {
		return fmt.Errorf("%s: %w", f, err)
	}
	return nil
}

func (f *File) send(batch []journal.Entry) error {
	var lines []byte
	for _, entry := range batch {
		lines = entry.AppendJSON(lines)
	}
	file, err := os.OpenFile(f.Path, os.O_RDWR|os.O_APPEND|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o640)
	if err != nil {
		return bare(err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return bare(err)
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%w: not a regular file", ErrDenied)
	}
	size, err := trim(file, info.Size())
	if err != nil {
		return bare(err)
	}
	if _, err := file.Write(lines); err != nil {
		return errors.Join(bare(err), bare(file.Truncate(size)))
	}
	return nil
}

// trim cuts an incomplete line off the end of a file, and returns the size.
func trim(file *os.File, size int64) (int64, error) {
	whole := size
	buffer := make([]byte, 4096)
	for first := true; whole > 0; first = false {
		from := max(0, whole-int64(len(buffer)))
		if first {
			from = whole - 1 // mostly that is all there is to look at
		}
		part := buffer[:whole-from]
		if _, err := file.ReadAt(part, from); err != nil {
			return 0, err
		}
		end := bytes.LastIndexByte(part, '\n') + 1
		whole = from + int64(end)
		if end > 0 {
			break
		}
		if size-whole > lineSize {
			return 0, fmt.Errorf("%w: not a file of JSON lines", ErrDenied)
		}
	}
	if whole == size {
		return size, nil
	}
	if _, err := file.ReadAt(buffer[:1], whole); err != nil {
		return 0, err
	}
	if buffer[0] != '{' { // nothing that Send began
		return 0, fmt.Errorf("%w: not a file of JSON lines", ErrDenied)
	}
	return whole, file.Truncate(whole)
}

// bare is an error of package os without operation and path: String has these.
func bare(err error) error {
	if wrapped, ok := errors.AsType[*os.PathError](err); ok {
		return wrapped.Err
	}
	return err
}

// String implements Sink.
func (f *File) String() string { return "file " + f.Path }
