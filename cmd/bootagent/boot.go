package main

import (
	"github.com/spf13/cobra"
)

func bootCommand(configs *[]string) *cobra.Command {
	return &cobra.Command{
		Use:   "boot",
		Short: "Boot this node: once, as root",
		Long: `Boot this node: find out who it is, check that it is immutable, fetch its
configuration, claim its name, and publish the configuration under /run.

If this was done before in this boot, nothing happens.
Exits 0 when the boot is done, 1 when it failed; the receipt says why.`,
		Args: cobra.NoArgs,
		RunE: verb(func(command *cobra.Command) error {
			a := newAgent(*configs, command.ErrOrStderr())
			if a.Boot(command.Context()) != nil {
				return exit(exitFailed) // it was logged
			}
			return nil
		}),
	}
}
