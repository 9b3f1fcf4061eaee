package mounts

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	table, err := Parse(strings.NewReader(strings.Join([]string{
		`36 35 98:0 / / ro,noatime master:1 propagate_from:2 - squashfs /dev/loop0 ro,errors=continue`,
		`37 36 0:40 / /run rw,nosuid - tmpfs tmpfs rw,mode=755`,
		`38 36 0:41 /a\040b /mnt/with\040blank\134and\011tab rw - fuse.sshfs me@host:/x rw`,
		`39 36 0:42 / /o rw - overlay overlay rw,lowerdir=/l,upperdir=/up\040per,workdir=/w`,
	}, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	want := Mount{
		ID: 38, Parent: 36, Device: "0:41", Root: "/a b", Point: "/mnt/with blank\\and\ttab",
		Options: []string{"rw"}, Type: "fuse.sshfs", Source: "me@host:/x", SuperOptions: []string{"rw"},
	}
	if diff := cmp.Diff(want, table[2]); diff != "" {
		t.Error(diff)
	}
	if !table[0].ReadOnly() || !table[0].SuperReadOnly() || table[1].ReadOnly() || !table[1].Volatile() {
		t.Errorf("options misread: %+v", table[:2])
	}
	if got := table[3].SuperOption("upperdir"); got != "/up per" {
		t.Errorf("upperdir = %q", got)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, line := range []string{
		``, `36 35 98:0 / / ro`, `36 35 98:0 / / ro - ext4`, `x 35 98:0 / / ro - ext4 a rw`, `36 35 98:0 / - ext4 a rw`,
	} {
		if table, err := Parse(strings.NewReader(line + "\n")); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%q: %v, %v", line, table, err)
		}
	}
	if _, err := Parse(strings.NewReader(strings.Repeat("x", maxLine+1))); err == nil {
		t.Error("an endless line was taken")
	}
}

func TestAt(t *testing.T) {
	table := Table{
		{ID: 2, Parent: 1, Point: "/run"},
		{ID: 1, Parent: 9, Point: "/"},
		{ID: 3, Parent: 2, Point: "/run/a"},
		{ID: 4, Parent: 1, Point: "/var/lib/x"},
		{ID: 5, Parent: 1, Point: "/var"}, // hides 4
		{ID: 6, Parent: 2, Point: "/run"}, // hides 3
		{ID: 7, Parent: 6, Point: "/run/b"},
	}
	for path, want := range map[string]int{
		"/": 1, "/etc": 1, "/runner": 1, "/run": 6, "/run/b": 7, "/run/b/c": 7, "/run/a/b": 6, "/var/lib/x": 5,
	} {
		if m, ok := table.At(path); !ok || m.ID != want {
			t.Errorf("At(%q) = %d, want %d", path, m.ID, want)
		}
	}
	if _, ok := (Table{}).At("/"); ok {
		t.Error("an empty table has a root")
	}
}

func TestParseThisMachine(t *testing.T) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := table.At("/"); !ok {
		t.Errorf("no root among %d mounts", len(table))
	}
}

func FuzzParse(f *testing.F) {
	f.Add("36 35 98:0 / / ro master:1 - ext4 /dev/root rw\n")
	f.Add(`36 35 98:0 /\040 /\1 ro - a\ b rw,x=\134`)
	f.Fuzz(func(t *testing.T, text string) {
		table, err := Parse(strings.NewReader(text))
		if err != nil && table != nil {
			t.Error("a table beside an error")
		}
		for _, m := range table {
			if len(m.Options) == 0 || len(m.SuperOptions) == 0 {
				t.Errorf("no options: %+v", m)
			}
		}
		table.At("/a/b")
	})
}
