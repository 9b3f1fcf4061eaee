// Package check judges whether a node is immutable: one file for each check,
// each with a verdict, a line for people, and what it saw.
//
// A check only looks. It looks at the node as PID 1 sees it, which the caller
// hands in: a sandboxed unit has a mount namespace of its own, in which the
// root is read-only on every node. What a verdict leads to is the policy's
// affair, see [Run], and the boot's.
package check

import (
	"fmt"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/mounts"
)

// Verdict is what a check found.
type Verdict string

// The verdicts. A check that cannot know says so; that is never a pass.
const (
	Pass    Verdict = "pass"
	Warn    Verdict = "warn"
	Fail    Verdict = "fail"
	Unknown Verdict = "unknown"
	Off     Verdict = "off" // by policy
)

// Finding is the outcome of a check.
type Finding struct {
	Name     string  `json:"name"`
	Verdict  Verdict `json:"verdict"`
	Message  string  `json:"message"`            // one line for people
	Evidence string  `json:"evidence,omitempty"` // what was seen, as it was seen
}

// Node is what checks look at.
type Node struct {
	Mounts    mounts.Table // PID 1's; empty if it could not be read
	MountsErr error        // why not
	Outputs   []string     // the folders that the boot writes to
}

// Check is one question about a node.
type Check interface {
	Name() string
	Run(node Node) Finding // Pass, Fail or Unknown, or Warn for what is less than a failure under any policy
}

// Plan is a check and what its verdict is to mean.
type Plan struct {
	Check
	Policy config.Policy
}

// Plans are all checks, in the order in which they are made.
func Plans(policies config.Checks) []Plan {
	return []Plan{
		{Root{}, policies.Root},
		{Superblock{}, policies.Superblock},
		{Output{}, config.Enforce},
	}
}

// Run makes the checks. Under the policy warn a failure is a warning. The
// error is of the first check that is enforced and did not pass.
func Run(plans []Plan, node Node) ([]Finding, error) {
	var findings []Finding
	var err error
	for _, p := range plans {
		f := Finding{Verdict: Off, Message: "not checked: the policy is off"}
		if p.Policy != config.Off {
			f = p.Run(node)
		}
		f.Name = p.Name()
		bad := f.Verdict == Fail || f.Verdict == Unknown
		if bad && p.Policy != config.Warn && err == nil {
			err = fmt.Errorf("%s: %s", f.Name, f.Message)
		}
		if f.Verdict == Fail && p.Policy == config.Warn {
			f.Verdict = Warn
		}
		findings = append(findings, f)
	}
	return findings, err
}

// root is the mount that everything lies on, or what to say without it.
func (n Node) root() (mounts.Mount, *Finding) {
	if n.MountsErr != nil {
		return mounts.Mount{}, &Finding{Verdict: Unknown, Message: fmt.Sprintf("the mount table of PID 1 is not readable: %v", n.MountsErr)}
	}
	root, ok := n.Mounts.At("/")
	if !ok {
		return root, &Finding{Verdict: Unknown, Message: "the mount table of PID 1 has no root"}
	}
	return root, nil
}
