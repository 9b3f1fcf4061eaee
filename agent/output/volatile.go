package output

import (
	"errors"
	"fmt"
	"path"

	"golang.org/x/sys/unix"
)

// Volatile is nil if the folder, or the nearest that exists above it, is on
// tmpfs or ramfs, and else says where it is.
func Volatile(folder string) error {
	var st unix.Statfs_t
	for dir := folder; ; dir = path.Dir(dir) {
		switch err := unix.Statfs(dir, &st); {
		case errors.Is(err, unix.ENOENT) && dir != "/":
			continue
		case err != nil:
			return fmt.Errorf("%s: %v", folder, err)
		case st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC:
			return nil
		}
		return fmt.Errorf("%s is on %s, not on tmpfs: what is written there would outlive the boot", folder, filesystem(st.Type))
	}
}

// filesystem names the usual ones by their magic number, see statfs(2).
func filesystem(magic int64) string {
	switch magic {
	case unix.EXT4_SUPER_MAGIC:
		return "ext4"
	case unix.XFS_SUPER_MAGIC:
		return "xfs"
	case unix.BTRFS_SUPER_MAGIC:
		return "btrfs"
	case unix.OVERLAYFS_SUPER_MAGIC:
		return "overlayfs"
	case unix.SQUASHFS_MAGIC:
		return "squashfs"
	}
	return fmt.Sprintf("file system type %#x", magic)
}
