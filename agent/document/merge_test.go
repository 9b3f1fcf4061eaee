package document

import (
	"strings"
	"testing"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/google/go-cmp/cmp"
)

func layer(t *testing.T, source, text string) Layer {
	t.Helper()
	return Layer{source, parsed(t, "version: 1\n"+text)}
}

func merged(t *testing.T, layers ...Layer) Merged {
	t.Helper()
	m, err := Merge(layers...)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMerge(t *testing.T) {
	m := merged(t,
		layer(t, "a", "env: {A: a, B: a}\nfiles: {f: {content: a, mode: '0600'}}\ncredentials: {c: a, d: a}\nflags: {x: {p: 1}, y: 1}\nagent: {node: {name: a}, logs: [{file: {path: /a}}]}"),
		layer(t, "b", "env: {B: b, C: ''}\nfiles: {f: {content: b}}\ncredentials: {c: b}\nflags: {x: {q: 2}}\nagent: {registry: {file: {path: /r}}, logs: []}"),
		layer(t, "c", ""),
	)
	want := Merged{
		Document: Document{
			Env:         map[EnvName]EnvValue{"A": "a", "B": "b", "C": ""},
			Files:       map[FileName]File{"f": {Content: "b"}}, // a key is taken whole
			Credentials: map[CredentialName]Credential{"c": {Value: []byte("b")}, "d": {Value: []byte("a")}},
			Flags:       map[FlagName]any{"x": map[string]any{"q": int64(2)}, "y": int64(1)},
			Agent:       config.Agent{Node: &config.AgentNode{Name: "a"}, Registry: &config.Registry{File: &config.FileRegistry{Path: "/r"}}, Logs: []config.Sink{}},
		},
		Origin: map[string]string{
			"env/A": "a", "env/B": "b", "env/C": "b", "files/f": "b", "credentials/c": "b", "credentials/d": "a",
			"flags/x": "b", "flags/y": "a", "agent/node": "a", "agent/registry": "b", "agent/logs": "b",
		},
	}
	if diff := cmp.Diff(want, m); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string]int{"a": 4, "b": 7}, m.Keys()); diff != "" {
		t.Error(diff)
	}
}

func TestMergeOfNothing(t *testing.T) {
	m := merged(t)
	if m.Env == nil || m.Files == nil || m.Credentials == nil || m.Flags == nil || len(m.Origin) != 0 || len(m.Keys()) != 0 {
		t.Errorf("%+v", m)
	}
}

func TestMergeLeavesLayersAlone(t *testing.T) {
	a := layer(t, "a", "env: {A: a}")
	_ = merged(t, a, layer(t, "b", "env: {A: b, B: b}"))
	if diff := cmp.Diff(map[EnvName]EnvValue{"A": "a"}, a.Env); diff != "" {
		t.Error(diff)
	}
}

func TestFileAndFolder(t *testing.T) {
	file, folder := layer(t, "a", "files: {x/y: {}}"), layer(t, "b", "files: {x/y/z: {}}")
	const want = "files/x/y (a): a file, and the folder of files/x/y/z (b)"
	for _, layers := range [][]Layer{{file, folder}, {folder, file}} {
		if _, err := Merge(layers...); err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := Merge(layer(t, "a", "files: {x: {}, x/y/z/w: {}}")); err == nil {
		t.Error("a file was taken for a folder far below")
	}
	merged(t, layer(t, "a", "files: {x: {}, xy: {}, y/x: {}, x.d/x: {}}"))
}

func TestDigest(t *testing.T) {
	base := "env: {A: a, B: b}\nfiles: {f: {content: x}, g: {}}\ncredentials: {c: c}\nflags: {x: 1, y: {a: 1, b: 2}}\nagent: {node: {name: n}}"
	digest := func(layers ...Layer) string {
		m := merged(t, layers...)
		return m.Digest()
	}
	want := digest(layer(t, "a", base))
	if !strings.HasPrefix(want, "sha256:") || len(want) != len("sha256:")+64 {
		t.Errorf("%q", want)
	}
	for name, layers := range map[string][]Layer{
		"another origin":   {layer(t, "b", base)},
		"another order":    {layer(t, "a", "agent: {node: {name: n}}\nflags: {y: {b: 2, a: 1}, x: 1}\ncredentials: {c: c}\nfiles: {g: {}, f: {content: x}}\nenv: {B: b, A: a}")},
		"several layers":   {layer(t, "a", "env: {A: x}\nflags: {x: 2}"), layer(t, "b", base)},
		"an env value":     {layer(t, "a", base), layer(t, "b", "env: {A: other}")},
		"a credential":     {layer(t, "a", base), layer(t, "b", "credentials: {c: other}")},
		"a base64 of them": {layer(t, "a", base), layer(t, "b", "credentials: {c: {base64: Yw==}}")},
	} {
		if got := digest(layers...); got != want {
			t.Errorf("%s changes the digest", name)
		}
	}
	seen := map[string]string{want: "nothing"}
	for _, change := range []string{
		"env: {C: c}", "credentials: {d: c}", "files: {h: {}}", "files: {f: {content: y}}", "files: {f: {content: x, mode: '0600'}}",
		"files: {f: {content: x, owner: nobody}}", "files: {f: {content: x, group: nobody}}", "flags: {x: 2}", "flags: {x: '1'}", "flags: {z: ~}",
		"flags: {y: {a: 1}}", "agent: {node: {name: m}}", "agent: {logs: []}", "agent: {registry: {etcd: {endpoints: ['https://a']}}}",
		"agent: {registry: {etcd: {endpoints: ['https://a'], ttl: 1s}}}",
	} {
		got := digest(layer(t, "a", base), layer(t, "b", change))
		if other, again := seen[got]; again {
			t.Errorf("%s has the digest of %s", change, other)
		}
		seen[got] = change
	}
}
