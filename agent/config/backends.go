package config

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
)

// TLS is how a server proves who it is, and the node to it.
type TLS struct {
	CA   Secret `yaml:"ca" json:"ca,omitzero"`     // PEM, in place of the system's authorities
	Cert Secret `yaml:"cert" json:"cert,omitzero"` // PEM, the client's chain
	Key  Secret `yaml:"key" json:"key,omitzero"`   // PEM
}

func (t TLS) secrets() []Secret { return []Secret{t.CA, t.Cert, t.Key} }

func (t TLS) validate() error {
	if t.Cert.Set() != t.Key.Set() {
		return errors.New("cert and key: only one of the two is set")
	}
	return nil
}

// Source is one source of truth. Exactly one kind is set.
type Source struct {
	File *FileSource `yaml:"file" json:"file,omitzero"`
	HTTP *HTTPSource `yaml:"http" json:"http,omitzero"`
}

// Validate wants exactly one kind.
func (s *Source) Validate() error { return one("source", s.File != nil, s.HTTP != nil) }

// FileSource is a document on a disk beside the node, or a folder of them,
// which are merged in the order of their names.
type FileSource struct {
	Path     string `yaml:"path" json:"path,omitzero"`
	Optional bool   `yaml:"optional" json:"optional,omitzero"` // absent is fine
}

// Validate wants a path.
func (f *FileSource) Validate() error { return path("path", f.Path) }

// HTTPSource is a document that a server has.
type HTTPSource struct {
	URL      string   `yaml:"url" json:"url,omitzero"`
	Optional bool     `yaml:"optional" json:"optional,omitzero"` // absent is fine, and down is after Timeout
	Timeout  Duration `yaml:"timeout" json:"timeout,omitzero"`   // of one request; 10 s
	Bearer   Secret   `yaml:"bearer" json:"bearer,omitzero"`     // RFC 6750
	TLS
}

// Validate wants a URL that keeps the token to itself.
func (h *HTTPSource) Validate() error {
	if h.Bearer.Set() && clear(h.URL) {
		return errors.New("bearer: would travel in the clear (use https)")
	}
	return errors.Join(httpURL("url", h.URL), h.TLS.validate())
}

// Registry is the inventory. At most one kind is set; none is fine.
type Registry struct {
	File     *FileRegistry `yaml:"file" json:"file,omitzero"`
	Etcd     *EtcdRegistry `yaml:"etcd" json:"etcd,omitzero"`
	Required bool          `yaml:"required" json:"required,omitzero"` // without it the node is degraded
}

// Set tells whether there is a registry.
func (r Registry) Set() bool { return r.Kind() != "" }

// Kind is the key of the kind that is set, empty without one.
func (r Registry) Kind() string {
	switch {
	case r.File != nil:
		return "file"
	case r.Etcd != nil:
		return "etcd"
	}
	return ""
}

// Validate wants one kind at most.
func (r *Registry) Validate() error {
	if r.File == nil && r.Etcd == nil && !r.Required {
		return nil
	}
	return one("registry", r.File != nil, r.Etcd != nil)
}

// FileRegistry is a folder with one JSON file for each node.
type FileRegistry struct {
	Path string `yaml:"path" json:"path,omitzero"`
}

// Validate wants a path.
func (f *FileRegistry) Validate() error { return path("path", f.Path) }

// EtcdRegistry is etcd, version 3.4 or later.
type EtcdRegistry struct {
	Endpoints []string `yaml:"endpoints" json:"endpoints,omitzero"`
	Prefix    string   `yaml:"prefix" json:"prefix,omitzero"` // of all keys; /bootagent
	TTL       Duration `yaml:"ttl" json:"ttl,omitzero"`       // how long a dead node stays; 30 s
	User      string   `yaml:"user" json:"user,omitzero"`
	Password  Secret   `yaml:"password" json:"password,omitzero"`
	TLS
}

// Validate wants endpoints of one kind.
func (e *EtcdRegistry) Validate() error {
	errs := []error{e.TLS.validate()}
	if len(e.Endpoints) == 0 {
		errs = append(errs, errors.New("endpoints: none"))
	}
	for _, endpoint := range e.Endpoints {
		errs = append(errs, httpURL("endpoints", endpoint))
		if e.Password.Set() && clear(endpoint) {
			errs = append(errs, errors.New("password: would travel in the clear (use https)"))
		}
	}
	if e.Prefix != "" && !strings.HasPrefix(e.Prefix, "/") {
		errs = append(errs, errors.New("prefix: does not begin with a slash"))
	}
	return errors.Join(errs...)
}

