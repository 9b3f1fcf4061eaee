package output

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/document"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// whole is a document with something of everything.
func whole() document.Merged {
	return document.Merged{Document: document.Document{
		Env: map[document.EnvName]document.EnvValue{"LOG_LEVEL": "info", "GREETING": "say \"$5\"\n", "EMPTY": ""},
		Files: map[document.FileName]document.File{
			"nginx/upstream.conf": {Content: "server a;\n", Mode: 0o640, Group: "daemon"},
			"motd":                {Content: "hello"},
			"a/b/c":               {Owner: "65534"},
		},
		Credentials: map[document.CredentialName]document.Credential{
			"db-password": {Value: []byte("s3cret\n")}, "etcd-password": {Value: []byte{0, 255}}, "empty": {Value: []byte{}},
		},
		Flags: map[document.FlagName]any{"new-checkout": true, "limit": int64(9007199254740993), "nested": map[string]any{"b": 1.5, "a": nil}},
		Agent: config.Agent{
			Node: &config.AgentNode{Name: "web-${ordinal}"},
			Registry: &config.Registry{Etcd: &config.EtcdRegistry{
				Endpoints: []string{"https://etcd1:2379"}, TTL: config.Duration(45 * time.Second), Password: config.Secret{Credential: "etcd-password"},
			}},
		},
	}}
}

// node is a made-up one.
func node() Node {
	return Node{ID: "m1", Name: "web-7", Ordinal: 7, Token: 42, Role: "web", Addresses: []string{"192.0.2.1"}, Facts: map[string]string{"kernel": "6.1"}}
}

func rendered() Tree {
	doc := whole()
	return Render(doc, node(), config.Default().With(doc.Agent))
}

func (t Tree) golden() []byte {
	var out bytes.Buffer
	for _, place := range []struct {
		name  string
		files []File
	}{{"config", t.Config}, {"credentials", t.Credentials}, {"agent", t.Agent}} {
		for _, f := range place.files {
			fmt.Fprintf(&out, "== %s/%s %04o %q %q %d bytes\n", place.name, f.Path, f.Mode, f.Owner, f.Group, len(f.Content))
			if place.name == "config" {
				fmt.Fprintf(&out, "%s\n", f.Content)
			} else {
				fmt.Fprintf(&out, "%q\n", f.Content)
			}
		}
	}
	return out.Bytes()
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestRender(t *testing.T) {
	golden(t, "render.golden", rendered().golden())
	golden(t, "render-empty.golden", Render(document.Merged{}, Node{ID: "m1"}, config.Default()).golden())
}

func TestRenderIsPure(t *testing.T) {
	for range 20 { // maps have another order each time
		if diff := cmp.Diff(rendered(), rendered()); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestRenderKeepsEnvMode(t *testing.T) {
	cfg := config.Default()
	cfg.Output.EnvMode = 0o640
	if mode := Render(whole(), node(), cfg).Config[0].Mode; mode != 0o640 {
		t.Errorf("%o", mode)
	}
}

// TestRenderGivesTheAgentItsOwn wants each credential once that the resident
// names, and none that the document does not have.
func TestRenderGivesTheAgentItsOwn(t *testing.T) {
	cfg := config.Default()
	upload := &config.JournalUpload{Bearer: config.Secret{Credential: "db-password"}, TLS: config.TLS{Key: config.Secret{Credential: "absent"}}}
	cfg.Logs = []config.Sink{{JournalUpload: upload}, {JournalUpload: upload}}
	want := []File{{Path: "db-password", Content: []byte("s3cret\n"), Mode: 0o400}}
	if diff := cmp.Diff(want, Render(whole(), node(), cfg).Agent); diff != "" {
		t.Error(diff)
	}
}
