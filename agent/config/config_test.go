package config

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// complete has every key there is.
const complete = `
node: {id: "${machine_id}", role: web, name: "web-${ordinal}"}
boot: {deadline: 90s}
checks: {root: warn, superblock: "off"}
sources:
  - file: {path: /usr/share/bootagent/defaults.yaml, optional: true}
  - http:
      url: https://truth.internal/${role}/${machine_id}.yaml
      optional: true
      timeout: 5s
      bearer: {credential: truth-token}
      ca: {file: /etc/ssl/truth.pem}
      cert: {credential: cert}
      key: {env: KEY}
registry:
  required: true
  etcd:
    endpoints: ["https://etcd1:2379", "https://etcd2:2379"]
    prefix: /fleet
    ttl: 1m30s
    user: node
    password: {credential: etcd-password}
    ca: {credential: etcd-ca}
logs:
  - file: {path: /dev/shm/log.jsonl}
  - journal_upload: {url: https://logs.internal:19532, bearer: {credential: log-token}}
output: {directory: /run/b, credentials: /run/c, env_mode: "0640"}
status: {socket: /run/b/s.sock, listen: "[::1]:2016"}
`

func parse(t *testing.T, text string) (Config, error) {
	t.Helper()
	c := Default()
	return c, Decode("f", []byte(text), &c)
}

