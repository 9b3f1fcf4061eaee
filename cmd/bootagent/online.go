package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

func onlineCommand(configs *[]string, online bool) *cobra.Command {
	command := &cobra.Command{
		Use:   "online",
		Short: "Put this node in rotation: root only",
		Args:  cobra.NoArgs,
	}
	if !online {
		command.Use, command.Short = "offline", "Take this node out of rotation: root only"
	}
	command.RunE = verb(func(command *cobra.Command) error {
		client, err := newClient(*configs)
		if err != nil {
			return err
		}
		state, err := client.Online(command.Context(), online)
		if err != nil {
			return err
		}
		fmt.Fprintln(command.OutOrStdout(), state)
		return nil
	})
	return command
}
