package journal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"
)

// FollowOptions say what to follow, and from where. The zero value is this
// machine's journal from the first entry of this boot on.
type FollowOptions struct {
	After     string // cursor of the last entry that is not wanted again; "" or one of another boot: none
	Boot      string // boot id, 32 hexadecimal digits; "" this boot
	Directory string // folder with journal files, journalctl --directory; "" those of this machine
	Binary    string // "" journalctl, looked for in PATH

	Log *logrus.Logger // told when journalctl ends and when it is back; nil nobody
}

// Follower reads the journal through journalctl --output=export --follow, a
// child process. It serves wherever systemd does, whatever the format of the
// files, and lives through the death of that child: journalctl gives up on
// a file that was vacuumed under it, or on a corrupt one, and is then started
// again after the last entry, so that none is lost or doubled.
type Follower struct {
	options  FollowOptions
	watched  []string // folders where a change announces an entry
	entries  chan Entry
	end      context.CancelFunc
	ended    chan struct{}
	lost     atomic.Uint64
	stall    time.Duration // see stallTime
	mu       sync.Mutex
	child    *child    // the one that runs; nil between two
	received time.Time // when the last entry was, or its child was started
	excused  time.Time // change of a file that a restart was already made for

	// Of the goroutine that reads.
	cursor   string // of the last entry
	position Position
	gaps     gaps
	skip     uint64 // entries to leap over, being unreadable
}

// How the child is treated.
const (
	restartFirst = 100 * time.Millisecond // pause before it is started again, doubled
	restartMost  = 10 * time.Second       // each time up to this, until an entry comes
	stallTime    = time.Minute            // silent so long while files change: it hangs
	stallSlack   = 5 * time.Second        // between an entry and the change of its file
	stuckStarts  = 3                      // failed so often at one entry: it cannot be read
)

// Follow starts a journalctl and returns a reader of its entries. Ctx bounds
// the Follower's life, as Close does. The error is about the options or a
// program that is not there; what goes wrong later is tried again.
//
// When the entry of After is gone, reading starts at the oldest one past it.
// Lost counts those in between.
func Follow(ctx context.Context, options FollowOptions) (*Follower, error) {
	f := &Follower{
		entries: make(chan Entry),
		ended:   make(chan struct{}),
		stall:   stallTime,
		cursor:  options.After,
	}
	if err := f.prepare(options); err != nil {
		return nil, err
	}
	ctx, f.end = context.WithCancel(ctx)
	go func() {
		defer close(f.ended)
		f.run(ctx)
	}()
	return f, nil
}

// prepare checks the options and fills in what they leave open.
func (f *Follower) prepare(options FollowOptions) error {
	var err error
	if options.After != "" {
		if f.position, err = ParseCursor(options.After); err != nil {
			return err
		}
	}
	if options.Boot == "" {
		if options.Boot, err = thisBoot(); err != nil {
			return fmt.Errorf("journal: boot id: %v", err)
		}
	}
	if !isID(options.Boot) {
		return fmt.Errorf("journal: boot id: %q is not 32 hexadecimal digits", options.Boot)
	}
	if f.position.BootID != options.Boot {
		f.cursor, f.position = "", Position{}
	}
	f.gaps.see(f.position)
	if options.Binary == "" {
		options.Binary = "journalctl"
	}
	if options.Binary, err = exec.LookPath(options.Binary); err != nil {
		return fmt.Errorf("journal: %v", err)
	}
	f.watched = directories("/")
	if options.Directory != "" {
		f.watched = []string{options.Directory}
	}
	if options.Log == nil {
		options.Log = logrus.New()
		options.Log.SetOutput(io.Discard)
	}
	f.options = options
	return nil
}

// Next waits for the next entry. Its error is that of ctx, which loses nothing,
// or wraps os.ErrClosed after the end of the Follower.
func (f *Follower) Next(ctx context.Context) (Entry, error) {
	select {
	case entry := <-f.entries:
		return entry, nil
	default:
	}
	watchdog := time.NewTicker(f.stall)
	defer watchdog.Stop()
	for {
		select {
		case entry := <-f.entries:
			return entry, nil
		case <-ctx.Done():
			return Entry{}, ctx.Err()
		case <-f.ended:
			return Entry{}, fmt.Errorf("journal: follow: %w", os.ErrClosed)
		case <-watchdog.C:
			f.watch()
		}
	}
}

// Lost is how many entries vanished before they were read: the journal was
// vacuumed, or a part of it cannot be read.
func (f *Follower) Lost() uint64 { return f.lost.Load() }

