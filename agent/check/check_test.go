package check

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/mounts"
	"github.com/google/go-cmp/cmp"
)

// seen is a node with this mount table.
func seen(t *testing.T, lines ...string) Node {
	t.Helper()
	table, err := mounts.Parse(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return Node{Mounts: table}
}

const (
	roRoot   = "1 0 8:1 / / ro,relatime - squashfs /dev/loop0 ro,errors=continue"
	roMount  = "1 0 8:1 / / ro,relatime - ext4 /dev/vda1 rw,errors=remount-ro"
	rwRoot   = "1 0 8:1 / / rw,relatime - ext4 /dev/vda1 rw"
	overlay  = "1 0 0:20 / / rw - overlay overlay rw,lowerdir=/l,upperdir=/mnt/up,workdir=/mnt/work"
	onTmpfs  = "2 1 0:21 / /mnt rw - tmpfs tmpfs rw"
	onRamfs  = "2 1 0:21 / /mnt rw - ramfs ramfs rw"
	onDisk   = "2 1 8:2 / /mnt rw - ext4 /dev/vda2 rw"
	overMnt  = "3 2 8:3 / /mnt rw - xfs /dev/vda3 rw" // hides what is on /mnt
	overRoot = "4 1 8:4 / / ro - erofs /dev/dm-0 ro"  // stacked on the root
	rwOver   = "4 1 8:4 / / rw - ext4 /dev/dm-0 rw"
)

func TestRoot(t *testing.T) {
	for name, test := range map[string]struct {
		node    Node
		verdict Verdict
		message string
	}{
		"read-only":            {seen(t, roRoot), Pass, "mounted read-only"},
		"only the mount":       {seen(t, roMount), Pass, "mounted read-only"},
		"writable":             {seen(t, rwRoot), Fail, "writable: ext4 is mounted read-write (add ro to the kernel command line or to its line in fstab)"},
		"writable below":       {seen(t, roRoot, onDisk), Pass, "mounted read-only"},
		"errors=remount-ro":    {seen(t, "1 0 8:1 / / rw - ext4 /dev/vda1 rw,errors=remount-ro"), Fail, "writable: ext4 is mounted"},
		"tmpfs":                {seen(t, "1 0 0:1 / / rw - tmpfs rootfs rw"), Fail, "writable: tmpfs is mounted"},
		"overlay, tmpfs":       {seen(t, overlay, onTmpfs), Fail, "writable: an overlay whose upper folder /mnt/up is on tmpfs: changes last until the node stops"},
		"overlay, ramfs":       {seen(t, overlay, onRamfs), Fail, "writable: an overlay whose upper folder /mnt/up is on ramfs: changes last until the node stops"},
		"overlay, disk":        {seen(t, overlay, onDisk), Fail, "writable: an overlay whose upper folder /mnt/up is on ext4: changes outlive the boot"},
		"overlay, covered":     {seen(t, overlay, onTmpfs, overMnt), Fail, "writable: an overlay whose upper folder /mnt/up is on xfs: changes outlive the boot"},
		"overlay, hidden":      {seen(t, overlay), Fail, "writable: an overlay whose upper folder /mnt/up is out of sight"},
		"overlay, elsewhere":   {seen(t, overlay, "2 1 0:21 / /mnt2 rw - tmpfs tmpfs rw"), Fail, "writable: an overlay whose upper folder /mnt/up is out of sight"},
		"overlay, none":        {seen(t, "1 0 0:20 / / rw - overlay overlay rw,lowerdir=/l"), Fail, "writable: an overlay, its upper folder unknown"},
		"overlay, read-only":   {seen(t, "1 0 0:20 / / ro - overlay overlay rw,lowerdir=/l,upperdir=/u"), Pass, "mounted read-only"},
		"stacked, read-only":   {seen(t, rwRoot, overRoot), Pass, "mounted read-only"},
		"stacked, writable":    {seen(t, roRoot, rwOver), Fail, "writable: ext4 is mounted"},
		"stacked, upside down": {seen(t, rwOver, roRoot), Fail, "writable: ext4 is mounted"},
		"empty":                {Node{}, Unknown, "the mount table of PID 1 has no root"},
		"no root":              {seen(t, onDisk), Unknown, "the mount table of PID 1 has no root"},
		"unreadable":           {Node{MountsErr: errors.New("permission denied")}, Unknown, "the mount table of PID 1 is not readable: permission denied"},
		"unreadable, in part":  {Node{Mounts: seen(t, roRoot).Mounts, MountsErr: errors.New("line 2")}, Unknown, "the mount table of PID 1 is not readable: line 2"},
	} {
		f := Root{}.Run(test.node)
		if f.Verdict != test.verdict || !strings.HasPrefix(f.Message, test.message) {
			t.Errorf("%s: %s: %s", name, f.Verdict, f.Message)
		}
		if (f.Evidence == "") != (f.Verdict == Unknown) {
			t.Errorf("%s: evidence %q", name, f.Evidence)
		}
	}
}

func TestSuperblock(t *testing.T) {
	for name, test := range map[string]struct {
		node    Node
		verdict Verdict
		message string
	}{
		"read-only":      {seen(t, roRoot), Pass, "squashfs is read-only as a whole"},
		"only the mount": {seen(t, roMount), Fail, "ext4 itself is writable: a second mount of it would be, too"},
		"writable":       {seen(t, rwRoot), Fail, "ext4 itself is writable: a second mount of it would be, too"},
		"stacked":        {seen(t, rwRoot, overRoot), Pass, "erofs is read-only as a whole"},
		"only the block": {seen(t, "1 0 8:1 / / rw - ext4 /dev/vda1 ro"), Pass, "ext4 is read-only as a whole"},
		"empty":          {Node{}, Unknown, "the mount table of PID 1 has no root"},
		"unreadable":     {Node{MountsErr: errors.New("x")}, Unknown, "the mount table of PID 1 is not readable: x"},
	} {
		f := Superblock{}.Run(test.node)
		if f.Verdict != test.verdict || f.Message != test.message {
			t.Errorf("%s: %s: %s", name, f.Verdict, f.Message)
		}
	}
}

func TestEvidence(t *testing.T) {
	const want = "/ ro,relatime ext4 /dev/vda1 rw,errors=remount-ro"
	for _, f := range []Finding{Root{}.Run(seen(t, roMount)), Superblock{}.Run(seen(t, roMount))} {
		if f.Evidence != want {
			t.Errorf("%q", f.Evidence)
		}
	}
}

func TestOutput(t *testing.T) {
	memory, err := os.MkdirTemp("/dev/shm", "bootagent-test-")
	if err != nil {
		t.Skip("no tmpfs to write to")
	}
	t.Cleanup(func() { _ = os.RemoveAll(memory) })
	f := Output{}.Run(Node{Outputs: []string{memory, memory + "/later"}})
	if want := (Finding{Verdict: Pass, Message: "on tmpfs", Evidence: memory + " " + memory + "/later"}); f != want {
		t.Errorf("%+v", f)
	}
	f = Output{}.Run(Node{Outputs: []string{memory, "/proc"}})
	if f.Verdict != Fail || f.Evidence != "/proc" || !strings.HasPrefix(f.Message, "/proc is on ") {
		t.Errorf("%+v", f)
	}
}

// says has a verdict ready, and remembers that it was asked.
type says struct {
	verdict Verdict
	asked   *int
}

func (says) Name() string { return "says" }

func (s says) Run(Node) Finding {
	*s.asked++
	return Finding{Verdict: s.verdict, Message: "because", Evidence: "seen"}
}

func TestPolicies(t *testing.T) {
	for _, test := range []struct {
		policy config.Policy
		found  Verdict
		want   Verdict
		fails  bool
	}{
		{config.Enforce, Pass, Pass, false},
		{config.Enforce, Warn, Warn, false},
		{config.Enforce, Fail, Fail, true},
		{config.Enforce, Unknown, Unknown, true}, // never taken for a pass
		{config.Warn, Pass, Pass, false},
		{config.Warn, Warn, Warn, false},
		{config.Warn, Fail, Warn, false},
		{config.Warn, Unknown, Unknown, false},
		{config.Off, Pass, Off, false},
		{config.Off, Fail, Off, false},
		{config.Off, Unknown, Off, false},
	} {
		asked := 0
		findings, err := Run([]Plan{{says{test.found, &asked}, test.policy}}, Node{})
		want := []Finding{{Name: "says", Verdict: test.want, Message: "because", Evidence: "seen"}}
		if test.policy == config.Off {
			want = []Finding{{Name: "says", Verdict: Off, Message: "not checked: the policy is off"}}
		}
		if diff := cmp.Diff(want, findings); diff != "" {
			t.Errorf("%s, %s: %s", test.policy, test.found, diff)
		}
		if (err != nil) != test.fails || err != nil && err.Error() != "says: because" {
			t.Errorf("%s, %s: %v", test.policy, test.found, err)
		}
		if off := test.policy == config.Off; (asked == 0) != off {
			t.Errorf("%s, %s: asked %d times", test.policy, test.found, asked)
		}
	}
}

// TestRunMakesThemAll also after one has failed; the error is of the first.
func TestRunMakesThemAll(t *testing.T) {
	node := seen(t, rwRoot)
	node.Outputs = []string{"/proc"}
	findings, err := Run(Plans(config.Checks{Root: config.Enforce, Superblock: config.Warn}), node)
	var got []string
	for _, f := range findings {
		got = append(got, f.Name+" "+string(f.Verdict))
	}
	if diff := cmp.Diff([]string{"root fail", "superblock warn", "output fail"}, got); diff != "" {
		t.Error(diff)
	}
	if err == nil || !strings.HasPrefix(err.Error(), "root: writable: ext4") {
		t.Error(err)
	}
	_, err = Run(Plans(config.Checks{Root: config.Off, Superblock: config.Off}), node)
	if err == nil || !strings.HasPrefix(err.Error(), "output: /proc is on ") {
		t.Errorf("what is written to a disk cannot be turned off: %v", err)
	}
	_, err = Run(Plans(config.Default().Checks), Node{MountsErr: errors.New("x")})
	if err == nil || !strings.HasPrefix(err.Error(), "root: the mount table") {
		t.Error(err)
	}
}
