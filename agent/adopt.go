package agent

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/document"
	"github.com/bootagent/bootagent/agent/facts"
	"github.com/bootagent/bootagent/agent/files"
	"github.com/bootagent/bootagent/agent/output"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/sinks"
	"github.com/bootagent/bootagent/systemd/journal"
)

// adopt takes over from the boot. A boot that failed, or of which nothing is
// known, is taken over too: somebody has to tell of it.
func (a *Agent) adopt(place Place) (*resident, error) {
	r := &resident{Agent: a, place: place, config: a.Config, since: map[string]status.Condition{}}
	f, err := facts.Read(a.root())
	if err != nil {
		return nil, err
	}
	if err := r.readReceipt(); err != nil {
		a.Log.WithField("message_id", messageAdopted).WithError(err).Warn("no receipt adopted")
	}
	if err := r.configure(f); err != nil {
		return nil, err
	}
	r.online = place.Online && r.receipt.State == status.Done || r.wasOnline()
	r.metrics = newMetrics(r)
	r.openSinks()
	if r.config.Registry.Set() && r.receipt.Node.ID != "" {
		r.holder = newHolder(r)
	}
	return r, nil
}

// readReceipt reads what the boot left. It is on tmpfs, and so of this start of
// the kernel. Whether the boot is done is what config/.boot says.
func (r *resident) readReceipt() error {
	directory := r.Config.Output.Directory
	receipt, err := status.ReadReceipt(receiptDirectory(directory))
	if err != nil {
		r.receipt = status.Receipt{Version: 1, State: status.Failed, Error: nothingKnown(directory, err).Error()}
		return err
	}
	r.receipt, r.known = *receipt, true
	if !r.current(receipt.Key) {
		r.receipt.State, r.receipt.Error = status.Failed, "the boot did not run: the receipt is of an earlier one"
		return nil
	}
	done := receipt.Key != "" && output.Target{Directory: directory}.Committed() == receipt.Key
	switch {
	case done:
		r.receipt.State, r.receipt.Error = status.Done, ""
	case receipt.State != status.Failed:
		r.receipt.State, r.receipt.Error = status.Failed, "the boot was killed"+during(receipt)
	}
	return nil
}

// current tells whether a receipt's key is of this boot, as far as systemd says
// so: a soft-reboot leaves /run as it was, and its boot may have died before it
// wrote anything.
func (r *resident) current(key string) bool {
	_, begun, _ := strings.Cut(key, ".")
	if begun == "" || r.place.Unit == "" {
		return true
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	manager := r.manager(ctx)
	defer manager.Close()
	now, err := manager.UserspaceStart()
	return err != nil || now == begun
}

// nothingKnown says why there is no receipt: there may have been no place
// where one could be written.
func nothingKnown(directory string, err error) error {
	if volatile := output.Volatile(directory); volatile != nil {
		return fmt.Errorf("check: output: %v", volatile)
	}
	return err
}

// during names the step that a boot was in.
func during(receipt *status.Receipt) string {
	for _, s := range receipt.Steps {
		if s.State == status.StepRunning {
			return " during " + s.Name
		}
	}
	return ""
}

// configure lays what the document set over the image's own configuration.
func (r *resident) configure(f facts.Facts) error {
	if r.receipt.State == status.Done {
		settings, err := readSettings(r.config.Output.Directory)
		if err != nil {
			return err
		}
		r.config = r.config.With(settings)
	}
	if err := r.config.Expand(f); err != nil {
		if r.receipt.State == status.Done {
			return err
		}
		r.Log.WithError(err).Warn("configuration incomplete") // which is why the boot failed
		return nil
	}
	if !r.known {
		r.receipt.Node = describe(f, r.config)
	}
	return nil
}

// readSettings reads what the document set of the agent, as it was published.
func readSettings(directory string) (settings config.Agent, err error) {
	root, err := os.OpenRoot(directory)
	if err != nil {
		return settings, fmt.Errorf("published configuration: %v", err)
	}
	defer root.Close()
	text, err := files.Read(root, "config/agent.json", 8*document.MaxSize)
	if err == nil {
		err = json.Unmarshal(text, &settings)
	}
	if err != nil {
		return settings, fmt.Errorf("published configuration: agent.json: %v", err)
	}
	return settings, nil
}

// openSinks prepares a shipper for each sink, with its cursor.
func (r *resident) openSinks() {
	for _, c := range r.config.Logs {
		sink := r.sink(c, r.metrics.instrument(sinkName(c)))
		r.shippers = append(r.shippers, &sinks.Shipper{
			Sink: sink, Open: r.openJournal, Log: r.Log, Notice: r.announce,
			CursorFile: filepath.Join(r.place.Cursors, "cursor-"+digest(sink.String())),
		})
	}
}

func sinkName(c config.Sink) string {
	if c.File != nil {
		return "file"
	}
	return "journal_upload"
}

// digest is a file name for a text.
func digest(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

// openJournal opens the journal of this boot, or the agent's own entries. Which
// boot it is was seen by the boot: in a container, the resident's sandbox may
// show it the boot id of the kernel in place of the container's own.
func (r *resident) openJournal(ctx context.Context, after string) (sinks.Reader, error) {
	if r.place.Own != nil {
		return r.place.Own.Follow(after), nil
	}
	return journal.Follow(ctx, journal.FollowOptions{After: after, Boot: r.receipt.Node.BootID, Log: r.Log})
}

// onlineFile remembers over a restart that the node is in rotation. It holds
// the key of the boot in which that was said.
const onlineFile = "online"

func (r *resident) wasOnline() bool {
	root, err := os.OpenRoot(r.place.Cursors)
	if err != nil {
		return false
	}
	defer root.Close()
	key, err := files.Read(root, onlineFile, 256)
	return err == nil && r.known && string(key) == r.receipt.Key && r.receipt.State == status.Done
}

// rememberOnline writes it down, or removes it.
func (r *resident) rememberOnline() {
	root, err := os.OpenRoot(r.place.Cursors)
	if err != nil {
		return
	}
	defer root.Close()
	r.mu.Lock()
	online := r.online
	r.mu.Unlock()
	if online {
		err = files.Replace(root, onlineFile, []byte(r.receipt.Key), 0o600)
	} else if err = root.Remove(onlineFile); errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	if err != nil {
		r.Log.WithError(err).Warn("rotation not remembered")
	}
}
