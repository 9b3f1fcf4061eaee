package document

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"

	"github.com/bootagent/bootagent/agent/config"
)

// Merged is a document of several layers, and where each of its keys came from.
type Merged struct {
	Document

	// Origin names the source of each key, written as KIND/NAME: env/PORT,
	// files/nginx/upstream.conf, credentials/db, flags/x, agent/registry.
	Origin map[string]string
}

// Merge lays the layers over each other: the later one wins, key by key. A
// file and a folder of the same path do not go together and are an error.
func Merge(layers ...Layer) (Merged, error) {
	m := Merged{
		Document: Document{
			Env:         map[EnvName]EnvValue{},
			Files:       map[FileName]File{},
			Credentials: map[CredentialName]Credential{},
			Flags:       map[FlagName]any{},
		},
		Origin: map[string]string{},
	}
	for _, layer := range layers {
		overlay(m, "env/", m.Env, layer.Env, layer.Source)
		overlay(m, "files/", m.Files, layer.Files, layer.Source)
		overlay(m, "credentials/", m.Credentials, layer.Credentials, layer.Source)
		overlay(m, "flags/", m.Flags, layer.Flags, layer.Source)
		m.overlayAgent(layer.Agent, layer.Source)
	}
	return m, m.folders()
}

func overlay[K ~string, V any](m Merged, kind string, below, above map[K]V, source string) {
	for name, value := range above {
		below[name] = value
		m.Origin[kind+string(name)] = source
	}
}

func (m *Merged) overlayAgent(a config.Agent, source string) {
	if a.Node != nil {
		m.Agent.Node, m.Origin["agent/node"] = a.Node, source
	}
	if a.Registry != nil {
		m.Agent.Registry, m.Origin["agent/registry"] = a.Registry, source
	}
	if a.Logs != nil {
		m.Agent.Logs, m.Origin["agent/logs"] = a.Logs, source
	}
}

// folders wants no file where another needs a folder.
func (m *Merged) folders() error {
	for _, name := range slices.Sorted(maps.Keys(m.Files)) {
		for folder := path.Dir(string(name)); folder != "."; folder = path.Dir(folder) {
			if _, both := m.Files[FileName(folder)]; both {
				return fmt.Errorf("files/%s (%s): a file, and the folder of files/%s (%s)",
					folder, m.Origin["files/"+folder], name, m.Origin["files/"+string(name)])
			}
		}
	}
	return nil
}

// Keys counts the keys that came from each source and were not overlaid.
func (m *Merged) Keys() map[string]int {
	keys := map[string]int{}
	for _, source := range m.Origin {
		keys[source]++
	}
	return keys
}

// Digest is the same for documents that say the same, wherever their keys
// came from, as "sha256:HEX". The values of environment and credentials are
// left out of it: others may see it, and a weak secret could be guessed from
// its digest. Their names are in.
func (m *Merged) Digest() string {
	canonical, err := json.Marshal(map[string]any{ // keys are sorted
		"env":         slices.Sorted(maps.Keys(m.Env)),
		"files":       m.Files,
		"credentials": slices.Sorted(maps.Keys(m.Credentials)),
		"flags":       m.Flags,
		"agent":       m.Agent,
	})
	if err != nil {
		panic("document: digest: " + err.Error()) // of types that JSON has, all of them
	}
	sum := sha256.Sum256(canonical)
	return "sha256:" + hex.EncodeToString(sum[:])
}
