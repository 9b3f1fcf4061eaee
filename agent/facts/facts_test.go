package facts

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// tree is a made-up node.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for name, content := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func TestRead(t *testing.T) {
	root := tree(t, map[string]string{
		"etc/machine-id":                  "0123456789abcdef0123456789abcdef\n",
		"proc/sys/kernel/random/boot_id":  "f5ae9b62-7c1d-4b1e-9c2f-0a1b2c3d4e5f\n",
		"usr/lib/os-release":              "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian 12 \\\"x\\\"\"\nIMAGE_ID=web\nIMAGE_VERSION='2026.11.1'\n# no\nnonsense\n",
		"sys/class/dmi/id/sys_vendor":     "Amazon EC2\n",
		"sys/class/dmi/id/product_name":   "t3.micro\n",
		"sys/class/dmi/id/product_serial": "ec2e1916\n",
	})
	f, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	if f.MachineID != "0123456789abcdef0123456789abcdef" || f.BootID != "f5ae9b627c1d4b1e9c2f0a1b2c3d4e5f" {
		t.Errorf("ids: %q %q", f.MachineID, f.BootID)
	}
	if diff := cmp.Diff(OS{ID: "debian", VersionID: "12", Name: `Debian 12 "x"`, ImageID: "web", ImageVersion: "2026.11.1"}, f.OS); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(DMI{Vendor: "Amazon EC2", Product: "t3.micro", Serial: "ec2e1916"}, f.DMI); diff != "" {
		t.Error(diff)
	}
	if f.Kernel == "" || f.Hostname == "" {
		t.Errorf("kernel %q, host name %q", f.Kernel, f.Hostname)
	}
}

func TestReadKnowsNothingOfAnEmptyTree(t *testing.T) {
	f, err := Read(tree(t, map[string]string{"etc/machine-id": "uninitialized\n"}))
	if err != nil || f.MachineID != "" || f.BootID != "" || f.OS != (OS{}) || f.DMI != (DMI{}) {
		t.Errorf("%+v, %v", f, err)
	}
	if _, err := Read(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("no error for a root that is not there")
	}
}

func TestReadDoesNotLeaveTheTree(t *testing.T) {
	root := tree(t, map[string]string{"etc/x": ""})
	secret := tree(t, map[string]string{"id": "0123456789abcdef0123456789abcdef"})
	if err := os.Symlink(filepath.Join(secret, "id"), filepath.Join(root, "etc/machine-id")); err != nil {
		t.Fatal(err)
	}
	if f, _ := Read(root); f.MachineID != "" {
		t.Error("a link out of the tree was followed")
	}
}

func TestExpand(t *testing.T) {
	f := Facts{MachineID: "m1", Hostname: "h", Addresses: []string{"192.0.2.1", "192.0.2.2"}}
	for text, want := range map[string]string{
		"":                               "",
		"plain $x":                       "plain $x",
		"${machine_id}":                  "m1",
		"a/${hostname}/${address}.yaml$": "a/h/192.0.2.1.yaml$",
	} {
		if got, err := Expand(text, f.Lookup); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{
		"${region}":  "unknown fact (known: address,",
		"${boot_id}": "not known on this node",
		"${boot_id":  "no closing brace",
	} {
		if _, err := Expand(text, f.Lookup); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestNamesAreFacts(t *testing.T) {
	for _, name := range Names() {
		if _, ok := (Facts{}).Lookup(name); !ok {
			t.Errorf("%s is in Names and not in Lookup", name)
		}
	}
}

func FuzzParseOSRelease(f *testing.F) {
	f.Add("ID=debian\nNAME=\"a \\\"b\\\"\"\n")
	f.Fuzz(func(t *testing.T, text string) {
		for name, value := range ParseOSRelease(text) {
			if name == "" || len(value) > len(text) {
				t.Errorf("%q=%q", name, value)
			}
		}
	})
}
