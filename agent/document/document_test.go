package document

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/google/go-cmp/cmp"
)

const complete = `
version: 1
env: {LOG_LEVEL: info, PORT: 8080, EMPTY: "", MULTI: "a\nb"}
files:
  nginx/upstream.conf: {content: "x\n", mode: "0640", owner: root, group: www-data}
  empty: {}
credentials: {db-password: s3cret, key: {base64: AAEC/w==}, none: ""}
flags: {new-checkout: true, share: 0.5, limit: 9007199254740993, list: [a, ~], nested: {a: 1}, off: ~}
agent:
  node: {name: "web-${ordinal}"}
  registry: {etcd: {endpoints: ["https://etcd1:2379"], ttl: 45s}}
  logs: [{file: {path: /dev/shm/log}}]
`

func parsed(t *testing.T, text string) Document {
	t.Helper()
	d, err := Parse("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestParse(t *testing.T) {
	want := Document{
		Env: map[EnvName]EnvValue{"LOG_LEVEL": "info", "PORT": "8080", "EMPTY": "", "MULTI": "a\nb"},
		Files: map[FileName]File{
			"nginx/upstream.conf": {Content: "x\n", Mode: 0o640, Owner: "root", Group: "www-data"},
			"empty":               {},
		},
		Credentials: map[CredentialName]Credential{
			"db-password": {Value: []byte("s3cret")}, "key": {Value: []byte{0, 1, 2, 255}}, "none": {Value: []byte{}},
		},
		Flags: map[FlagName]any{
			"new-checkout": true, "share": 0.5, "limit": int64(9007199254740993), "list": []any{"a", nil}, "nested": map[string]any{"a": int64(1)}, "off": nil,
		},
		Agent: config.Agent{
			Node:     &config.AgentNode{Name: "web-${ordinal}"},
			Registry: &config.Registry{Etcd: &config.EtcdRegistry{Endpoints: []string{"https://etcd1:2379"}, TTL: config.Duration(45 * time.Second)}},
			Logs:     []config.Sink{{File: &config.FileSink{Path: "/dev/shm/log"}}},
		},
	}
	if diff := cmp.Diff(want, parsed(t, complete)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Document{}, parsed(t, "version: 1")); diff != "" {
		t.Error(diff)
	}
	if f := parsed(t, complete).Files; f["empty"].Perm() != 0o644 || f["nginx/upstream.conf"].Perm() != 0o640 {
		t.Errorf("modes: %v", f)
	}
}

func TestParseTakesJSON(t *testing.T) {
	d := parsed(t, `{"version": 1, "env": {"A": "\ud83d\ude00"}, "credentials": {"k": {"base64": ""}}}`)
	if d.Env["A"] != "😀" || d.Credentials["k"].Value == nil {
		t.Errorf("%+v", d)
	}
}

func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"":                                 "f: version: 1 is wanted (is this a bootagent document?)",
		"{}":                               "f:1:1: version: 1 is wanted (is this a bootagent document?)",
		"version: 2":                       "f:1:1: version: 1 is wanted (is this a bootagent document?)",
		"version: v1":                      "f:1:10: a text where a whole number is wanted",
		"version: 1\nsources: []":          `f:2:1: unknown key "sources" (known: agent, credentials, env, files, flags, version)`,
		"version: 1\nagent: {sources: []}": `f:2:9: unknown key "sources" (known: logs, node, registry)`,
		"version: 1\nagent: {checks: {root: warn}}":        `f:2:9: unknown key "checks" (known: logs, node, registry)`,
		"version: 1\nagent: {node: {id: x}}":               `f:2:16: unknown key "id" (known: name)`,
		"version: 1\nagent: {node: {role: x}}":             `f:2:16: unknown key "role" (known: name)`,
		"version: 1\nenv: {1: x}":                          `f:2:7: environment name "1": want letters, digits and underscores, no digit first`,
		"version: 1\nenv: {A: }":                           `f:2:10: no value (write "" for the empty text)`,
		`{"version": 1, "env": {"A": "\u0000"}}`:           "f:1:29: environment value: a control character, which systemd would drop",
		"version: 1\nfiles: {../x: {}}":                    `f:2:9: file name "../x": want a clean relative path, no .. in it`,
		"version: 1\nfiles: {x: text}":                     "f:2:12: a text where a mapping (key: value) is wanted",
		"version: 1\nfiles: {x: {mode: '4755'}}":           `f:2:19: mode: want octal permissions, as in "0640"`,
		"version: 1\nfiles: {x: {owner: 'a b'}}":           "f:2:20: account: want a name or a number",
		"version: 1\ncredentials: {ssh.x: a}":              `f:2:15: credential name "ssh.x": systemd obeys credentials of the name ssh.* (choose another)`,
		"version: 1\ncredentials: {a: {}}":                 "f:2:18: a text or {base64: …} is wanted",
		"version: 1\ncredentials: {a: [x]}":                "f:2:18: a list where a mapping (key: value) is wanted",
		"version: 1\ncredentials: {a: }":                   `f:2:18: no value (write "" for the empty text)`,
		"version: 1\ncredentials: {a: {base64: AAEC_w==}}": "f:2:18: base64: not of the standard form with padding (RFC 4648, section 4)",
		"version: 1\ncredentials: {a: {base64: AAEC/w}}":   "f:2:18: base64: not of the standard form with padding (RFC 4648, section 4)",
		"version: 1\nflags: {a b: 1}":                      `f:2:9: flag name "a b": want letters, digits, dots, hyphens, underscores and slashes`,
		"version: 1\nflags: {a: .nan}":                     "f:2:12: a number that JSON does not have or 64 bits do not hold",
	} {
		switch _, err := Parse("f", []byte(text)); {
		case err == nil:
			t.Errorf("%q: no error", text)
		case err.Error() != want:
			t.Errorf("%q:\n got %s\nwant %s", text, err, want)
		}
	}
}

