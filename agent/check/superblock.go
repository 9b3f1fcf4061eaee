package check

import "fmt"

// Superblock asks whether the file system below the root is read-only itself.
// If only the mount is, whoever may mount can write to it by another mount.
type Superblock struct{}

// Name is superblock.
func (Superblock) Name() string { return "superblock" }

// Run looks at the options of the root's file system.
func (Superblock) Run(node Node) Finding {
	root, trouble := node.root()
	if trouble != nil {
		return *trouble
	}
	f := Finding{Verdict: Pass, Message: fmt.Sprintf("%s is read-only as a whole", root.Type), Evidence: evidence(root)}
	if !root.SuperReadOnly() {
		f.Verdict, f.Message = Fail, fmt.Sprintf("%s itself is writable: a second mount of it would be, too", root.Type)
	}
	return f
}
