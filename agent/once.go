package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/bootagent/bootagent/agent/facts"
	"github.com/bootagent/bootagent/agent/output"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/systemd"
)

// runDirectory is where the receipt goes when the output directory will not
// do: the node must be able to say so.
const runDirectory = "/run/bootagent"

// begin prepares a boot: which boot of the node is this, was it done before,
// what is left of an earlier one.
func (a *Agent) begin(ctx context.Context) (*boot, error) {
	key, err := a.onceKey(ctx)
	if err != nil {
		return nil, err
	}
	b := &boot{
		Agent:  a,
		key:    key,
		config: a.Config,
		target: output.Target{
			Directory: a.Config.Output.Directory, Credentials: a.Config.Output.Credentials,
			Baked: a.bakedStores(), Progress: a.point,
		},
		recorder: &recorder{log: a.Log, directory: receiptDirectory(a.Config.Output.Directory), point: a.point, started: time.Now()},
	}
	if b.done() {
		b.repair()
		return b, nil
	}
	b.clear()
	b.receipt = status.Receipt{
		Version: 1, Agent: a.Version, Key: key, State: status.Booting, Started: b.started,
		Node: status.Node{Addresses: []string{}}, Credentials: b.ours,
	}
	for _, name := range []string{"identify", "check", "fetch", "claim", "write"} {
		b.receipt.Steps = append(b.receipt.Steps, status.Step{Name: name, State: status.StepPending})
	}
	a.Notify.Extend(time.Duration(b.config.Boot.Deadline) + 10*time.Second)
	return b, b.makeDirectory()
}

// bakedStores are the image's own credential stores, see systemd.exec(5): a
// document must not take the names in them.
func (a *Agent) bakedStores() []string {
	var stores []string
	for _, store := range []string{"etc/credstore", "etc/credstore.encrypted", "usr/lib/credstore", "usr/lib/credstore.encrypted"} {
		stores = append(stores, filepath.Join(a.root(), store))
	}
	return stores
}

// unable logs why a boot could not even begin.
func (a *Agent) unable(err error) error {
	a.Log.WithField("message_id", messageBootFailed).WithError(err).Error("boot failed")
	return err
}

// onceKey tells this boot from every other: the kernel's boot id, and when
// PID 1 began its work, which a soft-reboot does anew. Only root may ask for
// that; for others the boot id must do.
func (a *Agent) onceKey(ctx context.Context) (string, error) {
	f, err := facts.Read(a.root())
	if err != nil {
		return "", err
	}
	if f.BootID == "" {
		return "", errors.New("identify: no boot id: nothing tells this boot from the last one")
	}
	if os.Geteuid() != 0 {
		return f.BootID, nil
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	usec, err := systemd.UserspaceStart(ctx)
	if err != nil {
		return "", err
	}
	if usec == "" {
		return f.BootID, nil
	}
	return f.BootID + "." + usec, nil
}

// done tells whether this boot has published its configuration. Nothing else
// decides that: a receipt may be older than what happened.
func (b *boot) done() bool { return b.key != "" && b.target.Committed() == b.key }

// repair finishes the receipt of a boot that was done, and killed before it
// could say so.
func (b *boot) repair() {
	old, err := status.ReadReceipt(b.directory)
	if err != nil || old.State == status.Done {
		return
	}
	old.State, old.Error = status.Done, ""
	for i := range old.Steps {
		old.Steps[i].State, old.Steps[i].Error = status.StepDone, ""
	}
	if err := old.Write(b.directory); err != nil {
		b.Log.WithError(err).Warn("receipt left unfinished")
	}
}

// clear withdraws what an earlier boot published, or an earlier attempt at
// this one began to. Where its credentials are is in its receipt; one that
// cannot be removed stays ours.
func (b *boot) clear() {
	if output.Volatile(b.config.Output.Directory) != nil {
		return // nothing of ours is there
	}
	if old, err := status.ReadReceipt(b.directory); err == nil {
		b.ours = old.Credentials
	}
	b.target.Withdraw(b.ours)
	b.ours = slices.DeleteFunc(b.ours, func(name string) bool {
		_, err := os.Lstat(filepath.Join(b.target.Credentials, name))
		return errors.Is(err, os.ErrNotExist)
	})
}

// makeDirectory makes the folder for the receipt, which is the output
// directory unless that is on a disk. The check says so in its turn.
func (b *boot) makeDirectory() error {
	if b.directory == "" {
		return nil
	}
	if err := os.Mkdir(b.directory, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("output directory: %v", err)
	}
	return nil
}

// receiptDirectory is the folder of the receipt: the output directory, or the
// usual place where that is on a disk, or none.
func receiptDirectory(directory string) string {
	for _, dir := range []string{directory, runDirectory} {
		if output.Volatile(dir) == nil {
			return dir
		}
	}
	return ""
}
