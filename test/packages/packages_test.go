package packages_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/test/rig"
)

// units are what the packages enable.
func units() []string {
	return []string{"bootagent-boot.service", "bootagent.socket", "bootagent.service", "bootagent-online.service"}
}

// build makes the packages of a version, as a release does, and returns their
// folder.
func build(t *testing.T, version string, arches ...string) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("make", "--directory=../..", "package", "DIST="+dir, "VERSION="+version, "ARCHES="+strings.Join(arches, " "))
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	run(t, cmd)
	return dir
}

// run returns what the command printed on both its outputs; it has to succeed.
func run(t *testing.T, cmd *exec.Cmd) string {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return string(out)
}

// equal is the test's one comparison.
func equal(t *testing.T, what, want, got string) {
	t.Helper()
	if got = strings.TrimSpace(got); got != want {
		t.Errorf("%s: %q, not %q", what, got, want)
	}
}

// TestReproducible builds everything twice: the same commit, the same bytes.
func TestReproducible(t *testing.T) {
	rig.Need(t, "make")
	one, two := build(t, "1.0.0", "amd64", "arm64"), build(t, "1.0.0", "amd64", "arm64")
	files, err := os.ReadDir(one)
	if err != nil || len(files) != 6 {
		t.Fatalf("%d files, not a binary, a deb and an rpm of two architectures: %v", len(files), err)
	}
	for _, file := range files {
		first, _ := os.ReadFile(filepath.Join(one, file.Name()))
		second, _ := os.ReadFile(filepath.Join(two, file.Name()))
		if len(first) == 0 || !bytes.Equal(first, second) {
			t.Errorf("%s differs from build to build", file.Name())
		}
	}
	if out, err := exec.Command("ldd", one+"/bootagent-amd64").CombinedOutput(); err == nil || !strings.Contains(string(out), "not a dynamic executable") {
		t.Errorf("the binary is not static: %s", out)
	}
	equal(t, "architecture of the deb", "arm64", run(t, exec.Command("dpkg-deb", "-f", one+"/bootagent_1.0.0_arm64.deb", "Architecture")))
	equal(t, "architecture of the rpm", "aarch64", run(t, exec.Command("rpm", "-qp", "--qf", "%{ARCH}", one+"/bootagent-1.0.0-1.aarch64.rpm")))
}

// TestLintian allows what packaging/lintian-overrides gives a reason for, and
// no override that has lost its reason.
func TestLintian(t *testing.T) {
	rig.Need(t, "lintian")
	deb := build(t, "1.0.0", "amd64") + "/bootagent_1.0.0_amd64.deb"
	out := run(t, exec.Command("lintian", "--no-cfg", "--allow-root", "--fail-on=error,warning", "--display-info", deb))
	if strings.Contains(out, "unused-override") {
		t.Error(out)
	}
}

// TestUnits asks systemd itself, on both of its versions: no cycle, no unknown
// key, and no more exposure than was promised.
func TestUnits(t *testing.T) {
	deb := func() string { return build(t, "1.0.0", "amd64") + "/bootagent_1.0.0_amd64.deb" }
	for _, suite := range suites() {
		t.Run(suite, func(t *testing.T) {
			rig.Need(t, "make")
			node := rig.Boot(t, rig.Image{Suite: suite, Debs: []string{deb()}})
			equal(t, "complaints", "", node.MustRun("sh", "-c", "systemd-analyze verify "+strings.Join(units(), " ")+" 2>&1"))
			// The whole boot at once: a cycle is in no unit alone.
			if out := node.MustRun("sh", "-c", "systemd-analyze --man=no verify default.target 2>&1"); strings.Contains(out, "cycle") {
				t.Error(out)
			}
			for unit, tenths := range map[string]string{"bootagent-boot": "40", "bootagent": "15", "bootagent-online": "40"} {
				node.MustRun("systemd-analyze", "security", "--threshold="+tenths, unit+".service")
			}
			equal(t, "folders", "755 root /run/bootagent\n700 root /run/bootagent/agent-credentials\n700 root /run/credstore",
				node.MustRun("stat", "-c", "%a %U %n", "/run/bootagent", "/run/bootagent/agent-credentials", "/run/credstore"))
			// With the configuration as it is shipped.
			equal(t, "active", strings.TrimSpace(strings.Repeat("active\n", len(units()))),
				node.MustRun("systemctl", append([]string{"is-active"}, units()...)...))
		})
	}
}

// suites are the systems that the tests run on.
func suites() []string {
	if os.Getenv("BOOTAGENT_RIG_TRIXIE") == "1" {
		return []string{"bookworm", "trixie"}
	}
	return []string{"bookworm"}
}

