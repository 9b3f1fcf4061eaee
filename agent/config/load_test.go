package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/facts"
	"github.com/google/go-cmp/cmp"
)

// file makes a file and returns its path.
func file(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// only has one credential.
func only(name, content string) Credentials {
	return func(wanted string) ([]byte, error) {
		if wanted != name {
			return nil, os.ErrNotExist
		}
		return []byte(content), nil
	}
}

func TestLoadPrecedence(t *testing.T) {
	vendor := file(t, "vendor.yaml", "node: {role: vendor, name: vendor}\nboot: {deadline: 1s}\nlogs: [{file: {path: /a}}, {file: {path: /b}}]")
	image := file(t, "image.yaml", "node: {role: image}\nboot: {deadline: 2s}\nlogs: [{file: {path: /c}}]\nchecks: {root: warn}")
	named := file(t, "named.yaml", "node: {role: named}")
	none := filepath.Join(t.TempDir(), "none.yaml")
	credential := only("bootagent.config", "node: {role: credential}\nboot: {deadline: 3s}")
	for name, test := range map[string]struct {
		origin               Origin
		role, node, deadline string
		root                 Policy
		logs                 int
	}{
		"vendor":       {Origin{Files: []string{vendor, none}}, "vendor", "vendor", "1s", Enforce, 2},
		"image":        {Origin{Files: []string{vendor, image}}, "image", "vendor", "2s", Warn, 1},
		"credential":   {Origin{Files: []string{vendor, image}, Credentials: credential}, "credential", "vendor", "3s", Warn, 1},
		"alone":        {Origin{Files: []string{none}, Credentials: credential}, "credential", "", "3s", Enforce, 0},
		"other":        {Origin{Files: []string{vendor}, Credentials: only("x", "no: yes")}, "vendor", "vendor", "1s", Enforce, 2},
		"named":        {Origin{Files: []string{vendor, image}, Credentials: credential, CommandLine: []string{"bootagent.config=" + named}}, "named", "vendor", "3s", Warn, 1},
		"only named":   {Origin{CommandLine: []string{"bootagent.config=" + named}}, "named", "", "2m0s", Enforce, 0},
		"word":         {Origin{Files: []string{vendor, image}, Credentials: credential, CommandLine: []string{"ro", "bootagent.role=word", "bootagent.config=" + named, "bootagent.root=off"}}, "word", "vendor", "3s", Off, 1},
		"last word":    {Origin{Files: []string{vendor}, CommandLine: []string{"bootagent.role=a", "bootagent.role=b"}}, "b", "vendor", "1s", Enforce, 2},
		"no role":      {Origin{Files: []string{vendor}, CommandLine: []string{"bootagent.role="}}, "", "vendor", "1s", Enforce, 2},
		"others' word": {Origin{Files: []string{vendor}, CommandLine: []string{"role=x", "xbootagent.role=x", "bootagent=x"}}, "vendor", "vendor", "1s", Enforce, 2},
	} {
		c, err := Load(test.origin)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		deadline, _ := c.Boot.Deadline.MarshalText()
		if c.Node.Role != test.role || c.Node.Name != test.node || string(deadline) != test.deadline || c.Checks.Root != test.root || len(c.Logs) != test.logs {
			t.Errorf("%s: role %q, name %q, deadline %s, root %s, %d logs", name, c.Node.Role, c.Node.Name, deadline, c.Checks.Root, len(c.Logs))
		}
	}
}

func TestLoadRefuses(t *testing.T) {
	good := file(t, "good.yaml", "node: {role: web}")
	bad := file(t, "bad.yaml", "nope: 1")
	huge := file(t, "huge.yaml", strings.Repeat("#", maxSecret+1))
	none := filepath.Join(t.TempDir(), "none.yaml")
	broken := func(string) ([]byte, error) { return nil, errors.New("broken") }
	for want, origin := range map[string]Origin{
		"no configuration: " + none + ", /nope: not there":                           {Files: []string{none, "/nope"}, Credentials: only("x", "")},
		bad + `:1:1: unknown key "nope"`:                                             {Files: []string{good, bad}},
		"configuration " + huge + ": larger than 1048576 bytes":                      {Files: []string{huge}},
		"configuration " + filepath.Dir(good) + ": is a directory":                   {Files: []string{filepath.Dir(good)}},
		"configuration " + none + ": no such file":                                   {Files: []string{good}, CommandLine: []string{"bootagent.config=" + none}},
		"configuration https://a: a path is wanted":                                  {Files: []string{good}, CommandLine: []string{"bootagent.config=https://a"}},
		`kernel command line: bootagent.root: policy "x": want enforce, warn or off`: {Files: []string{good}, CommandLine: []string{"bootagent.root=x"}},
		`kernel command line: bootagent.root: policy "": want enforce, warn or off`:  {Files: []string{good}, CommandLine: []string{"bootagent.root"}},
		"configuration credential bootagent.config: broken":                          {Files: []string{good}, Credentials: broken},
		`credential bootagent.config:1:1: unknown key "nope"`:                        {Files: []string{good}, Credentials: only("bootagent.config", "nope: 1")},
	} {
		c, err := Load(origin)
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("got %v\nwant %s", err, want)
		}
		if diff := cmp.Diff(Config{}, c); diff != "" {
			t.Errorf("%s: half a configuration: %s", want, diff)
		}
	}
}