func parsed(t *testing.T, text string) Config {
	t.Helper()
	c := Default()
	if err := Decode("f", []byte(text), &c); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestComplete(t *testing.T) {
	want := Config{
		Node:   Node{ID: "${machine_id}", Role: "web", Name: "web-${ordinal}"},
		Boot:   Boot{Deadline: Duration(90 * time.Second)},
		Checks: Checks{Root: Warn, Superblock: Off},
		Sources: []Source{
			{File: &FileSource{Path: "/usr/share/bootagent/defaults.yaml", Optional: true}},
			{HTTP: &HTTPSource{
				URL: "https://truth.internal/${role}/${machine_id}.yaml", Optional: true, Timeout: Duration(5 * time.Second),
				Bearer: Secret{Credential: "truth-token"},
				TLS:    TLS{CA: Secret{File: "/etc/ssl/truth.pem"}, Cert: Secret{Credential: "cert"}, Key: Secret{Env: "KEY"}},
			}},
		},
		Registry: Registry{Required: true, Etcd: &EtcdRegistry{
			Endpoints: []string{"https://etcd1:2379", "https://etcd2:2379"}, Prefix: "/fleet", TTL: Duration(90 * time.Second),
			User: "node", Password: Secret{Credential: "etcd-password"}, TLS: TLS{CA: Secret{Credential: "etcd-ca"}},
		}},
		Logs: []Sink{
			{File: &FileSink{Path: "/dev/shm/log.jsonl"}},
			{JournalUpload: &JournalUpload{URL: "https://logs.internal:19532", Bearer: Secret{Credential: "log-token"}}},
		},
		Output: Output{Directory: "/run/b", Credentials: "/run/c", EnvMode: 0o640},
		Status: Status{Socket: "/run/b/s.sock", Listen: "[::1]:2016"},
	}
	if diff := cmp.Diff(want, parsed(t, complete)); diff != "" {
		t.Error(diff)
	}
}

func TestEmptyIsDefault(t *testing.T) {
	for _, text := range []string{"", "{}", "node:\nboot:\nchecks:\noutput:\n", "status: {listen: '127.0.0.1:2016'}"} {
		if diff := cmp.Diff(Default(), parsed(t, text)); diff != "" {
			t.Errorf("%q: %s", text, diff)
		}
	}
}

// TestFaults pins what people read who got their configuration wrong.
func TestFaults(t *testing.T) {
	for text, want := range map[string]string{
		"metrics: []":                      `f:1:1: unknown key "metrics" (known: boot, checks, logs, node, output, registry, sources, status)`,
		"checks: {root: enforced}":         `f:1:16: policy "enforced": want enforce, warn or off`,
		"checks: {root: off}":              ``,
		"boot: {deadline: 90}":             `f:1:18: time span: want a number with a unit, as in 90s or 2m`,
		"boot: {deadline: 0s}":             `f:1:18: time span: want a number with a unit, as in 90s or 2m`,
		"boot: {deadline: -1s}":            `f:1:18: time span: want a number with a unit, as in 90s or 2m`,
		"output: {env_mode: 640}":          ``,
		"output: {env_mode: 0o640}":        `f:1:20: mode: want octal permissions, as in "0640"`,
		"output: {env_mode: 4755}":         `f:1:20: mode: want octal permissions, as in "0640"`,
		"output: {env_mode: rw}":           `f:1:20: mode: want octal permissions, as in "0640"`,
		"output: {directory: run}":         `f:1:1: output.directory: "run" is not an absolute, clean path`,
		"output: {directory: ''}":          `f:1:1: output.directory: "" is not an absolute, clean path`,
		"output: {credentials: /run/../x}": `f:1:1: output.credentials: "/run/../x" is not an absolute, clean path`,
		"output: {directory: a/, credentials: b/}\nstatus: {socket: c/}": `f:1:1: output.directory: "a/" is not an absolute, clean path (and 2 more)`,
		"status: {socket: ''}":                                          ``,
		"status: {socket: s}":                                           `f:1:1: status.socket: "s" is not an absolute, clean path`,
		"status: {listen: 'off'}":                                       ``,
		"status: {listen: '0.0.0.0:1'}":                                 `f:1:9: status.listen: not a loopback address (use 127.0.0.1, [::1] or "off")`,
		"status: {listen: '10.0.0.1:1'}":                                `f:1:9: status.listen: not a loopback address (use 127.0.0.1, [::1] or "off")`,
		"status: {listen: ':2016'}":                                     `f:1:9: status.listen: not a loopback address (use 127.0.0.1, [::1] or "off")`,
		"status: {listen: 'localhost:1'}":                               `f:1:9: status.listen: not a loopback address (use 127.0.0.1, [::1] or "off")`,
		"status: {listen: ''}":                                          `f:1:9: status.listen: "" is not an address like 127.0.0.1:2016`,
		"status: {listen: 127.0.0.1}":                                   `f:1:9: status.listen: "127.0.0.1" is not an address like 127.0.0.1:2016`,
		"node: {id: 'n-${ordinal}'}":                                    `f:1:1: node: only the name may have an ${ordinal}: it is claimed for an identity`,
		"node: {role: 'n-${ordinal}'}":                                  `f:1:1: node: only the name may have an ${ordinal}: it is claimed for an identity`,
		"sources: [{}]":                                                 `f:1:11: source: 0 kinds where one is wanted`,
		"sources: [{file: {path: /a}, http: {url: 'https://a'}}]":       `f:1:11: source: 2 kinds where one is wanted`,
		"sources: [{file: {path: a}}]":                                  `f:1:18: path: an absolute path is wanted`,
		"sources: [{file: }]":                                           `f:1:18: path: an absolute path is wanted`,
		"registry: {required: true}":                                    `f:1:11: registry: 0 kinds where one is wanted`,
		"registry: {}":                                                  ``,
		"registry: {file: {path: a}}":                                   `f:1:18: path: an absolute path is wanted`,
		"registry: {file: {path: /a}, etcd: {endpoints: ['http://a']}}": `f:1:11: registry: 2 kinds where one is wanted`,
		"registry: {etcd: {}}":                                          `f:1:18: endpoints: none`,
		"registry: {etcd: {endpoints: [a]}}":                            `f:1:18: endpoints: not an http or https URL`,
		"registry: {etcd: {endpoints: ['http://a'], prefix: a}}":        `f:1:18: prefix: does not begin with a slash`,
		"registry: {etcd: {endpoints: ['http://127.0.0.1:1', 'http://a'], password: {env: A}}}": `f:1:18: password: would travel in the clear (use https)`,
		"registry: {etcd: {endpoints: ['https://a'], cert: {env: A}}}":                          `f:1:18: cert and key: only one of the two is set`,
		"logs: [{}]":                 `f:1:8: log sink: 0 kinds where one is wanted`,
		"logs: [{file: {path: ''}}]": `f:1:15: path: an absolute path is wanted`,
		"logs: [{journal_upload: {url: 'https://a', key: {env: A}}}]":   `f:1:25: cert and key: only one of the two is set`,
		"logs: [{journal_upload: {url: 'http://a', bearer: {env: A}}}]": `f:1:25: bearer: would travel in the clear (use https)`,
		"sources: [{http: {url: 'http://a', bearer: {env: A}}}]":        `f:1:18: bearer: would travel in the clear (use https)`,
		"sources: [{http: {url: 'http://[::1]', bearer: {env: A}}}]":    ``,
		"sources: [{http: {url: 'https://a', cert: {env: A}}}]":         `f:1:18: cert and key: only one of the two is set`,
		"sources: [{http: {url: 'https://a', bearer: {}}}]":             `f:1:45: one of credential, file and env is wanted`,
		"sources: [{http: {url: 'https://a', bearer: hunter2}}]":        `f:1:45: a text where a mapping (key: value) is wanted`,
	} {
		switch _, err := parse(t, text); {
		case err == nil && want != "":
			t.Errorf("%s: no error, want %s", text, want)
		case err != nil && err.Error() != want:
			t.Errorf("%s:\n got %s\nwant %s", text, err, want)
		}
	}
}

func TestURLs(t *testing.T) {
	for text, want := range map[string]string{
		"https://a":                  "",
		"https://a/${role}/x.yaml":   "",
		"http://10.0.0.1:80":         "",
		"HTTPS://a":                  "",
		"":                           "url: missing",
		"/a":                         "url: not an http or https URL",
		"a:80":                       "url: not an http or https URL",
		"ftp://a":                    "url: not an http or https URL",
		"https:///a":                 "url: not an http or https URL",
		"https:a":                    "url: not an http or https URL",
		"https://${role}":            "url: not a URL",
		"https://a:port":             "url: not a URL",
		"https://user@a":             "url: a user or password in it (secrets are never written inline)",
		"https://user:hunter2@a":     "url: a user or password in it (secrets are never written inline)",
		"ftp://user:hunter2@a":       "url: a user or password in it (secrets are never written inline)",
		"https://user:hunter2@a:b/x": "url: not a URL",
	} {
		got := ""
		if err := httpURL("url", text); err != nil {
			got = err.Error()
		}
		if got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestClear(t *testing.T) {
	for text, want := range map[string]bool{
		"https://a": false, "http://localhost:1": false, "http://127.0.0.1": false, "http://127.9.9.9:8/x": false, "http://[::1]:2": false,
		"http://a": true, "HTTP://a": true, "http://10.0.0.1": true, "http://localhost.evil": true, "http://127.0.0.1.evil": true,
		"http://[fe80::1]": true, "http://0.0.0.0": true,
	} {
		if got := clear(text); got != want {
			t.Errorf("%s: %v", text, got)
		}
	}
}

func TestNaming(t *testing.T) {
	for text, ok := range map[string]bool{
		"":                               true,
		"node: {name: web}":              true,
		"node: {name: 'web-${ordinal}'}": false,
		"node: {name: 'web-${ordinal}'}\nregistry: {file: {path: /r}}": true,
		"node: {name: 'web-${ordinal}'}\nregistry: {required: false}":  false,
	} {
		c := parsed(t, text)
		if err := c.Naming(); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestAgentSecrets(t *testing.T) {
	c := parsed(t, complete)
	want := []string{"etcd-ca", "etcd-password", "log-token"} // not those of the sources: the boot reads them
	if diff := cmp.Diff(want, c.AgentSecrets()); diff != "" {
		t.Error(diff)
	}
	c = parsed(t, "logs: [{journal_upload: {url: 'https://a', ca: {credential: a}, cert: {credential: b}, key: {credential: c}, bearer: {file: /d}}}]")
	if diff := cmp.Diff([]string{"a", "b", "c"}, c.AgentSecrets()); diff != "" {
		t.Error(diff)
	}
	c = Default()
	if names := c.AgentSecrets(); names != nil {
		t.Errorf("%v", names)
	}
}

func TestWith(t *testing.T) {
	c := parsed(t, complete)
	if diff := cmp.Diff(c, c.With(Agent{})); diff != "" {
		t.Error(diff)
	}
	a := Agent{Node: &AgentNode{Name: "x"}, Registry: &Registry{}, Logs: []Sink{}}
	got := c.With(a)
	if got.Node.Name != "x" || got.Registry.Set() || len(got.Logs) != 0 {
		t.Errorf("%+v", got)
	}
	got.Node.Name, got.Registry, got.Logs = c.Node.Name, c.Registry, c.Logs
	if diff := cmp.Diff(c, got); diff != "" {
		t.Errorf("a document reached what it must not: %s", diff)
	}
}

// TestAgentSurvivesJSON is for the resident, which reads what the boot has
// published.
func TestAgentSurvivesJSON(t *testing.T) {
	c := parsed(t, complete)
	upload := *c.Logs[1].JournalUpload
	upload.TLS = TLS{CA: Secret{File: "/ca"}, Cert: Secret{Env: "C"}, Key: Secret{Credential: "k"}}
	noTTL := *c.Registry.Etcd
	noTTL.TTL = 0
	for name, want := range map[string]Agent{
		"empty":    {},
		"name":     {Node: &AgentNode{Name: "web-${ordinal}"}},
		"unnamed":  {Node: &AgentNode{}},
		"none":     {Registry: &Registry{}, Logs: []Sink{}},
		"etcd":     {Registry: &c.Registry},
		"no ttl":   {Registry: &Registry{Etcd: &noTTL}},
		"file":     {Registry: &Registry{File: &FileRegistry{Path: "/r"}}},
		"complete": {Node: &AgentNode{Name: "x"}, Registry: &c.Registry, Logs: c.Logs},
		"upload":   {Logs: []Sink{{JournalUpload: &upload}}},
	} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got Agent
		if err := json.Unmarshal(text, &got); err != nil {
			t.Errorf("%s: %v\n%s", name, err, text)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

func TestDurationMarshals(t *testing.T) {
	for text, want := range map[string]string{"90s": "1m30s", "1500ms": "1.5s", "24h": "24h0m0s"} {
		var d, again Duration
		if err := d.UnmarshalText([]byte(text)); err != nil {
			t.Fatal(err)
		}
		got, err := d.MarshalText()
		if err != nil || string(got) != want {
			t.Errorf("%s: %s, %v", text, got, err)
		}
		if err := again.UnmarshalText(got); err != nil || again != d {
			t.Errorf("%s came back as %v, %v", got, again, err)
		}
	}
}

// TestNoSecretHasAPlaceInline is for whoever adds a kind of backend.
func TestNoSecretHasAPlaceInline(t *testing.T) {
	for _, text := range []string{
		"sources: [{http: {url: 'https://a', bearer: hunter2}}]", "registry: {etcd: {endpoints: ['https://a'], password: hunter2}}",
		"logs: [{journal_upload: {url: 'https://a', key: {hunter2}}}]", "registry: {etcd: {endpoints: ['https://u:hunter2@a']}}",
	} {
		if _, err := parse(t, text); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}
