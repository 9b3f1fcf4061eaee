package rig

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// An Image says what a node is made of and how it is booted. The zero value
// is a bare Debian 12 with a read-only root and a network of its own.
type Image struct {
	// What is packed, in this order. The same again is not packed again.

	Suite  string          // of Debian: "bookworm" (systemd 252) if empty, or "trixie" (257)
	Debs   []string        // paths of packages, installed with their maintainer scripts
	Files  map[string]File // by absolute path; laid over the tree and the packages
	Enable []string        // units, enabled as systemctl does

	// How it is booted.

	Root        Root              // how / is mounted
	Words       []string          // kernel-style words, given to PID 1
	Credentials map[string]string // system credentials; values are any bytes
	Binds       map[string]string // directories of the machine, to existing ones of the node
	MachineID   string            // 32 hex digits; a new one if empty
	Hostname    string            // "node" if empty
	Network     *Network          // a new one if nil
	LinkDown    bool              // leave the link down; see [Node.LinkUp]
	Nspawn      []string          // further options of systemd-nspawn(1)
	NoWait      bool              // return while the node is still starting; see [Node.WaitUp]
}

// A File is a file of the image. The zero value is an empty one of root's,
// that everybody may read.
type File struct {
	Content string      // or the target of a symbolic link
	Mode    fs.FileMode // 0644 if zero; fs.ModeDir and fs.ModeSymlink make those
	Owner   string      // "user:group" of the tree; root if empty
}

// Root says how a node's / is mounted, as PID 1 sees it.
type Root int

const (
	Sealed      Root = iota // a squashfs; mount and superblock are read-only
	MountSealed             // the mount is read-only, the superblock under it is not
	Writable                // both can be written: the image under a tmpfs, by overlayfs
)

// String is the root's name, as the boot script knows it.
func (r Root) String() string {
	return [...]string{"sealed", "mount-sealed", "writable"}[r]
}

// debianScript packs a bare tree. Arguments: suite, image to write.
const debianScript = `set -eu
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mmdebstrap --quiet --variant=minbase \
	--include=systemd,systemd-sysv,dbus,udev,iproute2,ca-certificates \
	--dpkgopt='path-exclude=/usr/share/doc/*' \
	--dpkgopt='path-exclude=/usr/share/man/*' \
	--dpkgopt='path-exclude=/usr/share/locale/*' \
	"$1" "$tree"
cd "$tree"
# The packages of tests are installed whole; the node names itself.
rm -rf etc/dpkg/dpkg.cfg.d/99mmdebstrap etc/hostname etc/resolv.conf
: >etc/machine-id
: >etc/resolv.conf
rm -rf var/lib/apt/lists/* var/cache/apt/* usr/share/i18n usr/lib/udev/hwdb.d usr/lib/udev/hwdb.bin
for timer in apt-daily apt-daily-upgrade dpkg-db-backup e2scrub_all; do
	ln -sf /dev/null "etc/systemd/system/$timer.timer"
done
mksquashfs . "$2" -comp lz4 -noappend -no-progress -quiet
`

// packScript packs a tree with things laid over it. It runs in mount,
// network and PID namespaces of its own. Arguments: bare image, directory of inputs, image
// to write, units to enable.
const packScript = `set -eu
base=$1 in=$2 out=$3
shift 3
work=/run/bootagent-rig
mkdir -p $work
mount -t tmpfs -o mode=0755 tmpfs $work
cd $work
mkdir base upper scratch tree
mount -o loop,ro "$base" base
mount -t overlay -o lowerdir=base,upperdir=upper,workdir=scratch overlay tree
if [ -d "$in/debs" ]; then
	mount -t proc proc tree/proc
	mount -t tmpfs tmpfs tree/run
	mkdir tree/run/debs
	mount --bind "$in/debs" tree/run/debs
	env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
		chroot tree sh -c 'dpkg --install /run/debs/*.deb'
	umount tree/run/debs tree/run tree/proc
fi
chroot tree tar --extract --preserve-permissions --keep-directory-symlink <"$in/files.tar"
while read -r owner path; do
	chroot tree chown --no-dereference "$owner" "$path"
done <"$in/owners"
if [ $# -gt 0 ]; then
	systemctl --root=tree --quiet enable "$@"
fi
mksquashfs tree "$out" -comp lz4 -noappend -no-progress -quiet
`

