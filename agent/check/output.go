package check

import (
	"strings"

	"github.com/bootagent/bootagent/agent/output"
)

// Output asks whether what the boot writes is gone after it. It is always
// enforced: the agent writes nothing to a disk.
type Output struct{}

// Name is output.
func (Output) Name() string { return "output" }

// Run asks the kernel for the file system of each folder.
func (Output) Run(node Node) Finding {
	f := Finding{Verdict: Pass, Message: "on tmpfs", Evidence: strings.Join(node.Outputs, " ")}
	for _, folder := range node.Outputs {
		if err := output.Volatile(folder); err != nil {
			return Finding{Verdict: Fail, Message: err.Error(), Evidence: folder}
		}
	}
	return f
}