// TestLoadJudgesTheWhole: a name in one text may need what another one says.
func TestLoadJudgesTheWhole(t *testing.T) {
	name := file(t, "name.yaml", "node: {name: 'web-${ordinal}'}")
	registry := file(t, "registry.yaml", "registry: {file: {path: /r}}")
	for _, files := range [][]string{{name, registry}, {registry, name}} {
		if _, err := Load(Origin{Files: files}); err != nil {
			t.Error(err)
		}
	}
}

func TestExpand(t *testing.T) {
	c := parsed(t, `
node: {id: "n-${machine_id}", role: "${os_id}", name: "${role}-${ordinal}.${hostname}"}
sources: [{file: {path: "/d/${role}"}}, {http: {url: "https://a/${role}/${machine_id}"}}]
registry: {file: {path: "/r/${role}"}}
logs: [{file: {path: "/l/${machine_id}"}}, {journal_upload: {url: "https://l/${role}"}}]`)
	f := facts.Facts{MachineID: "m1", Hostname: "h", OS: facts.OS{ID: "debian"}}
	for range 2 { // the second time, nothing is left to do
		if err := c.Expand(f); err != nil {
			t.Fatal(err)
		}
		got := []string{
			c.Node.ID, c.Node.Role, c.Node.Name, c.Sources[0].File.Path, c.Sources[1].HTTP.URL,
			c.Registry.File.Path, c.Logs[0].File.Path, c.Logs[1].JournalUpload.URL,
		}
		want := []string{"n-m1", "debian", "debian-${ordinal}.h", "/d/debian", "https://a/debian/m1", "/r/debian", "/l/m1", "https://l/debian"}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
	}
	c = parsed(t, `{node: {id: x, role: r}, registry: {etcd: {endpoints: ["https://a"], prefix: "/p/${role}"}}}`)
	if err := c.Expand(f); err != nil || c.Registry.Etcd.Prefix != "/p/r" {
		t.Errorf("%q, %v", c.Registry.Etcd.Prefix, err)
	}
}

func TestExpandRefuses(t *testing.T) {
	long := strings.Repeat("x", 129)
	for text, want := range map[string]string{
		`node: {id: "${hostname}"}`:                     "node.id: ${hostname}: not known on this node",
		`node: {role: "${role}"}`:                       "node.role: ${role}: unknown fact (known: address,",
		`node: {role: "${nope}"}`:                       "node.role: ${nope}: unknown fact (known: address,",
		`node: {name: "${ordinal"}`:                     "node.name: ${ordinal: no closing brace",
		`node: {id: "a/b"}`:                             `node.id: "a/b": want letters, digits, dots, hyphens and underscores`,
		`node: {id: ""}`:                                `node.id: "": want letters`,
		`node: {id: "-a"}`:                              `node.id: "-a": want letters`,
		`node: {id: ` + long + `}`:                      `node.id: "` + long + `": want letters`,
		`node: {role: "a b"}`:                           `node.role: "a b": want letters`,
		`node: {role: ".."}`:                            `node.role: "..": want letters`,
		`node: {name: "a\n"}`:                           `node.name: "a\n": want letters`,
		`node: {name: "-${ordinal}"}`:                   `node.name: "-${ordinal}": want letters`,
		`sources: [{file: {path: "/${ordinal}"}}]`:      "sources: file.path: ${ordinal}: unknown fact",
		`sources: [{http: {url: "https://a/${nope}"}}]`: "sources: http.url: ${nope}: unknown fact",
		`{node: {id: "${a}", name: "${b}"}}`:            "node.id: ${a}: unknown fact",
	} {
		c := parsed(t, text)
		if err := c.Expand(facts.Facts{MachineID: "m1"}); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	c := parsed(t, `{node: {id: "${a}", name: "${b}"}}`)
	if got := strings.Count(c.Expand(facts.Facts{}).Error(), "\n"); got != 1 {
		t.Errorf("%d line feeds between two errors", got)
	}
}