// pack returns the path of the image, packed now or before.
func (i Image) pack(t testing.TB) string {
	t.Helper()
	suite := cmp.Or(i.Suite, "bookworm")
	base := cached(t, suite, digest(debianScript)+".squashfs", func(ctx context.Context, path string) error {
		_, err := output(command(ctx, "sh", "-c", debianScript, "debian", suite, path))
		return err
	})
	if len(i.Debs)+len(i.Files)+len(i.Enable) == 0 {
		return base
	}
	key, err := i.key(base)
	must(t, err)
	return cached(t, "image", key+".squashfs", func(ctx context.Context, path string) error {
		in := t.TempDir()
		if err := i.writeInputs(in); err != nil {
			return err
		}
		args := []string{"--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", packScript, "pack", base, in, path}
		_, err := output(command(ctx, "unshare", append(args, i.Enable...)...))
		return err
	})
}

// key names the image by everything that goes into it.
func (i Image) key(base string) (string, error) {
	parts := []string{packScript, base}
	for _, deb := range i.Debs {
		content, err := os.ReadFile(deb)
		if err != nil {
			return "", err
		}
		parts = append(parts, string(content))
	}
	files, err := json.Marshal(i.Files) // sorts the paths
	if err != nil {
		return "", err
	}
	parts = append(parts, string(files))
	return digest(append(parts, i.Enable...)...), nil
}

// digest is a short hash of the parts in their order.
func digest(parts ...string) string {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s", len(part), part)
	}
	return hex.EncodeToString(hash.Sum(nil))[:16]
}

// writeInputs writes what packScript reads.
func (i Image) writeInputs(dir string) error {
	for number, deb := range i.Debs {
		content, err := os.ReadFile(deb)
		if err != nil {
			return err
		}
		name := fmt.Sprintf("debs/%d-%s", number, filepath.Base(deb))
		if err := writeFile(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	files, err := archive(i.Files)
	if err != nil {
		return err
	}
	var owners strings.Builder
	for _, path := range slices.Sorted(maps.Keys(i.Files)) {
		if owner := i.Files[path].Owner; owner != "" {
			fmt.Fprintln(&owners, owner, path)
		}
	}
	if err := writeFile(filepath.Join(dir, "owners"), []byte(owners.String())); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, "files.tar"), files)
}

// writeFile writes a file that only the test may read.
func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, content, 0o600)
}

// archive packs the files as root's.
func archive(files map[string]File) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !path.IsAbs(name) || path.Clean(name) != name {
			return nil, fmt.Errorf("file %q: not a clean absolute path", name)
		}
		if err := files[name].writeTo(writer, name); err != nil {
			return nil, fmt.Errorf("file %s: %w", name, err)
		}
	}
	err := writer.Close()
	return buffer.Bytes(), err
}

// writeTo adds the file to an archive.
func (f File) writeTo(writer *tar.Writer, name string) error {
	header := &tar.Header{Name: name[1:], Mode: int64(cmp.Or(f.Mode.Perm(), 0o644))}
	switch f.Mode.Type() {
	case fs.ModeDir:
		header.Typeflag, header.Mode = tar.TypeDir, int64(cmp.Or(f.Mode.Perm(), 0o755))
	case fs.ModeSymlink:
		header.Typeflag, header.Linkname = tar.TypeSymlink, f.Content
	case 0:
		header.Typeflag, header.Size = tar.TypeReg, int64(len(f.Content))
	default:
		return fmt.Errorf("mode %v: not a file, a directory or a link", f.Mode)
	}
	if err := writer.WriteHeader(header); err != nil || header.Size == 0 {
		return err
	}
	_, err := io.WriteString(writer, f.Content)
	return err
}
