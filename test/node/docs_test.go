package node_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/test/rig"
)

// What the pages show for a node works on one: the unit of the application,
// and every command.
func TestDocumentation(t *testing.T) {
	t.Parallel()
	w := newWorld(t, nil)
	image := w.image(t)
	image.Files["/etc/systemd/system/app.service"] = rig.File{Content: shown(t, "ini", "/etc/systemd/system/app.service")[0]}
	image.Binds = map[string]string{curl(t): "/mnt"}
	node := rig.Boot(t, image)
	awaitState(t, node, status.Ready)
	if got := property(node, "app.service", "ActiveState"); got != "active" {
		t.Errorf("the application is %s", got)
	}
	for _, script := range shown(t, "sh", "on a node") {
		for command := range strings.Lines(script) {
			if strings.HasPrefix(command, "#") {
				continue
			}
			command = strings.Replace(command, "curl ", "/mnt/ld --library-path /mnt /mnt/curl --silent --fail ", 1)
			out, err := node.Run("sh", "-c", command)
			if err != nil && !strings.Contains(command, "--priority err") {
				t.Errorf("%s: %v", command, err)
			}
			t.Logf("$ %s%s", command, out)
		}
	}
}

// curl is a folder with this machine's curl, its libraries, and the loader as
// ld: the node has none.
func curl(t *testing.T) string {
	t.Helper()
	rig.Need(t, "curl")
	path, err := exec.LookPath("curl")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ldd", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for field := range strings.FieldsSeq(path + " " + string(out)) {
		if !filepath.IsAbs(field) {
			continue
		}
		name := filepath.Base(field)
		if strings.HasPrefix(name, "ld-linux") {
			name = "ld"
		}
		content, err := os.ReadFile(field)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), content, 0o755)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// shown are the fenced blocks of all pages with this language and first line.
func shown(t *testing.T, language, title string) []string {
	t.Helper()
	fence := regexp.MustCompile("(?ms)^```" + language + "\n# " + regexp.QuoteMeta(title) + "\n(.*?)^```$")
	var list []string
	for _, page := range []string{"README.md", "docs/boot.md"} {
		text, err := os.ReadFile("../../" + page)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range fence.FindAllStringSubmatch(string(text), -1) {
			list = append(list, match[1])
		}
	}
	if len(list) == 0 {
		t.Fatalf("no block %q", title)
	}
	return list
}
