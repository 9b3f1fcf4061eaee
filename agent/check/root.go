package check

import (
	"fmt"
	"strings"

	"github.com/bootagent/bootagent/agent/mounts"
)

// Root asks whether nobody can write to the root through its mount.
type Root struct{}

// Name is root.
func (Root) Name() string { return "root" }

// Run looks at the mount's own options, and behind a writable overlay for the
// file system that takes the changes.
func (Root) Run(node Node) Finding {
	root, trouble := node.root()
	if trouble != nil {
		return *trouble
	}
	f := Finding{Verdict: Pass, Message: "mounted read-only", Evidence: evidence(root)}
	switch {
	case root.ReadOnly():
	case root.Type == "overlay":
		f.Verdict, f.Message = node.overlay(root)
	default:
		f.Verdict, f.Message = Fail, fmt.Sprintf("writable: %s is mounted read-write (add ro to the kernel command line or to its line in fstab)", root.Type)
	}
	return f
}

// overlay says where the changes go that a writable overlay takes: memory is
// bad enough, since the running node can be changed; a disk would keep them.
func (n Node) overlay(root mounts.Mount) (Verdict, string) {
	upper := root.SuperOption("upperdir")
	if upper == "" {
		return Fail, "writable: an overlay, its upper folder unknown"
	}
	below, ok := n.Mounts.At(upper)
	switch {
	case !ok || below.ID == root.ID:
		return Fail, fmt.Sprintf("writable: an overlay whose upper folder %s is out of sight", upper)
	case below.Volatile():
		return Fail, fmt.Sprintf("writable: an overlay whose upper folder %s is on %s: changes last until the node stops", upper, below.Type)
	}
	return Fail, fmt.Sprintf("writable: an overlay whose upper folder %s is on %s: changes outlive the boot", upper, below.Type)
}

// evidence is the mount as the kernel tells of it.
func evidence(m mounts.Mount) string {
	return fmt.Sprintf("%s %s %s %s %s", m.Point, strings.Join(m.Options, ","), m.Type, m.Source, strings.Join(m.SuperOptions, ","))
}
