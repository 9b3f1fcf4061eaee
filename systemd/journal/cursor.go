package journal

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Position is what a cursor says. It is the same text that sd_journal_get_cursor(3)
// returns, so that each reader of the journal can go on where another one stopped.
type Position struct {
	SeqnumID  string        // s=: the journald which counts; 32 hexadecimal digits
	Seqnum    uint64        // i=: counts its entries from 1, over all of its files
	BootID    string        // b=: 32 hexadecimal digits
	Monotonic time.Duration // m=: in microseconds
	Realtime  time.Time     // t=: in microseconds
	Hash      uint64        // x=: exclusive or over the hashes of the fields
}

// maxCursor bounds a cursor's text; the longest one has 159 characters.
const maxCursor = 256

var errCursor = errors.New("malformed cursor")

// ParseCursor reads a cursor. All six parts must be there, once, in any order.
func ParseCursor(cursor string) (Position, error) {
	var p Position
	if len(cursor) > maxCursor {
		return p, fmt.Errorf("journal: %w: %d bytes", errCursor, len(cursor))
	}
	var seen [256]bool
	parts := 0
	for part := range strings.SplitSeq(cursor, ";") {
		if len(part) < 3 || part[1] != '=' || seen[part[0]] || !p.set(part[0], part[2:]) {
			return Position{}, fmt.Errorf("journal: %w: part %q", errCursor, part)
		}
		seen[part[0]] = true
		parts++
	}
	if parts != 6 {
		return Position{}, fmt.Errorf("journal: %w: %d parts of 6", errCursor, parts)
	}
	return p, nil
}

// set takes one part of a cursor over, and tells whether it is well-formed.
func (p *Position) set(key byte, value string) bool {
	switch key {
	case 's':
		p.SeqnumID = value
		return isID(value)
	case 'b':
		p.BootID = value
		return isID(value)
	}
	n, err := strconv.ParseUint(value, 16, 64)
	if err != nil {
		return false
	}
	switch key {
	case 'i':
		p.Seqnum = n
	case 'm':
		p.Monotonic = time.Duration(n) * time.Microsecond
		return n <= math.MaxInt64/1000
	case 't':
		p.Realtime = time.UnixMicro(int64(n))
		return n <= math.MaxInt64
	case 'x':
		p.Hash = n
	default:
		return false
	}
	return true
}

// String is the cursor.
func (p Position) String() string {
	return fmt.Sprintf("s=%s;i=%x;b=%s;m=%x;t=%x;x=%x", p.SeqnumID, p.Seqnum, p.BootID,
		p.Monotonic.Microseconds(), p.Realtime.UnixMicro(), p.Hash)
}

// after tells whether p is past q. Numbers of two journalds do not compare; but
// one entry may get a number of either, when the journal moves from /run to /var.
func (p Position) after(q Position) bool {
	if p.SeqnumID == q.SeqnumID {
		return p.Seqnum > q.Seqnum
	}
	return p.BootID != q.BootID || p.Monotonic != q.Monotonic || p.Hash != q.Hash
}

// gaps counts the entries which vanished before they were read. Journald counts
// what it writes without a hole, so a hole in what is read is a loss; only
// between numbers of one journald (SeqnumID) is there anything to compare.
type gaps struct {
	id   string
	last uint64
}

// see takes the next entry's position, and returns how many vanished before it.
func (g *gaps) see(p Position) uint64 {
	var lost uint64
	if p.SeqnumID == g.id && p.Seqnum > g.last {
		lost = p.Seqnum - g.last - 1
	}
	if p.SeqnumID != g.id || p.Seqnum > g.last {
		g.id, g.last = p.SeqnumID, p.Seqnum
	}
	return lost
}
