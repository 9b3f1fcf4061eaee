// Command bootagent is the agent of a node that is never changed after it has
// booted. Here are its verbs, a file each: they read flags, put the parts
// together and print. What they do is done in package agent and below.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/bootagent/bootagent/systemd"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// version is set by the linker.
var version = "dev"

// The exit codes that are the same for all verbs. 2 is never used: it is
// what a crashed Go program exits with.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 64
)

func main() { os.Exit(run(os.Args[1:], os.Stdout, os.Stderr)) }

// run is the program, and returns its exit code.
func run(args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	command := root()
	command.SetArgs(args)
	command.SetOut(stdout)
	command.SetErr(stderr)
	err := command.ExecuteContext(ctx)
	code, silent := errors.AsType[exit](err)
	switch {
	case err == nil:
		return exitOK
	case silent:
		return int(code)
	}
	if systemd.UnderJournal() {
		fmt.Fprint(stderr, "<3>") // an error, see sd-daemon(3)
	}
	fmt.Fprintln(stderr, "bootagent:", err)
	if _, ok := errors.AsType[failure](err); ok {
		return exitFailed
	}
	fmt.Fprintln(stderr, "See 'bootagent --help'.")
	return exitUsage
}

// exit ends the program with that code; all that is to be said was said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit %d", int(e)) }

// failure is an error of the work, not of the command line.
type failure struct{ error }

// verb makes the errors of a verb's work failures.
func verb(work func(command *cobra.Command) error) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, _ []string) error {
		err := work(command)
		if _, ok := errors.AsType[exit](err); ok || err == nil {
			return err
		}
		return failure{err}
	}
}

func root() *cobra.Command {
	command := &cobra.Command{
		Use:           "bootagent",
		Short:         "The agent of a node that is never changed after it has booted",
		SilenceErrors: true,
		SilenceUsage:  true, // no Args: cobra's own rule refuses verbs that are none, NoArgs prints the help
	}
	var configs []string
	command.PersistentFlags().StringArrayVar(&configs, "config", nil, "read this `file` in place of the installed ones")
	command.AddCommand(
		bootCommand(&configs), runCommand(&configs), upCommand(&configs),
		statusCommand(&configs), onlineCommand(&configs, true), onlineCommand(&configs, false),
		versionCommand(),
	)
	return command
}