// Sink is where logs go. Exactly one kind is set.
type Sink struct {
	File          *FileSink      `yaml:"file" json:"file,omitzero"`
	JournalUpload *JournalUpload `yaml:"journal_upload" json:"journal_upload,omitzero"`
}

// Validate wants exactly one kind.
func (s *Sink) Validate() error { return one("log sink", s.File != nil, s.JournalUpload != nil) }

// FileSink appends JSON lines to a file.
type FileSink struct {
	Path string `yaml:"path" json:"path,omitzero"`
}

// Validate wants a path.
func (f *FileSink) Validate() error { return path("path", f.Path) }

// JournalUpload sends entries as systemd-journal-remote takes them.
type JournalUpload struct {
	URL    string `yaml:"url" json:"url,omitzero"` // without /upload
	Bearer Secret `yaml:"bearer" json:"bearer,omitzero"`
	TLS
}

// Validate wants a URL that keeps the token to itself.
func (j *JournalUpload) Validate() error {
	if j.Bearer.Set() && clear(j.URL) {
		return errors.New("bearer: would travel in the clear (use https)")
	}
	if strings.ContainsAny(j.URL, "?#") {
		return errors.New("url: a query or fragment (entries go to URL/upload)")
	}
	return errors.Join(httpURL("url", j.URL), j.TLS.validate())
}

// Agent is what a document may set of the configuration: where the node
// belongs, never where its truth comes from, who it is, or how strictly it is
// checked.
type Agent struct {
	Node     *AgentNode `yaml:"node" json:"node,omitzero"`
	Registry *Registry  `yaml:"registry" json:"registry,omitzero"`
	Logs     []Sink     `yaml:"logs" json:"logs,omitzero"`
}

// AgentNode is what a document may set of a node.
type AgentNode struct {
	Name string `yaml:"name" json:"name,omitzero"`
}

// Validate wants no sink twice.
func (a *Agent) Validate() error { return different(a.Logs) }

// different wants no sink twice: each would get everything twice, and they
// would share a cursor.
func different(logs []Sink) error {
	seen := map[string]bool{}
	for _, s := range logs {
		place := ""
		switch {
		case s.File != nil:
			place = s.File.Path
		case s.JournalUpload != nil:
			place = strings.TrimRight(s.JournalUpload.URL, "/")
		}
		if seen[place] {
			return errors.New("logs: the same place twice")
		}
		seen[place] = true
	}
	return nil
}

// With is c with what the document set of it.
func (c Config) With(a Agent) Config {
	if a.Node != nil {
		c.Node.Name = a.Node.Name
	}
	if a.Registry != nil {
		c.Registry = *a.Registry
	}
	if a.Logs != nil {
		c.Logs = a.Logs
	}
	return c
}

// Secrets are what proves to a registry or a log server who the node is.
func (a Agent) Secrets() []Secret {
	var list []Secret
	if a.Registry != nil && a.Registry.Etcd != nil {
		list = append(list, a.Registry.Etcd.Password, a.Registry.Etcd.Key)
	}
	for _, sink := range a.Logs {
		if j := sink.JournalUpload; j != nil {
			list = append(list, j.Bearer, j.Key)
		}
	}
	return list
}

// AgentSecrets lists the credentials that the resident needs, by name: those
// of the registry and the log sinks.
func (c Config) AgentSecrets() []string {
	var secrets []Secret
	if e := c.Registry.Etcd; e != nil {
		secrets = append(secrets, append(e.secrets(), e.Password)...)
	}
	for _, sink := range c.Logs {
		if j := sink.JournalUpload; j != nil {
			secrets = append(secrets, append(j.secrets(), j.Bearer)...)
		}
	}
	var names []string
	for _, s := range secrets {
		if s.Credential != "" {
			names = append(names, s.Credential)
		}
	}
	return names
}

// one wants exactly one of the kinds to be set.
func one(what string, set ...bool) error {
	n := 0
	for _, is := range set {
		if is {
			n++
		}
	}
	if n != 1 {
		return fmt.Errorf("%s: %d kinds where one is wanted", what, n)
	}
	return nil
}

func path(key, path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%s: an absolute path is wanted", key)
	}
	return nil
}