func TestLimits(t *testing.T) {
	var keys strings.Builder
	for i := range maxKeys {
		fmt.Fprintf(&keys, "  K%d: x\n", i)
	}
	fits := long(maxCredential)
	for name, test := range map[string]struct {
		text, want string
	}{
		"size":        {`{"version": 1}` + strings.Repeat(" ", MaxSize-14), ""},
		"too large":   {`{"version": 1}` + strings.Repeat(" ", MaxSize-13), "f: larger than 8388608 bytes"},
		"keys":        {"version: 1\nenv:\n" + keys.String(), ""},
		"too many":    {"version: 1\nflags: {x: 1}\nenv:\n" + keys.String(), "f:1:1: 50001 keys (at most 50000)"},
		"credential":  {"version: 1\ncredentials: {a: " + fits + "}", ""},
		"one more":    {"version: 1\ncredentials: {a: " + fits + "x}", "f:2:18: larger than 1048576 bytes, which systemd would not take"},
		"base64":      {"version: 1\ncredentials: {a: {base64: " + base64.StdEncoding.EncodeToString([]byte(fits)) + "}}", ""},
		"base64 more": {"version: 1\ncredentials: {a: {base64: " + base64.StdEncoding.EncodeToString([]byte(fits+"x")) + "}}", "f:2:18: larger than 1048576 bytes, which systemd would not take"},
	} {
		got := ""
		if _, err := Parse("f", []byte(test.text)); err != nil {
			got = err.Error()
		}
		if got != test.want {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
}

const marker = "hunter2"

// places are documents that a value belongs to, at the percent sign.
func places() []string {
	return []string{
		"%s", "version: %s", "env: %s", "env: {A: %s}", "env:\n  A: %s\n  B: x", "files: %s", "files: {a: %s}", "files: {a: {content: %s}}",
		"files: {a: {mode: %s}}", "files: {a: {owner: %s}}", "files: {a: {group: %s}}", "credentials: %s", "credentials: {a: %s}",
		"credentials:\n  a: %s", "credentials:\n  a: x\n  b:\n    %s\n", "credentials: {a: {base64: %s}}", "flags: %s", "flags: {a: %s}", "flags: {a: [%s]}",
		"flags: {a: {b: %s}}", "agent: %s", "agent: {node: %s}", "agent: {node: {name: %s}}", "agent: {registry: %s}", "agent: {registry: {required: %s}}",
		"agent: {registry: {file: %s}}", "agent: {registry: {file: {path: %s}}}", "agent: {registry: {etcd: {endpoints: %s}}}",
		"agent: {registry: {etcd: {endpoints: [%s]}}}", "agent: {registry: {etcd: {endpoints: ['https://a'], prefix: %s}}}",
		"agent: {registry: {etcd: {ttl: %s}}}", "agent: {registry: {etcd: {user: %s}}}", "agent: {registry: {etcd: {password: %s}}}",
		"agent: {registry: {etcd: {password: {credential: %s}}}}", "agent: {registry: {etcd: {password: {file: %s}}}}", "agent: {registry: {etcd: {ca: {env: %s}}}}",
		"agent: {logs: %s}", "agent: {logs: [%s]}", "agent: {logs: [{file: {path: %s}}]}", "agent: {logs: [{journal_upload: {url: %s}}]}",
		"agent: {logs: [{journal_upload: {url: 'https://a', bearer: %s}}]}",
	}
}

// TestNoErrorHasAValue puts broken values, and sound ones of the wrong kind,
// wherever a document has a value.
func TestNoErrorHasAValue(t *testing.T) {
	const aKey = "%s: %s" // a key may be quoted
	values := []string{
		aKey, "%s", "'%s'", "\"%s\"", "\"%s\\u0001\"", "\"%s\\ufffe\"", "\"%s", "'%s", "[%s]", "[%s", "{%s}", "{%s", "{%s: }", "{k: %s}", "{? %s}", "*%s", "&%s x", "&%s", "!%s x", "!!int %s",
		"!!%s", "!%s! x", "@%s", "`%s", "%%%s", "| %s", "|\n%s", "> %s", ">\n%s", "- %s", "? %s", "%s\n%s", "%s #", "\xff%s", "%s\x01", "\t%s", "%s]", "%s}", "[%s, {}]",
		"<<: %s", "{<<: %s}", "{<<: {k: %s}}", "\"\\%s\"", "\"\\x%s\"", "https://%s:x@a", "https://u:%s@[", "ftp://%s", "http://%s", "/%s\"", "--- %s", "\n--- %s", "\n%%%s\n",
	}
	faults := 0
	for _, place := range places() {
		for _, value := range values {
			filled := strings.ReplaceAll(strings.ReplaceAll(value, "%s", marker), "%%", "%")
			text := "version: 1\n" + strings.ReplaceAll(place, "%s", filled)
			_, err := Parse("f", []byte(text))
			if err == nil {
				continue
			}
			faults++
			for _, e := range unwrapped(err) {
				if strings.Contains(e.Error(), marker) && value != aKey {
					t.Errorf("%q: %v", text, e)
				}
			}
		}
	}
	if faults < 1000 {
		t.Errorf("only %d of the documents are broken", faults)
	}
}

func unwrapped(err error) []error {
	if list, ok := err.(interface{ Unwrap() []error }); ok {
		return list.Unwrap()
	}
	return []error{err}
}

// FuzzNoErrorHasAValue does the same with texts of any kind.
func FuzzNoErrorHasAValue(f *testing.F) {
	for place := range places() {
		f.Add(uint(place), "", "")
		f.Add(uint(place), "/\x00", "\xff")
		f.Add(uint(place), "https://", ":x@a")
	}
	f.Fuzz(func(t *testing.T, place uint, before, after string) {
		list := places()
		value, err := json.Marshal(before + marker + after)
		if err != nil {
			t.Skip()
		}
		text := "version: 1\n" + strings.ReplaceAll(list[place%uint(len(list))], "%s", string(value))
		if _, err := Parse("f", []byte(text)); err != nil && strings.Contains(err.Error(), marker) {
			t.Errorf("%q: %v", text, err)
		}
	})
}

// FuzzParse wants that what was parsed can be merged, digested, and obeys the
// rules of its names.
func FuzzParse(f *testing.F) {
	f.Add([]byte(complete))
	f.Add([]byte(`{"version": 1, "flags": {"a": [{}, 1e2]}, "credentials": {"a": {"base64": "AA=="}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d, err := Parse("f", text)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "f:") {
				t.Errorf("no place: %v", err)
			}
			return
		}
		for name, c := range d.Credentials {
			if c.Value == nil || c.Base64 != nil {
				t.Errorf("credential %s was not decoded", name)
			}
		}
		for name := range d.Files {
			var again FileName
			if err := again.UnmarshalText([]byte(name)); err != nil {
				t.Error(err)
			}
		}
		m, err := Merge(Layer{"a", d}, Layer{"b", d})
		if err != nil {
			return
		}
		single, _ := Merge(Layer{"a", d})
		if m.Digest() != single.Digest() {
			t.Error("the same again is not the same")
		}
		for key, source := range m.Origin {
			if source != "b" {
				t.Errorf("%s is from %s", key, source)
			}
		}
	})
}
