package journal

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// Ring is a journal in memory, for a node that has no other one: the newest
// entries up to a bound, each under a cursor. The zero value is ready for use.
// All methods may be called at any time by anybody.
type Ring struct {
	BootID     string // of entries which come without; "" none
	MaxEntries int    // 0: 4096
	MaxBytes   int    // of all entries, as Entry.Size measures; 0: 4 MiB

	mu      sync.Mutex
	id      string  // the ring's SeqnumID
	entries []Entry // oldest first
	last    uint64  // number of the newest entry
	bytes   int
	added   chan struct{} // closed by the next Add; nil when nobody waits
}

const (
	ringEntries = 4096
	ringBytes   = 4 << 20
)

// Add appends an entry, and gives it a cursor, and the time if it has none. It
// never blocks: when the ring is full the oldest entries make room.
func (r *Ring) Add(entry Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last++
	if entry.Realtime.IsZero() {
		entry.Realtime = time.Now()
	}
	if entry.BootID == "" {
		entry.BootID = r.BootID
	}
	entry.Cursor = r.cursor(entry)
	r.entries = append(r.entries, entry)
	r.bytes += entry.Size()
	for len(r.entries) > orDefault(r.MaxEntries, ringEntries) || r.bytes > orDefault(r.MaxBytes, ringBytes) {
		r.bytes -= r.entries[0].Size()
		r.entries[0] = Entry{}
		r.entries = r.entries[1:]
	}
	if r.added != nil {
		close(r.added)
		r.added = nil
	}
}

func orDefault(n, otherwise int) int {
	if n <= 0 {
		return otherwise
	}
	return n
}

// cursor makes the cursor of the newest entry.
func (r *Ring) cursor(entry Entry) string {
	boot := entry.BootID
	if !isID(boot) {
		boot = "00000000000000000000000000000000"
	}
	return Position{SeqnumID: r.seqnumID(), Seqnum: r.last, BootID: boot,
		Monotonic: entry.Monotonic, Realtime: entry.Realtime}.String()
}

// seqnumID is the ring's own id, made up at its first use.
func (r *Ring) seqnumID() string {
	if r.id == "" {
		var id [16]byte
		rand.Read(id[:]) // never fails
		r.id = hex.EncodeToString(id[:])
	}
	return r.id
}

// Follow returns a reader from the entry past the cursor after on; from the
// oldest one when after is "" or was not made by this ring. Each reader gets all
// entries.
func (r *Ring) Follow(after string) *RingReader {
	r.mu.Lock()
	defer r.mu.Unlock()
	reader := &RingReader{ring: r, closed: make(chan struct{})}
	if p, err := ParseCursor(after); err == nil && p.SeqnumID == r.seqnumID() {
		reader.last = min(p.Seqnum, r.last)
	}
	return reader
}

// next is the oldest entry past number last and how many before it are gone; or
// a channel that is closed when there is one.
func (r *Ring) next(last uint64) (entry Entry, lost uint64, wait <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	oldest := r.last - uint64(len(r.entries)) + 1
	if last < oldest {
		lost = oldest - last - 1
		last += lost
	}
	if last < r.last {
		return r.entries[last-oldest+1], lost, nil
	}
	if r.added == nil {
		r.added = make(chan struct{})
	}
	return Entry{}, lost, r.added
}

// RingReader reads the entries of a Ring. Next must not be called twice at a time.
type RingReader struct {
	ring   *Ring
	last   uint64 // number of the entry read last
	lost   atomic.Uint64
	closed chan struct{}
	once   sync.Once
}

// Next waits for the next entry. Its error is that of ctx, or wraps os.ErrClosed
// after Close.
func (r *RingReader) Next(ctx context.Context) (Entry, error) {
	for {
		entry, lost, wait := r.ring.next(r.last)
		r.last += lost
		r.lost.Add(lost)
		if wait == nil {
			r.last++
			return entry, nil
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		case <-r.closed:
			return Entry{}, fmt.Errorf("journal: ring: %w", os.ErrClosed)
		}
	}
}

// Lost is how many entries made room for others before they were read.
func (r *RingReader) Lost() uint64 { return r.lost.Load() }

// Close ends a Next that waits.
func (r *RingReader) Close() error {
	r.once.Do(func() { close(r.closed) })
	return nil
}
