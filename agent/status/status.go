// Package status is what a node says of itself: the receipt of its boot, the
// status of the agent, and the endpoint that serves both.
//
// The types here are what other programs read as JSON; their shapes are
// stable. Nothing here decides how a node is, only how that is told: package
// agent fills the types in. No value of a document is ever in them.
package status

import (
	"time"

	"github.com/bootagent/bootagent/agent/check"
)

// State is how a node is, in one word.
type State string

// The states of a node.
const (
	Booting  State = "booting"
	Ready    State = "ready"
	Degraded State = "degraded"
	Done     State = "done" // of a receipt only: the boot is done
	Failed   State = "failed"
	Leaving  State = "leaving"
	Unknown  State = "unknown" // there is no receipt of this boot, and no agent
)

// Status is the answer to GET /status.
type Status struct {
	Version    int             `json:"version"` // of this shape: 1
	State      State           `json:"state"`
	Error      string          `json:"error,omitempty"` // why the boot failed, one line
	Conditions []Condition     `json:"conditions"`
	Node       Node            `json:"node"`
	Steps      []Step          `json:"steps"`
	Config     *Config         `json:"config,omitempty"` // nil until fetched
	Checks     []check.Finding `json:"checks"`
	Registry   *Registry       `json:"registry,omitempty"` // nil without one
	Logs       []Sink          `json:"logs"`
	Privileges *Privileges     `json:"privileges,omitempty"` // of the resident; nil when a receipt speaks for it
}

// Condition is one thing that is, or is not, as it should be.
type Condition struct {
	Type    string    `json:"type"`   // BootDone, Immutable, Registered, LogsDelivered, Online
	Status  bool      `json:"status"` // true is good
	Reason  string    `json:"reason"` // one word
	Message string    `json:"message"`
	Since   time.Time `json:"since,omitzero"`
}

// Node is who the node is.
type Node struct {
	ID           string   `json:"id"`
	Name         string   `json:"name,omitempty"`
	Ordinal      int      `json:"ordinal,omitempty"`
	Role         string   `json:"role,omitempty"`
	MachineID    string   `json:"machine_id,omitempty"`
	BootID       string   `json:"boot_id,omitempty"`
	Hostname     string   `json:"hostname,omitempty"`
	ImageID      string   `json:"image_id,omitempty"`
	ImageVersion string   `json:"image_version,omitempty"`
	Addresses    []string `json:"addresses"`
}

// Step is a step of the boot.
type Step struct {
	Name     string    `json:"name"`
	State    string    `json:"state"` // pending, running, done or failed
	Started  time.Time `json:"started,omitzero"`
	Duration float64   `json:"duration_seconds"`

	// Error is why the step failed or, while it is running, what it waits for.
	Error string `json:"error,omitempty"`
}

// The states of a step.
const (
	StepPending = "pending"
	StepRunning = "running"
	StepDone    = "done"
	StepFailed  = "failed"
)

// Config is what the sources of truth said.
type Config struct {
	Digest  string   `json:"digest"` // see document.Merged.Digest
	Sources []Source `json:"sources"`
}

// Source is one source of truth.
type Source struct {
	Source   string  `json:"source"`
	Keys     int     `json:"keys"` // that came from it in the end
	Duration float64 `json:"duration_seconds"`
	Missing  string  `json:"missing,omitempty"` // why an optional source has nothing
}

// Registry is how the node stands in the inventory.
type Registry struct {
	Backend string    `json:"backend"`
	State   string    `json:"state"` // claimed, registered, registering, lost or left
	Key     string    `json:"key,omitempty"`
	Token   int64     `json:"token,omitempty"`
	Renewed time.Time `json:"renewed,omitzero"`
	Error   string    `json:"error,omitempty"`
}

// Sink is how a log sink is doing.
type Sink struct {
	Sink      string  `json:"sink"`
	Shipped   uint64  `json:"shipped"`
	Lost      uint64  `json:"lost"`
	Rejected  uint64  `json:"rejected"`
	Lag       float64 `json:"lag_seconds"`
	Cursor    string  `json:"cursor,omitempty"`
	LastError string  `json:"last_error,omitempty"`
}

// Privileges are the resident's own, from /proc/self/status.
type Privileges struct {
	UID          int    `json:"uid"`
	Capabilities string `json:"capabilities"` // the effective set, 16 hexadecimal digits
	NoNewPrivs   bool   `json:"no_new_privs"`
	Seccomp      bool   `json:"seccomp"`
}
