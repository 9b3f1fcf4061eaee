package truth

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/bootagent/bootagent/agent/files"
	"golang.org/x/sys/unix"
)

const (
	namesDirectory = "names"
	recordSuffix   = ".json"
	temporary      = ".tmp-" // no identity or name begins with a dot
	lockPause      = 5 * time.Millisecond
)

// FileRegistry is the inventory in a directory, for a laptop, a test, a first
// look: DIRECTORY/ID.json is the record of a node, DIRECTORY/names/NAME says
// which identity holds the name. Nothing expires.
//
// A name is claimed by link(2), which fails where the name exists, and every
// file appears whole, by link or rename; flock(2) on the directory keeps what
// is compared and what is then written together. Whoever may write to the
// directory may adopt what another user, say root, has registered: files are
// replaced, never opened for writing. No symbolic link is followed.
type FileRegistry struct {
	Directory string // made if it is missing; its parent must exist
}

// String is "file" and the directory.
func (f *FileRegistry) String() string { return "file " + f.Directory }

// Register implements Registry. The names are what counts and the record
// follows them, so that a crash between the two is healed by the next Register
// of the same identity. The token comes from the clock, and is greater than
// those of all names held.
func (f *FileRegistry) Register(ctx context.Context, node Node) (Registration, error) {
	l := &fileLease{registry: f}
	err := node.validate()
	if err == nil {
		err = f.locked(ctx, func(d *directory) error {
			claims, err := d.claims()
			if err == nil {
				l.node, l.token, err = d.register(claims, node)
			}
			return err
		})
	}
	if err != nil {
		return Registration{}, f.fail(err)
	}
	key := filepath.Join(f.Directory, l.node.ID+recordSuffix)
	return Registration{Node: l.node, Key: key, Token: l.token, Lease: l}, nil
}

// Nodes implements Registry. It takes no lock: every file is whole.
func (f *FileRegistry) Nodes(context.Context) ([]Node, error) {
	d, err := openDirectory(f.Directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, f.fail(err)
	}
	defer d.Close()
	files, err := fs.ReadDir(d.FS(), ".") // sorted
	if err != nil {
		return nil, f.fail(err)
	}
	var nodes []Node
	var bad []error
	for _, file := range files {
		id, isRecord := strings.CutSuffix(file.Name(), recordSuffix)
		if !isRecord || strings.HasPrefix(id, ".") {
			continue
		}
		node, err := d.record(id)
		switch {
		case errors.Is(err, fs.ErrNotExist): // released since the listing
		case err != nil:
			bad = append(bad, f.fail(fmt.Errorf("%s: %v", file.Name(), err)))
		default:
			nodes = append(nodes, node)
		}
	}
	slices.SortFunc(nodes, func(a, b Node) int { return cmp.Compare(a.ID, b.ID) })
	return nodes, errors.Join(bad...)
}

// locked runs do on the directory while no other agent writes to it.
func (f *FileRegistry) locked(ctx context.Context, do func(*directory) error) error {
	err := os.Mkdir(f.Directory, 0o755)
	if err == nil {
		err = os.Chmod(f.Directory, 0o755) // whatever the umask
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return reason(err)
	}
	d, err := openDirectory(f.Directory)
	if err != nil {
		return err
	}
	defer d.Close()
	unlock, err := d.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := d.prepare(); err != nil {
		return err
	}
	return do(d)
}

func (f *FileRegistry) fail(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrLost), errors.Is(err, ErrTaken), errors.Is(err, ErrFinal),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return fmt.Errorf("registry: %s: %w", f, err)
	}
	return fmt.Errorf("registry: %s: %v", f, reason(err))
}

// reason is err without the path, which every message has already.
func reason(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return fmt.Errorf("%s: %w", path.Base(e.Path), e.Err)
	}
	return err
}

// fileLease is a registration in a directory.
type fileLease struct {
	registry *FileRegistry
	node     Node
	token    int64
}

// Renew implements Lease: nothing expires, but somebody may have taken over.
func (l *fileLease) Renew(ctx context.Context) error {
	return l.guarded(ctx, func(*directory) error { return nil })
}

// Update implements Lease.
func (l *fileLease) Update(ctx context.Context, node Node) error {
	node.ID, node.BootID, node.Name, node.Ordinal = l.node.ID, l.node.BootID, l.node.Name, l.node.Ordinal
	if err := node.validate(); err != nil {
		return l.registry.fail(err)
	}
	return l.guarded(ctx, func(d *directory) error { return d.writeRecord(node) })
}

// Release implements Lease. The record goes first: what a crash leaves is a
// name that its identity finds again.
func (l *fileLease) Release(ctx context.Context) error {
	err := l.guarded(ctx, func(d *directory) error {
		if err := d.remove(l.node.ID + recordSuffix); err != nil || l.node.Name == "" {
			return err
		}
		return d.remove(path.Join(namesDirectory, l.node.Name))
	})
	if errors.Is(err, ErrLost) {
		return nil
	}
	return err
}

// guarded runs do if we still hold the registration.
func (l *fileLease) guarded(ctx context.Context, do func(*directory) error) error {
	return l.registry.fail(l.registry.locked(ctx, func(d *directory) error {
		if held, err := l.held(d); err != nil || !held {
			return cmp.Or(err, ErrLost)
		}
		return do(d)
	}))
}

