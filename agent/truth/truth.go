// Package truth knows the systems outside of a node that know about it:
// sources of truth, which say what a node is to have, and registries, the
// inventories that nodes are in and take their names from. One file speaks to
// one system.
//
// A source or registry is a protocol and no more. Asking again, waiting for a
// link that comes up late, and giving up live once, above them, in [Retry] and
// [Fetch]. What a document may say is decided in package document, what a boot
// does with all this in package agent.
package truth

import (
	"context"
	"errors"
	"time"

	"github.com/bootagent/bootagent/agent/document"
)

// Source is a place where documents are.
type Source interface {
	// Fetch asks once, until ctx ends at the latest, and returns the layers of
	// the source in the order in which they are to be laid over each other.
	// An error that wraps ErrAbsent says that the source answered, and has
	// nothing for this node; one that wraps ErrFinal, that asking again will
	// not help; any other may be asked again.
	Fetch(ctx context.Context) ([]document.Layer, error)

	// String names the source for people, without any credential.
	String() string
}

var (
	// ErrAbsent says that a source has nothing for this node. It is an answer,
	// and final.
	ErrAbsent = errors.New("no document for this node")

	// ErrFinal says that an answer will stay as it is.
	ErrFinal = errors.New("final")
)

// final marks an error as not worth asking again. Its text stays the same.
type final struct{ error }

func (final) Is(target error) bool { return target == ErrFinal }

// after is an error whose sender said when to ask again.
type after struct {
	error
	delay time.Duration
}
