package status

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/bootagent/bootagent/agent/files"
)

// receiptFile is the receipt's name in the output directory.
const receiptFile = "receipt.json"

// maxReceipt bounds what is read: a receipt names each key of a document.
const maxReceipt = 64 << 20

// Receipt tells of one boot: how far it came, what it found, and what it
// published. It is all that the boot hands to the resident, is written anew at
// each step, and is open to everybody on the node.
type Receipt struct {
	Version  int       `json:"version"` // of this shape: 1
	Agent    string    `json:"agent_version"`
	Key      string    `json:"key"`   // of the boot, which tells it from every other
	State    State     `json:"state"` // booting, done or failed
	Started  time.Time `json:"started"`
	Duration float64   `json:"duration_seconds"`
	Error    string    `json:"error,omitempty"`

	Node        Node              `json:"node"`
	Steps       []Step            `json:"steps"`
	Checks      []check.Finding   `json:"checks"`
	Config      *Config           `json:"config,omitempty"`
	Keys        map[string]string `json:"keys,omitempty"`        // of the document: each key's source
	Credentials []string          `json:"credentials,omitempty"` // names of those written, or about to be
	Registry    *Registry         `json:"registry,omitempty"`
}

// Step is the step of that name, nil if there is none.
func (r *Receipt) Step(name string) *Step {
	for i := range r.Steps {
		if r.Steps[i].Name == name {
			return &r.Steps[i]
		}
	}
	return nil
}

// ErrNoReceipt says that nothing is known of a boot.
var ErrNoReceipt = errors.New("no receipt of a boot")

// ReadReceipt reads the receipt in the output directory. It wraps
// ErrNoReceipt if there is none.
func ReadReceipt(directory string) (*Receipt, error) {
	if directory == "" {
		return nil, ErrNoReceipt
	}
	root, err := os.OpenRoot(directory)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoReceipt, directory)
	} else if err != nil {
		return nil, fmt.Errorf("receipt: %v", err)
	}
	defer root.Close()
	text, err := files.Read(root, receiptFile, maxReceipt)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%w in %s", ErrNoReceipt, directory)
	} else if err != nil {
		return nil, fmt.Errorf("receipt: %v", err)
	}
	var r Receipt
	if err := json.Unmarshal(text, &r); err != nil {
		return nil, fmt.Errorf("receipt: %v", err)
	}
	return &r, nil
}

// Write replaces the receipt in the output directory, at once and as a whole:
// whoever reads it sees the old one or the new one.
func (r *Receipt) Write(directory string) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("receipt: %v", err)
	}
	root, err := os.OpenRoot(directory)
	if err != nil {
		return fmt.Errorf("receipt: %v", err)
	}
	defer root.Close()
	if err := files.Replace(root, receiptFile, append(text, '\n'), 0o644); err != nil {
		return fmt.Errorf("receipt: %v", err)
	}
	return nil
}

// Status is what a receipt alone can tell. Its lists are lists, also when the
// receipt has none.
func (r *Receipt) Status() Status {
	s := Status{
		Version: 1, State: r.State, Error: r.Error, Node: r.Node, Config: r.Config, Registry: r.Registry,
		Conditions: []Condition{r.condition()}, Steps: append([]Step{}, r.Steps...),
		Checks: append([]check.Finding{}, r.Checks...), Logs: []Sink{},
	}
	if s.Node.Addresses == nil {
		s.Node.Addresses = []string{}
	}
	return s
}

// Nothing is the status of a node of which nothing is known, for that reason.
func Nothing(err error) Status {
	s := new(Receipt).Status()
	s.Version, s.State, s.Error = 1, Unknown, err.Error()
	return s
}

// condition is BootDone.
func (r *Receipt) condition() Condition {
	c := Condition{Type: "BootDone", Reason: "Unknown", Message: "the receipt does not say", Since: r.ended()}
	switch r.State {
	case Done:
		c.Status, c.Reason, c.Message = true, "Done", "the configuration is published"
	case Booting:
		c.Reason, c.Message = "Running", "the boot is running"
	case Failed:
		c.Reason, c.Message = "Failed", r.Error
	}
	return c
}

func (r *Receipt) ended() time.Time {
	return r.Started.Add(time.Duration(r.Duration * float64(time.Second)))
}
