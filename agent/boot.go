package agent

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/document"
	"github.com/bootagent/bootagent/agent/facts"
	"github.com/bootagent/bootagent/agent/mounts"
	"github.com/bootagent/bootagent/agent/output"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
)

// Boot boots the node. If this boot of it was done before, it does nothing.
// After an error nothing is published; the receipt says why, and so did the
// log: whoever reads the journal gets it as an entry with all its fields.
func (a *Agent) Boot(ctx context.Context) error {
	b, err := a.begin(ctx)
	if err != nil {
		return a.unable(cmp.Or(a.Trouble, err))
	}
	if b.done() {
		return nil
	}
	defer b.close()
	ctx, cancel := context.WithTimeout(ctx, time.Duration(b.config.Boot.Deadline))
	defer cancel()
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"identify", b.identify},
		{"check", b.check},
		{"fetch", b.fetch},
		{"claim", b.claim},
		{"write", b.write},
	} {
		if err := b.step(ctx, step.name, step.do); err != nil {
			return b.failed(ctx, err)
		}
	}
	return b.finish()
}

// boot is one boot under way: what each step found out, for those after it.
type boot struct {
	*Agent
	*recorder

	key    string        // of this boot, see once.go
	target output.Target // where it publishes
	ours   []string      // credentials that an earlier attempt may have left

	config       config.Config   // with facts in place of ${…}, from identify on
	facts        facts.Facts     // from identify on
	document     document.Merged // from fetch on
	registration truth.Registration
	open         []func() error // what is to be closed at the end
}

func (b *boot) close() {
	for _, f := range b.open {
		_ = f()
	}
}

// identify finds out who this node is.
func (b *boot) identify(context.Context) error {
	if b.Trouble != nil {
		return b.Trouble
	}
	var err error
	if b.facts, err = facts.Read(b.root()); err != nil {
		return err
	}
	if err := b.config.Expand(b.facts); err != nil {
		return err
	}
	b.receipt.Node = describe(b.facts, b.config)
	return nil
}

// describe is the node as its status has it.
func describe(f facts.Facts, c config.Config) status.Node {
	n := status.Node{
		ID: c.Node.ID, Role: c.Node.Role, MachineID: f.MachineID, BootID: f.BootID, Hostname: f.Hostname,
		ImageID: f.OS.ImageID, ImageVersion: f.OS.ImageVersion, Addresses: f.Addresses,
	}
	if !ordinal(c) {
		n.Name = c.Node.Name
	}
	return n
}

func ordinal(c config.Config) bool { return strings.Contains(c.Node.Name, truth.Ordinal) }

// check judges the node as PID 1 sees it. An enforced failure ends the boot
// before any secret was fetched.
func (b *boot) check(context.Context) error {
	node := check.Node{Outputs: []string{b.config.Output.Directory, b.config.Output.Credentials}}
	node.Mounts, node.MountsErr = mountTable(b.root())
	findings, err := check.Run(check.Plans(b.config.Checks), node)
	b.receipt.Checks = findings
	return err
}

