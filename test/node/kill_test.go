package node_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/test/rig"
)

// A boot that is killed at any point has published nothing or everything, and
// the next one ends well. What is published once is never touched again.
func TestKill(t *testing.T) {
	t.Parallel()
	rig.Need(t)
	w := newWorld(t, nil)
	image := w.image(t)
	image.Debs = []string{built.Deb(t, "1.0.0", "killpoints")}
	image.Enable = nil
	image.Files["/etc/systemd/system-preset/00-none.preset"] = rig.File{Content: "disable *\n"}
	image.Words = []string{"systemd.mask=bootagent.service"}
	node := rig.Boot(t, image)

	whole := ""
	for point := 1; ; point++ {
		node.MustRun("sh", "-c", "systemctl stop bootagent-boot; systemctl reset-failed; rm -rf /run/bootagent/* /run/bootagent/.c* /run/credstore/*; systemd-tmpfiles --create bootagent.conf")
		node.MustRun("systemctl", "set-environment", fmt.Sprintf("BOOTAGENT_KILL=%d", point))
		_, err := node.Run("systemctl", "start", "bootagent-boot.service")
		killed := err != nil
		if killed && property(node, "bootagent-boot.service", "Result") != "signal" {
			t.Fatalf("point %d: %v", point, err)
		}
		before := publication(node)
		node.MustRun("systemctl", "unset-environment", "BOOTAGENT_KILL")
		node.MustRun("systemctl", "start", "bootagent-boot.service")
		after := publication(node)
		if whole == "" {
			_, whole, _ = strings.Cut(after, "\n")
		}
		_, content, _ := strings.Cut(after, "\n")
		if content != whole {
			t.Errorf("point %d: after the second start:\n%s\nwant\n%s", point, content, whole)
		}
		if before != "" && before != after {
			t.Errorf("point %d: published, then changed:\n%s\n%s", point, before, after)
		}
		if receipt := node.MustRun("cat", "/run/bootagent/receipt.json"); !strings.Contains(receipt, `"state": "done"`) {
			t.Errorf("point %d: receipt %s", point, receipt)
		}
		if !killed {
			t.Logf("killed at %d points", point-1)
			if point < 10 {
				t.Error("too few points")
			}
			return
		}
	}
}

// publication is the inode of config/, and a digest of each file: empty if
// nothing is visible.
func publication(node *rig.Node) string {
	out, err := node.Run("sh", "-c", `cd /run/bootagent/config 2>/dev/null || exit 1; stat -c %i .
		find . -type f ! -name .boot | sort | xargs sha256sum; sha256sum /run/credstore/*; stat -c '%n %a' $(find . /run/credstore)`)
	if err != nil {
		return ""
	}
	return out
}
