// Package sinks delivers the journal off the box, at least once.
//
// The journal is the queue. A Shipper reads it, makes batches, sends each until
// the other side has it, and only then moves its cursor; nothing else is kept,
// so that an outage costs no memory and a crash costs no entry. What vanished
// from the journal before it could be sent is counted.
//
//	sinks.go           what a Sink is, and a Reader
//	shipper.go         reads, sends, accounts: one Shipper for each Sink
//	loop.go            decides: when a batch is complete, when a drain is done
//	batch.go           what is sent at once
//	deliver.go         sends one batch: retry, bisection down to a poison entry
//	cursor.go          the file that remembers where to go on
//	status.go          what an HTTP status says about a batch
//	journal_upload.go  systemd-journal-remote, VictoriaLogs
//	file.go            a file of JSON lines
//
// A Sink is a protocol and no more: it neither waits, nor retries, nor drops.
// What an entry is, and where it comes from, is the business of package journal.
package sinks

import (
	"context"
	"errors"
	"time"

	"github.com/bootagent/bootagent/systemd/journal"
)

// Sink sends entries to one place.
//
// Send returns nil when the other side has stored the whole batch. An error
// which wraps ErrRejected is final: these entries, in this batch, will never be
// taken; a batch of several is then sent in parts. After any other error the
// same batch is sent again, so the other side may get an entry twice. Send is
// not called by two at a time, keeps neither the batch nor its slice, honours
// ctx, and does not retry.
//
// The text of an error ends up in the log and in the status of the node: it has
// no content of an entry and no credential in it. Nor has String, which is the
// name of the sink for people: its protocol and address.
type Sink interface {
	Send(ctx context.Context, batch []journal.Entry) error
	String() string
}

// Reader hands out the entries of a journal, in order and each once.
//
// Next waits for one; when it returns the error of ctx, nothing is lost. Any
// other error ends the Reader, and another is opened after the last entry. Lost
// is how many entries vanished before Next got to them. It may be called while
// Next runs, and so may Close, which ends Next.
type Reader interface {
	Next(ctx context.Context) (journal.Entry, error)
	Lost() uint64
	Close() error
}

var (
	// ErrRejected is wrapped by the error of Send for a batch that will never
	// be taken because of an entry in it: malformed, too large.
	ErrRejected = errors.New("rejected")

	// ErrDenied is wrapped by the error of Send when the other side takes
	// nothing from this node, whatever is sent: credentials, permission, a
	// wrong address. It takes a person to mend that, so it is tried slowly.
	ErrDenied = errors.New("denied")

	// ErrNoAnswer is wrapped by the error of Send when the other side took the
	// batch and hung up without a word. Mostly it has just gone away; some
	// receivers (systemd-journal-remote) say in this way that an entry is bad.
	ErrNoAnswer = errors.New("no answer")
)

// RetryError is an error with a time before which Send need not be called again
// (RFC 9110, Retry-After).
type RetryError struct {
	Err   error
	After time.Duration // at most five minutes are waited
}

// Error is the text of Err.
func (e *RetryError) Error() string { return e.Err.Error() }

// Unwrap is Err.
func (e *RetryError) Unwrap() error { return e.Err }

// Stats say how a Shipper is doing. Counters start with the Shipper.
type Stats struct {
	Sink      string        // Sink.String
	Shipped   uint64        // entries the other side has
	Lost      uint64        // entries that vanished from the journal before
	Rejected  uint64        // entries the other side does not take
	Lag       time.Duration // age of the oldest entry in hand, 0 when there is none
	Cursor    string        // of the last entry that is done with; "" none yet
	LastError string        // why the sink is down; "" when it is up
}
