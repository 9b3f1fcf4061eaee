package output

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const bootKey = "boot-1"

// place is a node's /run, and what lies beside it.
type place struct {
	Target
	base, outside string
}

func newPlace(t *testing.T) place {
	t.Helper()
	base := t.TempDir()
	p := place{
		Target:  Target{Directory: base + "/run", Credentials: base + "/credstore", Baked: []string{base + "/none", base + "/baked"}},
		base:    base,
		outside: base + "/outside",
	}
	for _, dir := range []string{p.Directory, p.Baked[1], p.outside, p.outside + "/folder"} {
		mkdir(t, dir)
	}
	put(t, p.Directory+"/receipt.json", "{}")
	put(t, p.outside+"/file", "precious")
	put(t, p.outside+"/.boot", bootKey)
	put(t, p.outside+"/folder/file", "precious")
	return p
}

func mkdir(t *testing.T, dir string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

func put(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func symlink(t *testing.T, to, path string) {
	t.Helper()
	mkdir(t, filepath.Dir(path))
	if err := os.Symlink(to, path); err != nil {
		t.Fatal(err)
	}
}

// snapshot is what lies below a folder: mode, owner, and content or target.
func snapshot(t *testing.T, root string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what := ""
		switch {
		case info.Mode().IsRegular():
			content, _ := os.ReadFile(path)
			what = string(content)
		case info.Mode()&fs.ModeSymlink != 0:
			what, _ = os.Readlink(path)
		}
		owner := info.Sys().(*syscall.Stat_t)
		name, _ := filepath.Rel(root, path)
		all[name] = fmt.Sprintf("%v %d:%d %q", info.Mode(), owner.Uid, owner.Gid, what)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// left is what of a boot is found: files and links but the receipt.
func (p place) left(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, dir := range []string{p.Directory, p.Credentials} {
		if _, err := os.Lstat(dir); err != nil {
			continue
		}
		for name, what := range snapshot(t, dir) {
			empty := strings.HasPrefix(what, "d") && (name == "." || name == agentDir)
			if !empty && name != "receipt.json" {
				names = append(names, filepath.Join(filepath.Base(dir), name))
			}
		}
	}
	return names
}

func commit(t *testing.T, p place, tree Tree, ours ...string) {
	t.Helper()
	if err := p.Commit(tree, bootKey, ours); err != nil {
		t.Fatal(err)
	}
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("gives files away, as root only may")
	}
}

func TestCommit(t *testing.T) {
	needRoot(t)
	for _, umask := range []int{0o022, 0o077, 0} {
		p := newPlace(t)
		old := unix.Umask(umask)
		err := p.Commit(rendered(), bootKey, nil)
		unix.Umask(old)
		if err != nil {
			t.Fatal(err)
		}
		got := snapshot(t, p.Directory)
		for name, want := range map[string]string{
			"config":                           `drwxr-xr-x 0:0 ""`,
			"config/.boot":                     `-rw-r--r-- 0:0 "boot-1"`,
			"config/env":                       `-rw------- 0:0 "EMPTY=\"\"\nGREETING=\"say \\\"\\$5\\\"\n\"\nLOG_LEVEL=\"info\"\n"`,
			"config/files":                     `drwxr-xr-x 0:0 ""`,
			"config/files/a":                   `drwxr-xr-x 0:0 ""`,
			"config/files/a/b":                 `drwxr-xr-x 0:0 ""`,
			"config/files/a/b/c":               `-rw-r--r-- 65534:0 ""`,
			"config/files/motd":                `-rw-r--r-- 0:0 "hello"`,
			"config/files/nginx/upstream.conf": `-rw-r----- 0:1 "server a;\n"`,
			"agent-credentials":                `drwx------ 0:0 ""`,
			"agent-credentials/etcd-password":  `-r-------- 0:0 "\x00\xff"`,
			"receipt.json":                     `-rw------- 0:0 "{}"`,
		} {
			// %q of the content is that of Go; the map is written the same way.
			if strings.Contains(want, `\n\"`) {
				want = fmt.Sprintf("-rw------- 0:0 %q", string(Env(whole().Env)))
			}
			if got[name] != want {
				t.Errorf("umask %o: %s: %s, want %s", umask, name, got[name], want)
			}
		}
		for _, name := range []string{"config/flags.json", "config/node.json", "config/agent.json"} {
			if !strings.HasPrefix(got[name], "-rw-r--r-- 0:0 \"{") {
				t.Errorf("umask %o: %s: %s", umask, name, got[name])
			}
		}
		if len(got) != 17 {
			t.Errorf("%d entries: %v", len(got), got)
		}
		want := map[string]string{
			".": `drwx------ 0:0 ""`, "db-password": `-r-------- 0:0 "s3cret\n"`,
			"etcd-password": `-r-------- 0:0 "\x00\xff"`, "empty": `-r-------- 0:0 ""`,
		}
		if diff := cmp.Diff(want, snapshot(t, p.Credentials)); diff != "" {
			t.Errorf("umask %o: %s", umask, diff)
		}
		if got := p.Committed(); got != bootKey {
			t.Errorf("committed: %q", got)
		}
	}
}

func TestCommitWithoutSecretsMakesNoStore(t *testing.T) {
	p := newPlace(t)
	commit(t, p, Tree{})
	if _, err := os.Lstat(p.Credentials); err == nil {
		t.Error("a credential store for no credential")
	}
	if p.Committed() != bootKey {
		t.Error("not committed")
	}
}

// TestOrder looks from outside before each step: a configuration that can be
// seen is whole, and its credentials are there.
func TestOrder(t *testing.T) {
	p := newPlace(t)
	tree := Tree{
		Config:      []File{{Path: "env", Mode: 0o600}},
		Credentials: []File{{Path: "a", Content: []byte("a"), Mode: 0o400}, {Path: "b", Content: []byte("b"), Mode: 0o400}},
		Agent:       []File{{Path: "a", Content: []byte("a"), Mode: 0o400}},
	}
	var steps []string
	p.Progress = func(step string) {
		seen := []string{step}
		for _, name := range []string{"/credstore/a", "/credstore/b", "/run/agent-credentials/a", "/run/config", "/run/config/env"} {
			if _, err := os.Lstat(p.base + name); err == nil {
				seen = append(seen, name)
			}
		}
		if p.Committed() != "" {
			seen = append(seen, "done")
		}
		steps = append(steps, strings.Join(seen, " "))
	}
	commit(t, p, tree)
	const all = " /credstore/a /credstore/b /run/agent-credentials/a"
	want := []string{
		"credential", "credential /credstore/a", "credential /credstore/a /credstore/b", "stage" + all, "commit" + all,
		"committed" + all + " /run/config /run/config/env done",
	}
	if diff := cmp.Diff(want, steps); diff != "" {
		t.Error(diff)
	}
}

// TestAllOrNothing breaks a commit wherever it can break.
func TestAllOrNothing(t *testing.T) {
	needRoot(t)
	secrets := []File{{Path: "a", Content: []byte("a"), Mode: 0o400}, {Path: "b", Content: []byte("b"), Mode: 0o400}}
	good := []File{{Path: "env", Mode: 0o600}, {Path: "files/x", Mode: 0o644}}
	for name, test := range map[string]struct {
		config, secrets, agent []File
		before                 func(p place)
		want                   string
	}{
		"unknown owner": {
			config: append(good[:2:2], File{Path: "files/y/z", Mode: 0o600, Owner: "bootagent-nobody"}, File{Path: "files/zz"}), secrets: secrets, agent: secrets,
			want: "files/y/z: bootagent-nobody: no such account on this node",
		},
		"unknown group":      {config: []File{{Path: "f", Owner: "root", Group: "bootagent-nobody"}}, secrets: secrets, want: "f: bootagent-nobody: no such account on this node"},
		"number too large":   {config: []File{{Path: "f", Owner: "4294967295"}}, secrets: secrets, want: "f: 4294967295: no such account on this node"},
		"owner of a secret":  {config: good, secrets: append(secrets[:2:2], File{Path: "c", Owner: "bootagent-nobody"}), agent: secrets, want: "credential c: bootagent-nobody: no such account"},
		"owner of the agent": {config: good, secrets: secrets, agent: append(secrets[:2:2], File{Path: "c", Owner: "bootagent-nobody"}), want: "credential c: bootagent-nobody: no such account"},
		"the same twice":     {config: append(good[:2:2], good[0]), secrets: secrets, want: "env: file exists"},
		"file as folder":     {config: append(good[:2:2], File{Path: "files/x/y"}), secrets: secrets, want: "files/x/y: not a directory"},
		"out of the folder":  {config: []File{{Path: "../x"}}, secrets: secrets, want: "..: path escapes from parent"},
		"secret out of it":   {config: good, secrets: []File{{Path: "a"}, {Path: "../x"}}, want: "credential ../x: "},
		"no directory":       {config: good, secrets: secrets, agent: secrets, before: func(p place) { _ = os.RemoveAll(p.Directory) }, want: ""},
		"store is a file":    {config: good, secrets: secrets, agent: secrets, before: func(p place) { _ = os.WriteFile(p.Credentials, nil, 0o600) }, want: ""},
		"agent's is a file":  {config: good, secrets: secrets, agent: secrets, before: func(p place) { _ = os.WriteFile(p.Directory+"/"+agentDir, nil, 0o600) }, want: "agent-credentials: not a folder"},
	} {
		p := newPlace(t)
		if test.before != nil {
			test.before(p)
		}
		outside := snapshot(t, p.outside)
		err := p.Commit(Tree{Config: test.config, Credentials: test.secrets, Agent: test.agent}, bootKey, nil)
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", name, err, test.want)
		}
		if p.Committed() != "" {
			t.Errorf("%s: committed", name)
		}
		for _, left := range p.left(t) {
			if left != "run/"+agentDir && left != "credstore" { // the files in their places, which are not ours
				t.Errorf("%s: left: %s", name, left)
			}
		}
		for _, path := range []string{p.base + "/x", p.Directory + "/x"} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s: %s was written", name, path)
			}
		}
		if diff := cmp.Diff(outside, snapshot(t, p.outside)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// TestForeignCredentials are never overwritten, and not removed either.
func TestForeignCredentials(t *testing.T) {
	tree := Tree{Config: []File{{Path: "env"}}, Credentials: []File{{Path: "a", Content: []byte("new"), Mode: 0o400}, {Path: "b", Content: []byte("new"), Mode: 0o400}}}
	for name, test := range map[string]struct {
		before func(t *testing.T, p place)
		want   string
	}{
		"there":       {func(t *testing.T, p place) { mkdir(t, p.Credentials); put(t, p.Credentials+"/b", "old") }, "credential b: there already, in %s/credstore, and not from a boot"},
		"a link":      {func(t *testing.T, p place) { symlink(t, p.outside+"/none", p.Credentials+"/b") }, "credential b: there already, in %s/credstore, and not from a boot"},
		"a folder":    {func(t *testing.T, p place) { mkdir(t, p.Credentials+"/b") }, "credential b: there already, in %s/credstore, and not from a boot"},
		"baked":       {func(t *testing.T, p place) { put(t, p.Baked[1]+"/b", "old") }, "credential b: the image has one of this name, in %s/baked"},
		"baked link":  {func(t *testing.T, p place) { symlink(t, "none", p.Baked[1]+"/b") }, "credential b: the image has one of this name, in %s/baked"},
		"baked, ours": {func(t *testing.T, p place) { put(t, p.Baked[1]+"/a", "old") }, "credential a: the image has one of this name, in %s/baked"},
	} {
		p := newPlace(t)
		test.before(t, p)
		before := snapshot(t, p.base)
		err := p.Commit(tree, bootKey, []string{"a"})
		if want := fmt.Sprintf(test.want, p.base); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
		if diff := cmp.Diff(before, snapshot(t, p.base)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestOwnCredentialsAreReplaced(t *testing.T) {
	p := newPlace(t)
	tree := Tree{Credentials: []File{{Path: "a", Content: []byte("new"), Mode: 0o400}}}
	mkdir(t, p.Credentials)
	put(t, p.Credentials+"/a", "old and longer")
	put(t, p.Credentials+"/.bootagent.a", "half")
	put(t, p.Credentials+"/other", "other")
	commit(t, p, tree, "a", "gone")
	got := snapshot(t, p.Credentials)
	if !strings.HasPrefix(got["a"], "-r-------- ") || !strings.HasSuffix(got["a"], `"new"`) || !strings.HasSuffix(got["other"], `"other"`) || len(got) != 3 {
		t.Error(got)
	}
}

func TestWithdraw(t *testing.T) {
	p := newPlace(t)
	p.Withdraw([]string{"a"}) // of nothing
	tree := Tree{
		Config: []File{{Path: "env"}, {Path: "files/a/b"}}, Agent: []File{{Path: "x", Mode: 0o400}},
		Credentials: []File{{Path: "a", Mode: 0o400}, {Path: "b", Mode: 0o400}},
	}
	commit(t, p, tree)
	put(t, p.Credentials+"/foreign", "x")
	put(t, p.Credentials+"/.bootagent.a", "half")
	mkdir(t, p.Directory+"/.config.new/files")
	mkdir(t, p.Directory+"/.config.new.old/of a withdrawal that was killed")
	p.Withdraw([]string{"a", "b", "none"})
	if diff := cmp.Diff([]string{"credstore/foreign"}, p.left(t)); diff != "" {
		t.Error(diff)
	}
	if p.Committed() != "" {
		t.Error("still committed")
	}
	if _, err := os.Lstat(p.Directory + "/receipt.json"); err != nil {
		t.Error("the receipt is gone")
	}
}

// TestLinks puts links where the boot writes and removes: what they point to
// stays as it is, and nothing appears there.
func TestLinks(t *testing.T) {
	tree := Tree{
		Config: []File{{Path: "env"}, {Path: "files/a/b"}}, Agent: []File{{Path: "file", Mode: 0o400}, {Path: "new", Mode: 0o400}},
		Credentials: []File{{Path: "file", Mode: 0o400}, {Path: "new", Mode: 0o400}},
	}
	ours := []string{"file", "new"}
	for _, name := range []string{
		"run/config", "run/.config.new", "run/.config.new.old", "run/agent-credentials", "run/agent-credentials/file", "run/agent-credentials/.bootagent.file",
		"credstore/file", "credstore/new", "credstore/.bootagent.file", "credstore/.bootagent.new",
	} {
		for _, target := range []string{"%s", "%s/folder", "%s/file", "%s/none", "../outside", "../outside/folder", "../../outside", ".", "..", "other", "receipt.json"} {
			p := newPlace(t)
			mkdir(t, p.Directory+"/other")
			put(t, p.Directory+"/other/file", "precious")
			if strings.Contains(target, "%s") {
				target = fmt.Sprintf(target, p.outside)
			}
			symlink(t, target, p.base+"/"+name)
			outside, other := snapshot(t, p.outside), snapshot(t, p.Directory+"/other")
			unharmed := func(after string) {
				if diff := cmp.Diff(outside, snapshot(t, p.outside)); diff != "" {
					t.Errorf("%s -> %s: after %s: %s", name, target, after, diff)
				}
				if diff := cmp.Diff(other, snapshot(t, p.Directory+"/other")); diff != "" {
					t.Errorf("%s -> %s: after %s: %s", name, target, after, diff)
				}
				if content, _ := os.ReadFile(p.Directory + "/receipt.json"); string(content) != "{}" {
					t.Errorf("%s -> %s: after %s: the receipt is %q", name, target, after, content)
				}
			}
			before := len(snapshot(t, p.Directory))
			if err := p.Commit(tree, bootKey, ours); err == nil {
				if got := p.Committed(); got != bootKey {
					t.Errorf("%s -> %s: committed %q", name, target, got)
				}
			} else if p.Committed() != "" && target != p.outside {
				t.Errorf("%s -> %s: committed after %v", name, target, err)
			} else if after := len(snapshot(t, p.Directory)); after > before+1 { // agent-credentials
				t.Errorf("%s -> %s: %d entries, then %d", name, target, before, after)
			}
			unharmed("commit")
			p.Withdraw(ours)
			unharmed("withdraw")
			if p.Committed() != "" {
				t.Errorf("%s -> %s: committed after the withdrawal", name, target)
			}
		}
	}
}

// TestCommittedWithTroubleInItsPlace: an answer, at once, and never the key.
func TestCommittedWithTroubleInItsPlace(t *testing.T) {
	for name, make := range map[string]func(t *testing.T, boot string, p place){
		"fifo": func(t *testing.T, boot string, _ place) {
			if err := unix.Mkfifo(boot, 0o600); err != nil {
				t.Fatal(err)
			}
		},
		"fifo that is held open": func(t *testing.T, boot string, _ place) {
			if err := unix.Mkfifo(boot, 0o600); err != nil {
				t.Fatal(err)
			}
			holder, err := os.OpenFile(boot, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = holder.Close() })
		},
		"huge": func(t *testing.T, boot string, _ place) {
			put(t, boot, bootKey)
			if err := os.Truncate(boot, 1<<40); err != nil {
				t.Fatal(err)
			}
		},
		"longer":  func(t *testing.T, boot string, _ place) { put(t, boot, bootKey+"\n") },
		"empty":   func(t *testing.T, boot string, _ place) { put(t, boot, "") },
		"folder":  func(t *testing.T, boot string, _ place) { mkdir(t, boot) },
		"missing": func(*testing.T, string, place) {},
		"link out of it": func(t *testing.T, boot string, p place) {
			symlink(t, p.outside+"/.boot", boot)
		},
		"link inside": func(t *testing.T, boot string, _ place) {
			put(t, boot+"2", bootKey)
			symlink(t, ".boot2", boot)
		},
		"folder of another place": func(t *testing.T, boot string, p place) {
			if err := os.Remove(filepath.Dir(boot)); err != nil {
				t.Fatal(err)
			}
			symlink(t, p.outside, filepath.Dir(boot))
		},
	} {
		p := newPlace(t)
		mkdir(t, p.Directory+"/config")
		make(t, p.Directory+"/config/.boot", p)
		answer := gotten(p.Committed)
		select {
		case got := <-answer:
			if got == bootKey {
				t.Errorf("%s: committed", name)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%s: no answer", name)
		}
	}
	if got := (Target{Directory: t.TempDir() + "/none"}).Committed(); got != "" {
		t.Errorf("committed %q nowhere", got)
	}
}

func gotten(f func() string) <-chan string {
	answer := make(chan string, 1)
	go func() { answer <- f() }()
	return answer
}

// TestCrash dies before each step that can be seen, starts again as the next
// boot does, and wants the whole each time.
func TestCrash(t *testing.T) {
	needRoot(t)
	tree := rendered()
	clean := newPlace(t)
	var steps []string
	clean.Progress = func(step string) { steps = append(steps, step) }
	commit(t, clean, tree)
	clean.Progress = nil
	for i, step := range steps {
		p := newPlace(t)
		p.crash(t, tree, i)
		if got, want := p.Committed(), map[bool]string{true: bootKey}[step == "committed"]; got != want {
			t.Errorf("step %d, %s: committed %q, want %q", i, step, got, want)
		}
		p.Withdraw(paths(tree.Credentials))
		if left := p.left(t); left != nil {
			t.Errorf("step %d, %s: left: %v", i, step, left)
		}
		commit(t, p, tree)
		for _, dir := range []string{"/run", "/credstore"} {
			if diff := cmp.Diff(snapshot(t, clean.base+dir), snapshot(t, p.base+dir)); diff != "" {
				t.Errorf("step %d, %s: %s", i, step, diff)
			}
		}
	}
}

// crash commits and dies before the step of that number. SIGKILL runs no
// deferred calls that matter: those of Commit only close.
func (p place) crash(t *testing.T, tree Tree, number int) {
	t.Helper()
	step := 0
	p.Progress = func(string) {
		if step == number {
			panic("crash")
		}
		step++
	}
	defer func() {
		if recover() == nil {
			t.Errorf("no crash before step %d", number)
		}
	}()
	_ = p.Commit(tree, bootKey, nil)
}

// TestCommitOverAHalf starts over without a withdrawal: what a crash left does
// not get into what is published.
func TestCommitOverAHalf(t *testing.T) {
	p := newPlace(t)
	mkdir(t, p.Directory+"/.config.new/files")
	put(t, p.Directory+"/.config.new/files/old", "half")
	put(t, p.Directory+"/.config.new/env", "half")
	commit(t, p, Tree{Config: []File{{Path: "env"}}})
	want := []string{".", ".boot", "env"}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(snapshot(t, p.Directory+"/config")))); diff != "" {
		t.Error(diff)
	}
}

// TestSecondBoot withdraws what the first one published, and commits another.
func TestSecondBoot(t *testing.T) {
	p := newPlace(t)
	commit(t, p, Tree{Config: []File{{Path: "files/old"}}, Credentials: []File{{Path: "a"}, {Path: "old"}}, Agent: []File{{Path: "old"}}})
	p.Withdraw([]string{"a", "old"})
	if err := p.Commit(Tree{Config: []File{{Path: "files/new"}}, Credentials: []File{{Path: "a"}}}, "boot-2", []string{"a", "old"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range p.left(t) {
		if strings.Contains(name, "old") {
			t.Errorf("%s is left of the first", name)
		}
	}
	if got := p.Committed(); got != "boot-2" {
		t.Errorf("committed %q", got)
	}
}
