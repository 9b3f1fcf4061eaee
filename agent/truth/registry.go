package truth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrLost says that a registration has ended without its holder: its lease has
// expired, a later boot of the same identity has taken over, or somebody has
// removed it. It is final; only a new Register can bring the node back.
var ErrLost = errors.New("registration lost")

// ErrTaken says that a name without an ordinal is held by another identity.
var ErrTaken = errors.New("name taken")

// Ordinal is the mark in a node's name that Register replaces by a number.
const Ordinal = "${ordinal}"

// State is what a node says of itself in the inventory.
type State string

// The states of a node, in the order of its life.
const (
	StateBooting  State = "booting"
	StateReady    State = "ready"
	StateDegraded State = "degraded"
	StateFailed   State = "failed"
	StateLeaving  State = "leaving"
)

// Node is the record of a node in the inventory: one JSON shape in every
// registry, readable by everybody who may read the inventory.
type Node struct {
	ID           string    `json:"id"`      // identity: instance id on a cloud, else machine id; letters, digits and -._:@+=,~, at most 200
	BootID       string    `json:"boot_id"` // which boot of it, /proc/sys/kernel/random/boot_id
	MachineID    string    `json:"machine_id"`
	Name         string    `json:"name,omitempty"`    // same characters as ID; empty: the node has no name
	Ordinal      int       `json:"ordinal,omitempty"` // from 1; 0: the name has none
	Role         string    `json:"role"`
	Hostname     string    `json:"hostname"`
	Addresses    []string  `json:"addresses"`
	ImageID      string    `json:"image_id"`
	ImageVersion string    `json:"image_version"`
	ConfigDigest string    `json:"config_digest,omitempty"`
	State        State     `json:"state"`
	Started      time.Time `json:"started"`
	AgentVersion string    `json:"agent_version"`
}

// Registry is an inventory of nodes and the authority over their names. Its
// methods may be called at the same time.
type Registry interface {
	// Register puts node in the inventory and takes its name. A name with
	// Ordinal in it claims the lowest free number from 1, by one atomic
	// create-if-absent; lost races are run again, with jitter, until ctx ends.
	// A name without it that another ID holds is ErrTaken.
	//
	// An ID that already holds the name it asks for (for Ordinal: any name of
	// that form) adopts it, so that a restart of the agent, or of the machine,
	// keeps its name. The same BootID is the same holder; another BootID is a
	// new one, and what the former boot still holds is lost to it. A held name
	// that is not asked for any more is given back.
	//
	// An error that wraps ErrFinal is about what was asked or configured. Other
	// errors say that the registry did not answer or refused: Register may be
	// called again, also when it did succeed, unknown to us, on the far side.
	Register(ctx context.Context, node Node) (Registration, error)

	// Nodes is the inventory, sorted by ID. A record that is not a node is an
	// error that names it and comes together with the nodes that could be read.
	Nodes(ctx context.Context) ([]Node, error)

	// String is the kind and the address of the registry, without credentials.
	String() string
}

// Registration is what Register has obtained.
type Registration struct {
	Node  Node          // as it stands in the inventory, with name and ordinal
	Key   string        // where it stands there
	Token int64         // fencing token: the same as long as this boot holds the name, greater for every later holder; 0 without a name
	TTL   time.Duration // how long it lasts from the last renewal; 0: until it is released

	Lease
}

// Lease is a holder's side of its registration.
type Lease interface {
	// Renew extends the registration to its full TTL, and sees that it is still
	// held: else ErrLost. Any other error leaves that open: try again until
	// the TTL, counted from the start of the last success, is over.
	Renew(ctx context.Context) error

	// Update replaces the record; identity, name and ordinal stay as they were
	// registered. It writes only what is still held: else ErrLost.
	Update(ctx context.Context, node Node) error

	// Release removes record and name, where they are still held. It may be
	// called again, and after the loss.
	Release(ctx context.Context) error
}

const (
	maxKey    = 200         // bytes in an identity or a name: ID.json is a file name
	maxRecord = 64 << 10    // bytes in a record
	maxPause  = time.Second // longest wait between two claims
)

// claim is the value of a name: who holds it.
type claim struct {
	ID     string `json:"id"`
	BootID string `json:"boot_id"`
	Token  int64  `json:"token,omitempty"` // where the registry does not count itself
}