// Close ends the child and waits for its end.
func (f *Follower) Close() error {
	f.end()
	<-f.ended
	return nil
}

// watch ends a child that hangs: files have changed since its last entry, and
// it had the time to read them. For files that change without an entry for us,
// it costs one more start of journalctl, once.
func (f *Follower) watch() {
	f.mu.Lock()
	defer f.mu.Unlock()
	change, slack := changed(f.watched), min(stallSlack, f.stall)
	switch {
	case f.child == nil, !change.After(f.received.Add(slack)),
		time.Since(change) < slack, !change.After(f.excused):
		return
	}
	f.excused = change
	f.child.kill(errors.New("no entry although the journal grew"))
}

// run keeps a child running until ctx ends.
func (f *Follower) run(ctx context.Context) {
	pause, failures := restartFirst, 0
	for ctx.Err() == nil {
		before := f.cursor
		err := f.read(ctx, failures > 0)
		if ctx.Err() != nil {
			return
		}
		if f.cursor != before {
			pause, failures = restartFirst, 0
		}
		if failures++; failures == 1 {
			f.options.Log.WithField("error", err).Warn("journalctl ended, starting it again")
		}
		if failures >= stuckStarts && unreadable(err) {
			f.skip = max(1, 2*f.skip)
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
		}
		pause = min(2*pause, restartMost)
	}
}

// unreadable tells whether journalctl ended because of what is in a file.
func unreadable(err error) bool {
	for _, text := range []string{"Bad message", "Structure needs cleaning", "Input/output error"} {
		if strings.Contains(err.Error(), text) {
			return true
		}
	}
	return false
}

// read hands on the entries of one child, until that ends. The error says why.
func (f *Follower) read(ctx context.Context, again bool) error {
	c, err := start(ctx, f.options.Binary, f.arguments())
	if err != nil {
		return err
	}
	f.setChild(c)
	defer f.setChild(nil)
	decoder := NewDecoder(c.output)
	for {
		entry, err := decoder.Decode()
		if err != nil {
			return c.wait(err)
		}
		if !f.account(entry) {
			continue
		}
		if again {
			again = false
			f.options.Log.Info("journalctl is back")
		}
		select {
		case f.entries <- entry:
		case <-ctx.Done():
			return c.wait(ctx.Err())
		}
	}
}

func (f *Follower) setChild(c *child) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.child, f.received = c, time.Now()
}

// account takes note of an entry, and tells whether it is a new one.
//
// The first entry of a child is mostly the last one of the child before:
// --after-cursor would leave it out, and, up to systemd 252 at least, another
// one in its place when it was vacuumed. So --cursor is asked for.
func (f *Follower) account(entry Entry) bool {
	position, err := ParseCursor(entry.Cursor)
	switch {
	case err != nil:
		return true // no journal writes such a one; better twice than never
	case !position.after(f.position):
		return false
	case f.position == Position{} && f.volatile():
		f.gaps.see(Position{SeqnumID: position.SeqnumID})
	}
	f.lost.Add(f.gaps.see(position))
	f.cursor, f.position, f.skip = entry.Cursor, position, 0
	f.mu.Lock()
	f.received = time.Now()
	f.mu.Unlock()
	return true
}

// volatile tells whether the journal lives on tmpfs only: then its numbers
// start at 1 with the boot, and a later first one means that some are gone.
func (f *Follower) volatile() bool {
	if f.options.Directory != "" || len(f.watched) != 2 {
		return false
	}
	_, err := os.Stat(f.watched[1])
	return errors.Is(err, os.ErrNotExist)
}

// arguments make journalctl write everything there is past f.cursor, and then
// what comes: --follow alone starts ten entries before the end. The boot is
// named, for --follow takes the one that journalctl itself sees, and in a
// sandbox within a container that is another.
func (f *Follower) arguments() []string {
	args := []string{"--output=export", "--follow", "--no-tail", "--all", "--no-pager", "--quiet"}
	if f.options.Directory != "" {
		args = append(args, "--directory="+f.options.Directory)
	}
	if f.cursor != "" {
		args = append(args, "--cursor="+f.from())
	}
	return append(args, "--boot="+f.options.Boot)
}

// from is the cursor of the last entry, or of one further on if journalctl does
// not come past that one.
func (f *Follower) from() string {
	if f.skip == 0 {
		return f.cursor
	}
	p := f.position
	p.Seqnum += 1 + f.skip
	return p.String()
}