func (l *fileLease) held(d *directory) (bool, error) {
	record, err := d.record(l.node.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil || l.node.Name == "" {
		return record.BootID == l.node.BootID, err
	}
	c, err := d.claim(l.node.Name)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return c == claim{ID: l.node.ID, BootID: l.node.BootID, Token: l.token}, err
}

// directory is an open FileRegistry.
type directory struct{ *os.Root }

func openDirectory(name string) (*directory, error) {
	root, err := os.OpenRoot(name)
	if err != nil {
		return nil, reason(err)
	}
	return &directory{root}, nil
}

// lock waits for the other agents. flock(2) has no timeout, so it asks again.
func (d *directory) lock(ctx context.Context) (unlock func(), err error) {
	f, err := d.Open(".")
	if err != nil {
		return nil, reason(err)
	}
	for ctx.Err() == nil {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil // which unlocks
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock: %v", err)
		}
		select {
		case <-time.After(lockPause):
		case <-ctx.Done():
		}
	}
	_ = f.Close()
	return nil, fmt.Errorf("lock: %w", ctx.Err())
}

// prepare makes the folder of names, for the owner of the directory also when
// root does it, and removes what a crash has left: while we hold the lock,
// no temporary file is anybody's.
func (d *directory) prepare() error {
	info, err := d.Stat(".")
	if err != nil {
		return err
	}
	err = d.Mkdir(namesDirectory, 0o755)
	if err == nil {
		err = d.Chmod(namesDirectory, 0o755)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); err == nil && ok && os.Geteuid() == 0 {
		err = d.Lchown(namesDirectory, int(owner.Uid), int(owner.Gid))
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if info, err := d.Lstat(namesDirectory); err != nil || !info.IsDir() {
		return cmp.Or(err, error(&fs.PathError{Op: "open", Path: namesDirectory, Err: unix.ENOTDIR}))
	}
	left, err := fs.Glob(d.FS(), temporary+"*")
	for _, name := range left {
		err = cmp.Or(err, d.remove(name))
	}
	return err
}

// register finds or claims the name that node asks for, gives back the others
// that it holds, and writes its record.
func (d *directory) register(claims map[string]claim, node Node) (Node, int64, error) {
	name, token, err := d.adopt(claims, node)
	if err == nil && name == "" && node.Name != "" {
		name, token, err = d.take(claims, node)
	}
	if err != nil {
		return node, 0, err
	}
	if old, err := d.record(node.ID); err == nil && old.Name == name && old.Ordinal > 0 {
		node.Ordinal = old.Ordinal
	}
	node = node.withName(name)
	return node, token, d.writeRecord(node)
}

// adopt finds the name that the identity holds already; for a new boot with a
// new token.
func (d *directory) adopt(claims map[string]claim, node Node) (name string, token int64, err error) {
	for _, held := range slices.Sorted(maps.Keys(claims)) {
		switch c := claims[held]; {
		case c.ID != node.ID:
		case name == "" && node.Name != "" && fits(node.Name, held):
			name, token = held, c.Token
		default:
			err = cmp.Or(err, d.remove(path.Join(namesDirectory, held)))
		}
	}
	if name == "" || err != nil || claims[name].BootID == node.BootID {
		return name, token, err
	}
	token = nextToken(claims)
	return name, token, d.writeClaim(name, claim{node.ID, node.BootID, token}, d.Rename)
}

// take claims a name that nobody holds.
func (d *directory) take(claims map[string]claim, node Node) (name string, token int64, err error) {
	if name = node.Name; strings.Contains(name, Ordinal) {
		name = lowestFree(name, slices.Collect(maps.Keys(claims)))
	}
	token = nextToken(claims)
	err = d.writeClaim(name, claim{node.ID, node.BootID, token}, d.Link)
	if errors.Is(err, fs.ErrExist) {
		err = taken(name, claims[name])
	}
	return name, token, err
}

// nextToken is greater than every token there is, whatever the clock says.
func nextToken(claims map[string]claim) int64 {
	token := time.Now().UnixNano()
	for _, c := range claims {
		token = max(token, c.Token+1)
	}
	return token
}

// claims is every name and who holds it: nobody we know, if that cannot be
// read, but held.
func (d *directory) claims() (map[string]claim, error) {
	files, err := fs.ReadDir(d.FS(), namesDirectory)
	if err != nil {
		return nil, err
	}
	claims := map[string]claim{}
	for _, file := range files {
		c, err := d.claim(file.Name())
		if errors.Is(err, fs.ErrPermission) {
			return nil, err
		}
		claims[file.Name()] = c
	}
	return claims, nil
}

func (d *directory) claim(name string) (claim, error) {
	data, err := d.read(path.Join(namesDirectory, name))
	if err != nil {
		return claim{}, err
	}
	var c claim
	if err := json.Unmarshal(data, &c); err != nil {
		return claim{}, fmt.Errorf("%s/%s: %v", namesDirectory, name, err)
	}
	return c, nil
}

func (d *directory) writeClaim(name string, c claim, publish func(from, to string) error) error {
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	return d.write(path.Join(namesDirectory, name), data, publish)
}

func (d *directory) record(id string) (Node, error) {
	data, err := d.read(id + recordSuffix)
	if err != nil {
		return Node{}, err
	}
	return decodeNode(id, data)
}

func (d *directory) writeRecord(node Node) error {
	data, err := node.encode()
	if err != nil {
		return err
	}
	return d.write(node.ID+recordSuffix, data, d.Rename)
}

// read reads a regular file of bounded size.
func (d *directory) read(name string) ([]byte, error) {
	return files.Read(d.Root, name, maxRecord)
}

// write makes a file with data and then publishes it under name: by Link,
// which fails if name exists, or Rename, which replaces it.
func (d *directory) write(name string, data []byte, publish func(from, to string) error) error {
	temp := temporary + rand.Text()
	f, err := d.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = cmp.Or(err, f.Chmod(0o644), f.Sync(), f.Close()) // whatever the umask is
	if err == nil {
		err = publish(temp, name)
	}
	return cmp.Or(err, d.remove(temp))
}

// remove deletes a file, if it is there.
func (d *directory) remove(name string) error {
	if err := d.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