// validate checks what becomes part of a key, and fills in what has a default.
func (n *Node) validate() error {
	if err := validKey(n.ID); err != nil {
		return final{fmt.Errorf("node id %q: %v", n.ID, err)}
	}
	n.State = cmp.Or(n.State, StateBooting)
	if n.Addresses == nil {
		n.Addresses = []string{}
	}
	if n.Name == "" {
		return nil
	}
	if err := validKey(nameAt(n.Name, 1)); err != nil {
		return final{fmt.Errorf("node name %q: %v", n.Name, err)}
	}
	return nil
}

// validKey accepts what is one element of a path, one key and one file name
// everywhere, and harmless in a terminal.
func validKey(s string) error {
	odd := func(r rune) bool {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		return !letter && (r < '0' || r > '9') && !strings.ContainsRune("-._:@+=,~", r)
	}
	switch i := strings.IndexFunc(s, odd); {
	case s == "":
		return errors.New("empty")
	case len(s) > maxKey:
		return fmt.Errorf("longer than %d bytes", maxKey)
	case s[0] == '.':
		return errors.New("begins with a dot")
	case i >= 0:
		return fmt.Errorf("character %q not allowed", []rune(s[i:])[0])
	}
	return nil
}

// encode is node as it stands in a registry.
func (n Node) encode() ([]byte, error) {
	data, err := json.Marshal(n)
	if err == nil && len(data) > maxRecord {
		return nil, final{fmt.Errorf("node %s: record of %d bytes, more than %d", n.ID, len(data), maxRecord)}
	}
	return data, err
}

// decodeNode reads the record kept under id. Fields of later versions are
// ignored: old and new agents share an inventory.
func decodeNode(id string, data []byte) (Node, error) {
	var n Node
	if len(data) > maxRecord {
		return Node{}, fmt.Errorf("more than %d bytes", maxRecord)
	}
	if err := json.Unmarshal(data, &n); err != nil {
		return Node{}, fmt.Errorf("not a node: %v", err)
	}
	if n.ID != id {
		return Node{}, fmt.Errorf("not a node: says it is %q", n.ID)
	}
	return n, nil
}

// withName is n with a name and the ordinal in it. A name that was asked for
// as it is keeps the ordinal that came with it.
func (n Node) withName(name string) Node {
	if o, ok := ordinalOf(n.Name, name); ok {
		n.Ordinal = o
	}
	n.Name = name
	return n
}

// fits says whether name is what wanted asks for.
func fits(wanted, name string) bool {
	_, ok := ordinalOf(wanted, name)
	return ok || wanted == name
}

// nameAt is the name that pattern asks for with the given ordinal.
func nameAt(pattern string, ordinal int) string {
	return strings.Replace(pattern, Ordinal, strconv.Itoa(ordinal), 1)
}

// ordinalOf is the ordinal in name, if pattern has one and name its form.
func ordinalOf(pattern, name string) (int, bool) {
	before, after, ok := strings.Cut(pattern, Ordinal)
	if !ok || len(name) < len(before)+len(after) ||
		!strings.HasPrefix(name, before) || !strings.HasSuffix(name, after) {
		return 0, false
	}
	digits := name[len(before) : len(name)-len(after)]
	n, err := strconv.Atoi(digits)
	return n, err == nil && n > 0 && strconv.Itoa(n) == digits // neither 07 nor +7
}

// lowestFree is the first name of pattern's form which is not among taken.
func lowestFree(pattern string, taken []string) string {
	var used []int
	for _, name := range taken {
		if n, ok := ordinalOf(pattern, name); ok {
			used = append(used, n)
		}
	}
	slices.Sort(used)
	free := 1
	for _, n := range used {
		if n == free {
			free++
		}
	}
	return nameAt(pattern, free)
}

// spread waits before another try: a random time below a bound that doubles
// from 20 ms with every try, so that a crowd spreads out. It is false when ctx
// ended first.
func spread(ctx context.Context, try int) bool {
	bound := min(20*time.Millisecond<<min(try, 10), maxPause)
	t := time.NewTimer(rand.N(bound))
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// taken is the error of a name that holder has.
func taken(name string, holder claim) error {
	return fmt.Errorf("%w: %s is held by node %s", ErrTaken, name, cmp.Or(holder.ID, "(unknown)"))
}