// TestDeb takes the deb through its life: it was installed while the image was
// built, without systemd; the rest happens on a running node.
func TestDeb(t *testing.T) {
	rig.Need(t, "make")
	first, second := build(t, "1.0.0", "amd64"), build(t, "1.1.0", "amd64")
	node := rig.Boot(t, rig.Image{
		Debs:  []string{first + "/bootagent_1.0.0_amd64.deb"},
		Files: map[string]rig.File{"/etc/bootagent/bootagent.yaml": {Content: "checks: {root: \"off\"}\n"}},
		Root:  rig.Writable,
		Binds: map[string]string{second: "/mnt"},
	})
	enabled := func(when, want string) {
		t.Helper()
		for _, unit := range units() {
			out, _ := node.Run("systemctl", "is-enabled", unit)
			equal(t, when+": "+unit, want, out)
		}
	}
	property := func(unit, name string) string { return node.MustRun("systemctl", "show", "-P", name, unit) }

	enabled("installed", "enabled")
	node.MustRun("systemctl", "is-active", "bootagent.service")

	boot, agent, socket := property("bootagent-boot.service", "InvocationID"), property("bootagent.service", "InvocationID"), property("bootagent.socket", "InvocationID")
	node.MustRun("systemctl", "disable", "bootagent-online.service")
	node.MustRun("dpkg", "--install", "/mnt/bootagent_1.1.0_amd64.deb")
	equal(t, "upgraded: version", "bootagent 1.1.0", node.MustRun("dpkg-query", "-W", "-f", "${Package} ${Version}", "bootagent"))
	equal(t, "upgraded: the boot is the same", strings.TrimSpace(boot), property("bootagent-boot.service", "InvocationID"))
	equal(t, "upgraded: the socket is the same", strings.TrimSpace(socket), property("bootagent.socket", "InvocationID"))
	if property("bootagent.service", "InvocationID") == agent {
		t.Error("upgraded: the agent was not restarted")
	}
	equal(t, "upgraded: configuration", `checks: {root: "off"}`, node.MustRun("cat", "/etc/bootagent/bootagent.yaml"))
	state, _ := node.Run("systemctl", "is-enabled", "bootagent-online.service")
	equal(t, "upgraded: what was disabled", "disabled", state)

	node.MustRun("dpkg", "--remove", "bootagent")
	equal(t, "removed: the boot stays", "active", property("bootagent-boot.service", "ActiveState"))
	equal(t, "removed: the agent", "inactive", property("bootagent.service", "ActiveState"))
	equal(t, "removed: left", "/etc/bootagent\n/etc/bootagent/bootagent.yaml", leftovers(node))

	node.MustRun("dpkg", "--install", "/mnt/bootagent_1.1.0_amd64.deb")
	enabled("installed again", "enabled")
	equal(t, "installed again: nothing was started", "inactive", property("bootagent.service", "ActiveState"))

	node.MustRun("touch", "/etc/bootagent/disabled")
	node.MustRun("dpkg", "--purge", "bootagent")
	equal(t, "purged: left", "", leftovers(node))
	if out, err := node.Run("getent", "passwd", "bootagent"); err == nil {
		t.Errorf("purged: the user is left: %s", out)
	}
}

// leftovers are the files of the root filesystem, by name, that no other
// program has written.
func leftovers(node *rig.Node) string {
	return node.MustRun("sh", "-c", `find / -xdev -name '*bootagent*' -not -path '/var/lib/dpkg/*' | sort`)
}

// TestRPM installs and erases the rpm in a tree that has nothing but what its
// scripts call.
func TestRPM(t *testing.T) {
	rig.Need(t, "make", "rpm")
	if os.Geteuid() != 0 {
		t.Skip("rpm changes its root, which needs root")
	}
	first, second := build(t, "1.0.0", "amd64"), build(t, "1.1.0", "amd64")
	root := t.TempDir()
	if err := os.Symlink("usr/bin", root+"/bin"); err != nil {
		t.Fatal(err)
	}
	for _, program := range []string{"sh", "rm", "systemctl"} {
		copyProgram(t, root, program)
	}
	rpm := func(args ...string) {
		run(t, exec.Command("rpm", append([]string{"--root=" + root, "--dbpath=/rpmdb", "--nodeps"}, args...)...))
	}
	enabled := func() string {
		return run(t, exec.Command("find", root+"/etc/systemd", "-type", "l", "-printf", "%f\n"))
	}
	list := func() string {
		return run(t, exec.Command("find", root, "-path", root+"/rpmdb", "-prune", "-o", "-name", "*bootagent*", "-printf", "%P\n"))
	}

	rpm("--install", first+"/bootagent-1.0.0-1.x86_64.rpm")
	for _, unit := range units() {
		if !strings.Contains(enabled(), unit+"\n") {
			t.Errorf("installed: %s is not enabled", unit)
		}
	}
	configuration := root + "/etc/bootagent/bootagent.yaml"
	if err := os.WriteFile(configuration, []byte("checks: {root: warn}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, exec.Command("systemctl", "--root="+root, "--quiet", "disable", "bootagent-online.service"))
	rpm("--upgrade", second+"/bootagent-1.1.0-1.x86_64.rpm")
	if strings.Contains(enabled(), "bootagent-online") || !strings.Contains(enabled(), "bootagent-boot") {
		t.Errorf("upgraded: enabled are %q", enabled())
	}
	equal(t, "upgraded: configuration", "checks: {root: warn}", run(t, exec.Command("cat", configuration)))

	rpm("--erase", "bootagent")
	equal(t, "erased: left", "etc/bootagent\netc/bootagent/bootagent.yaml.rpmsave", list())
}

// copyProgram copies a program of this machine and its libraries to a tree.
func copyProgram(t *testing.T, root, program string) {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{path}
	for field := range strings.FieldsSeq(run(t, exec.Command("ldd", path))) {
		if filepath.IsAbs(field) {
			files = append(files, field)
		}
	}
	for _, file := range files {
		run(t, exec.Command("install", "-D", file, root+file))
	}
}
