package main

import (
	"cmp"
	"os"
	"path/filepath"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/systemd"
	"github.com/bootagent/bootagent/systemd/journal"
	"github.com/spf13/cobra"
)

func runCommand(configs *[]string) *cobra.Command {
	var exitWhenFailed bool
	command := &cobra.Command{
		Use:   "run",
		Short: "Be the resident of this node, until it stops: unprivileged",
		Long: `Take over from the boot, whether it went well or not: ship the journal, keep the
node registered, and answer about its status.

On SIGTERM it leaves the registry, ships the last of the journal, and exits.`,
		Args: cobra.NoArgs,
	}
	command.Flags().BoolVar(&exitWhenFailed, "exit-when-failed", false,
		"after a failed boot, ship its log and exit 1: for a unit with a FailureAction")
	command.RunE = verb(func(command *cobra.Command) error {
		a := newAgent(*configs, command.ErrOrStderr())
		place := agent.Place{
			Cursors:        cmp.Or(os.Getenv("RUNTIME_DIRECTORY"), filepath.Join(a.Config.Output.Directory, "agent")),
			Listeners:      listen(a.Config, a.Log),
			Unit:           "bootagent.service",
			ExitWhenFailed: exitWhenFailed,
		}
		if !systemd.Booted() {
			place.Own = new(journal.Ring)
			a.Log.AddHook(ringHook{place.Own})
		}
		return a.Run(command.Context(), place)
	})
	return command
}