func mountTable(root string) (mounts.Table, error) {
	f, err := os.Open(filepath.Join(root, "proc/1/mountinfo"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return mounts.Parse(f)
}

// fetch reads the sources of truth, lays them over each other, and obeys what
// they say of the agent: from here on, its configuration has that in it.
func (b *boot) fetch(ctx context.Context) error {
	links := b.watchLinks()
	defer func() { _ = links.Close() }()
	answers, err := truth.Fetch(ctx, b.sources(links), links, b.waiting)
	if err != nil {
		return err
	}
	var layers []document.Layer
	for _, answer := range answers {
		layers = append(layers, answer.Layers...)
	}
	if b.document, err = document.Merge(layers...); err != nil {
		return err
	}
	b.receipt.Config = summary(b.document, answers)
	b.receipt.Keys = b.document.Origin
	return b.obey(b.document.Agent)
}

// obey takes over what the document says of the agent itself. It may name
// credentials of its own to prove who the node is, and no others: else it
// could have them sent to a server of its choice.
func (b *boot) obey(settings config.Agent) error {
	for _, s := range settings.Secrets() {
		if _, own := b.document.Credentials[document.CredentialName(s.Credential)]; s.Set() && !own {
			return fmt.Errorf("agent: %s: a document may only name a credential of its own", s)
		}
	}
	b.config = b.config.With(settings)
	if err := b.config.Naming(); err != nil {
		return err
	}
	if err := b.config.Expand(b.facts); err != nil {
		return err
	}
	b.receipt.Node = describe(b.facts, b.config)
	return nil
}

// summary is what the sources said, without a value.
func summary(doc document.Merged, answers []truth.Answer) *status.Config {
	keys := doc.Keys()
	c := &status.Config{Digest: doc.Digest()}
	for _, answer := range answers {
		s := status.Source{Source: answer.Source, Duration: answer.Duration.Seconds()}
		for _, layer := range answer.Layers {
			s.Keys += keys[layer.Source]
		}
		if answer.Missing != nil {
			s.Missing = answer.Missing.Error()
		}
		c.Sources = append(c.Sources, s)
	}
	return c
}

// claim takes the name, if it asks for an ordinal. The resident adopts it.
func (b *boot) claim(ctx context.Context) error {
	if !ordinal(b.config) {
		return nil
	}
	links := b.watchLinks()
	b.open = append(b.open, links.Close)
	registry, err := b.registry(b.config.Registry, links, b.documentCredential)
	if err != nil {
		return err
	}
	b.open = append(b.open, registry.close) // not before a failed boot has given the name back
	retry := truth.Retry{Links: links, Waiting: func(err error) { b.waiting(registry.String(), err) }}
	err = retry.Do(ctx, func(ctx context.Context) (err error) {
		b.registration, err = registry.Register(ctx, record(b.receipt, b.config, truth.StateBooting, b.Version))
		return err
	})
	if err != nil {
		return err
	}
	b.receipt.Node.Name, b.receipt.Node.Ordinal = b.registration.Node.Name, b.registration.Node.Ordinal
	b.receipt.Registry = &status.Registry{
		Backend: registry.String(), State: "claimed", Key: b.registration.Key, Token: b.registration.Token,
	}
	return nil
}

// write publishes. The names of the credentials are in the receipt before the
// first of them is written, so that they are found after a crash.
func (b *boot) write(context.Context) error {
	tree := output.Render(b.document, b.describeNode(), b.config)
	tree.Agent = append(tree.Agent, b.passOn()...)
	for _, c := range tree.Credentials {
		b.receipt.Credentials = append(b.receipt.Credentials, c.Path)
	}
	if err := b.save(); err != nil {
		return err
	}
	return b.target.Commit(tree, b.key, b.ours)
}

// passOn are the credentials of this unit that the resident needs, too: those
// which its configuration names and the document does not have.
func (b *boot) passOn() []output.File {
	var files []output.File
	for _, name := range b.config.AgentSecrets() {
		if _, ok := b.document.Credentials[document.CredentialName(name)]; ok {
			continue
		}
		if value, err := b.credential(name); err == nil {
			files = append(files, output.Credential(name, value))
		}
	}
	return files
}

// describeNode is the node as its programs read it. What the kernel shows to
// root only stays with root.
func (b *boot) describeNode() output.Node {
	n := b.receipt.Node
	public := b.facts
	public.DMI.Serial, public.DMI.UUID = "", ""
	return output.Node{
		ID: n.ID, Name: n.Name, Ordinal: n.Ordinal, Token: b.registration.Token, Role: n.Role,
		MachineID: n.MachineID, BootID: n.BootID, Hostname: n.Hostname, Addresses: n.Addresses, Facts: public,
	}
}

// failed gives back the name, and writes down why the boot ended. Nothing was
// published: the write is the last step, and cleans up after itself.
func (b *boot) failed(ctx context.Context, err error) error {
	if b.registration.Lease != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if err := b.registration.Release(last); err != nil { // then the registry's TTL does it
			b.Log.WithField("message_id", messageRegistry).WithError(err).Warn("name not given back")
		}
		b.receipt.Node.Name, b.receipt.Node.Ordinal = "", 0
	}
	b.receipt.Credentials, b.receipt.Registry = nil, nil
	return b.end(status.Failed, err)
}

func (b *boot) finish() error { return b.end(status.Done, nil) }

// documentCredential finds a credential in the document first, then among
// those of this process.
func (b *boot) documentCredential(name string) ([]byte, error) {
	if c, ok := b.document.Credentials[document.CredentialName(name)]; ok {
		return c.Value, nil
	}
	return b.credential(name)
}
