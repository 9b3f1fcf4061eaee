// Package output turns a document into what a node's programs read: an
// environment file, files, feature flags, the node's own description, and
// credentials, all on tmpfs.
//
// Rendering is pure: [Render] decides every byte, mode and owner, and touches
// nothing. Writing is confined and all or nothing: [Target.Commit] writes
// through [os.Root], follows no link, and publishes the configuration by one
// rename. What a document may say is decided in package document.
package output

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/document"
)

// The names below the output directory that users and packages rely on.
const (
	configDir = "config"
	agentDir  = "agent-credentials"
	bootFile  = ".boot"
)

// File is one file to be written.
type File struct {
	Path         string // relative to its place, clean, no ".." in it
	Content      []byte
	Mode         fs.FileMode
	Owner, Group document.Account // empty: as the process that writes
}

// Tree is all that a boot publishes.
type Tree struct {
	Config      []File // below config/, which appears whole
	Credentials []File // in the credential store
	Agent       []File // the resident's own credentials
}

// Node describes the node to its programs, in config/node.json.
type Node struct {
	ID        string   `json:"id"`
	Name      string   `json:"name,omitempty"`
	Ordinal   int      `json:"ordinal,omitempty"`
	Token     int64    `json:"token,omitempty"` // fences this holder of the name from earlier ones; as of boot
	Role      string   `json:"role,omitempty"`
	MachineID string   `json:"machine_id,omitempty"`
	BootID    string   `json:"boot_id,omitempty"`
	Hostname  string   `json:"hostname,omitempty"`
	Addresses []string `json:"addresses,omitempty"`
	Facts     any      `json:"facts,omitempty"`
}

// Render says what is to be published. The node's description stands below
// one key, so that a program which merges facts of many origins, as facter
// does, cannot take them for its own. The resident's part of the configuration,
// as the document has it, is in config/agent.json.
func Render(doc document.Merged, node Node, cfg config.Config) Tree {
	flags := doc.Flags
	if flags == nil {
		flags = map[document.FlagName]any{}
	}
	tree := Tree{Config: []File{
		{Path: "env", Content: Env(doc.Env), Mode: fs.FileMode(cfg.Output.EnvMode)},
		{Path: "flags.json", Content: indent(flags), Mode: 0o644},
		{Path: "node.json", Content: indent(map[string]Node{"bootagent": node}), Mode: 0o644},
		{Path: "agent.json", Content: indent(doc.Agent), Mode: 0o644},
	}}
	for _, name := range slices.Sorted(maps.Keys(doc.Files)) {
		f := doc.Files[name]
		tree.Config = append(tree.Config, File{
			Path: "files/" + string(name), Content: []byte(f.Content), Mode: f.Perm(), Owner: f.Owner, Group: f.Group,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(doc.Credentials)) {
		tree.Credentials = append(tree.Credentials, Credential(string(name), doc.Credentials[name].Value))
	}
	for _, name := range slices.Compact(slices.Sorted(slices.Values(cfg.AgentSecrets()))) {
		if c, ok := doc.Credentials[document.CredentialName(name)]; ok {
			tree.Agent = append(tree.Agent, Credential(name, c.Value))
		}
	}
	return tree
}

// Credential is a credential as a file: for root only.
func Credential(name string, value []byte) File {
	return File{Path: name, Content: value, Mode: 0o400}
}

// indent is v as JSON for people, with a line feed at its end. It is of types
// that JSON has.
func indent(v any) []byte {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(fmt.Sprintf("output: %v", err))
	}
	return append(text, '\n')
}
