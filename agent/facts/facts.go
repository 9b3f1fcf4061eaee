// Package facts finds out who this node is: the machine, the image it was
// booted from, its firmware's words, its network. It only reads, and asks
// nobody but the kernel and the files of the image; clouds are asked elsewhere.
//
// A fact that is not there stays empty. Whether that is a fault is for those
// to say who need it: see [Facts.Lookup] and [Expand].
package facts

import (
	"io"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// maxFile bounds each file that is read; the largest, os-release, has about 1 KB.
const maxFile = 64 << 10

// Facts are what is known of a node. They do not change during a boot, except
// the addresses.
type Facts struct {
	MachineID    string   `json:"machine_id,omitempty"` // machine-id(5), 32 hexadecimal digits
	BootID       string   `json:"boot_id,omitempty"`    // new at every start of the kernel, 32 hexadecimal digits
	Hostname     string   `json:"hostname,omitempty"`
	Kernel       string   `json:"kernel,omitempty"` // its release: 6.1.0-13-amd64
	Architecture string   `json:"architecture"`     // as GOARCH has it: amd64
	Addresses    []string `json:"addresses"`        // global unicast, of links that are up

	OS  OS  `json:"os"`
	DMI DMI `json:"dmi"`
}

// OS is what os-release(5) says of the image.
type OS struct {
	ID           string `json:"id,omitempty"`
	VersionID    string `json:"version_id,omitempty"`
	Name         string `json:"name,omitempty"`          // PRETTY_NAME
	ImageID      string `json:"image_id,omitempty"`      // IMAGE_ID
	ImageVersion string `json:"image_version,omitempty"` // IMAGE_VERSION
}

// DMI is what the firmware says of the machine, see /sys/class/dmi/id. It is
// how clouds are told apart. Serial and UUID are readable by root only.
type DMI struct {
	BIOSVendor      string `json:"bios_vendor,omitempty"`
	Vendor          string `json:"sys_vendor,omitempty"`
	Product         string `json:"product_name,omitempty"`
	ChassisAssetTag string `json:"chassis_asset_tag,omitempty"`
	Serial          string `json:"product_serial,omitempty"`
	UUID            string `json:"product_uuid,omitempty"`
}

// Read gathers the facts of the node whose files are in root, "/" but in
// tests. Kernel, host name, architecture and addresses are always those of
// the running system.
func Read(root string) (Facts, error) {
	dir, err := os.OpenRoot(root)
	if err != nil {
		return Facts{}, err
	}
	defer dir.Close()
	tree := dir.FS()
	hostname, _ := os.Hostname()
	return Facts{
		MachineID:    id128(word(tree, "etc/machine-id")),
		BootID:       id128(word(tree, "proc/sys/kernel/random/boot_id")),
		Hostname:     hostname,
		Kernel:       kernel(),
		Architecture: runtime.GOARCH,
		Addresses:    addresses(),
		OS:           readOS(tree),
		DMI:          readDMI(tree),
	}, nil
}

func readOS(tree fs.FS) OS {
	release := ParseOSRelease(text(tree, "etc/os-release"))
	if len(release) == 0 {
		release = ParseOSRelease(text(tree, "usr/lib/os-release"))
	}
	return OS{
		ID:           release["ID"],
		VersionID:    release["VERSION_ID"],
		Name:         release["PRETTY_NAME"],
		ImageID:      release["IMAGE_ID"],
		ImageVersion: release["IMAGE_VERSION"],
	}
}

func readDMI(tree fs.FS) DMI {
	at := func(name string) string { return word(tree, "sys/class/dmi/id/"+name) }
	return DMI{
		BIOSVendor:      at("bios_vendor"),
		Vendor:          at("sys_vendor"),
		Product:         at("product_name"),
		ChassisAssetTag: at("chassis_asset_tag"),
		Serial:          at("product_serial"),
		UUID:            at("product_uuid"),
	}
}

func kernel() string {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return ""
	}
	return unix.ByteSliceToString(name.Release[:])
}

// text is the content of a file, empty if it cannot be read.
func text(tree fs.FS, name string) string {
	f, err := tree.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	content, _ := io.ReadAll(io.LimitReader(f, maxFile))
	return string(content)
}

// word is the content of a file of one line.
func word(tree fs.FS, name string) string {
	return strings.TrimSpace(text(tree, name))
}

// id128 takes an identity in either form, with hyphens or without, and
// returns it without; empty if it is none: an image's machine-id may hold the
// word "uninitialized".
func id128(s string) string {
	s = strings.ReplaceAll(s, "-", "")
	if len(s) != 32 || strings.Trim(s, "0123456789abcdef") != "" {
		return ""
	}
	return s
}
