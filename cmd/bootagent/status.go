package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/spf13/cobra"
)

// The exit codes of the status.
const (
	exitDegraded = 3
	exitUnknown  = 4
	exitBooting  = 5
)

func statusCommand(configs *[]string) *cobra.Command {
	var wait bool
	var timeout time.Duration
	var format string
	command := &cobra.Command{
		Use:   "status",
		Short: "Tell how this node is",
		Long: `Ask the agent how this node is or, when it is not there, read the receipt of
the boot.

Exits 0 when the node is ready, 1 when it has failed, 3 when it is degraded or
leaving, 4 when nothing is known of this boot, 5 while it is booting.`,
		Args: cobra.NoArgs,
	}
	command.Flags().BoolVar(&wait, "wait", false, "wait until the node is ready or has failed")
	command.Flags().DurationVar(&timeout, "timeout", 5*time.Minute, "how long to wait at most")
	command.Flags().StringVarP(&format, "output", "o", "text", "text or json")
	command.RunE = func(command *cobra.Command, args []string) error {
		if format != "text" && format != "json" {
			return fmt.Errorf("--output %s: want text or json", format)
		}
		return verb(func(command *cobra.Command) error {
			ctx := command.Context()
			client, err := newClient(*configs)
			if err != nil {
				return err
			}
			if wait {
				timed, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				waitFor(timed, client, command.ErrOrStderr())
			}
			s, err := client.Ask(ctx)
			err = show(command.OutOrStdout(), s, err, format)
			if _, told := errors.AsType[exit](err); wait && told && s.State != status.Failed {
				return exit(exitBooting) // out of time
			}
			return err
		})(command, args)
	}
	return command
}

// newClient knows where to ask. Without a configuration that can be read, and
// that nobody named, the agent is where it is by default.
func newClient(configs []string) (status.Client, error) {
	c, err := load(configs)
	if err != nil && len(configs) > 0 {
		return status.Client{}, err
	} else if err != nil {
		c = config.Default()
	}
	return status.Client{
		Socket: socketPath(c), Directories: []string{c.Output.Directory, config.Default().Output.Directory},
	}, nil
}

// show prints a status, and says it by the exit code, too.
func show(w io.Writer, s status.Status, err error, format string) error {
	unknown := errors.Is(err, status.ErrNoReceipt)
	if unknown {
		s = status.Nothing(err)
	} else if err != nil {
		return err
	}
	if format == "json" {
		encoder := json.NewEncoder(w)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(s)
	} else {
		err = status.Text(w, s)
	}
	if err != nil {
		return err
	}
	if unknown {
		return exit(exitUnknown)
	}
	return code(s.State)
}

func code(state status.State) error {
	switch state {
	case status.Ready:
		return nil
	case status.Failed:
		return exit(exitFailed)
	case status.Booting:
		return exit(exitBooting)
	}
	return exit(exitDegraded)
}

// waitFor asks until the node is ready or has failed, or ctx ends, and tells
// what changes. Between two questions it sleeps: the agent may not be there to
// be woken by.
func waitFor(ctx context.Context, client status.Client, w io.Writer) {
	look := time.NewTicker(200 * time.Millisecond)
	defer look.Stop()
	told := map[string]string{}
	for {
		s, err := client.Ask(ctx)
		tell(w, told, s)
		if err == nil && (s.State == status.Ready || s.State == status.Failed) {
			return
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
	}
}

// tell prints a line for each step whose state has changed.
func tell(w io.Writer, told map[string]string, s status.Status) {
	for _, step := range s.Steps {
		line := fmt.Sprintf("%s %s %s", step.Name, step.State, step.Error)
		if step.State != status.StepPending && told[step.Name] != line {
			told[step.Name] = line
			fmt.Fprintf(w, "%-9s %-8s %8.1f ms  %s\n", step.Name, step.State, step.Duration*1000, step.Error)
		}
	}
}
