package main

import (
	"context"
	_ "embed"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/output"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/systemd"
	"github.com/bootagent/bootagent/systemd/journal"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

// The embedded defaults: a configuration for a first look, and a document.
//
//go:embed default.yaml
var defaultConfig string

//go:embed default-document.yaml
var defaultDocument []byte

func upCommand(configs *[]string) *cobra.Command {
	var once bool
	command := &cobra.Command{
		Use:   "up",
		Short: "Boot and be the resident, in one process: for containers, laptops and other inits",
		Long: `Boot this node and be its resident, in one process, until it is told to stop;
then take back everything that was published.

Without --config, embedded defaults serve a first look: a folder of its own in
/dev/shm has the source of truth, the registry and the logs. No root is needed.`,
		Args: cobra.NoArgs,
	}
	command.Flags().BoolVar(&once, "exit-when-ready", false, "stop as soon as the node is ready")
	command.RunE = verb(func(command *cobra.Command) error {
		u := up{stdout: command.OutOrStdout(), stderr: command.ErrOrStderr(), once: once}
		defer u.clean()
		if err := u.prepare(*configs); err != nil {
			return err
		}
		return u.run(command.Context())
	})
	return command
}

// up is one run of the verb.
type up struct {
	stdout, stderr io.Writer
	once           bool

	folder string // all ours, with the embedded defaults; else empty
	booted bool   // by somebody else before: what is published is theirs
	agent  *agent.Agent
	place  agent.Place
}

// prepare makes the agent, on the given configuration or the embedded one.
func (u *up) prepare(configs []string) error {
	c, err := u.config(configs)
	if err != nil {
		return err
	}
	client := status.Client{Socket: socketPath(c)}
	if _, err := client.Status(context.Background()); err == nil {
		return fmt.Errorf("an agent is here already: it answers on %s", client.Socket)
	}
	u.booted = output.Target{Directory: c.Output.Directory}.Committed() != ""
	log := logrus.New()
	log.SetOutput(u.stderr)
	log.SetLevel(logrus.WarnLevel)
	u.agent = &agent.Agent{Config: c, Credentials: credentials(), Log: log, Version: version, Point: point()}
	u.place = agent.Place{Cursors: filepath.Join(c.Output.Directory, "agent"), Online: true}
	if !systemd.Booted() || !journal.Available("/") {
		u.place.Own = new(journal.Ring)
		log.SetLevel(logrus.InfoLevel)
		log.SetOutput(io.Discard)
		log.AddHook(ringHook{u.place.Own})
	}
	return nil
}

func (u *up) config(configs []string) (config.Config, error) {
	if len(configs) > 0 {
		return load(configs)
	}
	var err error
	if u.folder, err = os.MkdirTemp("/dev/shm", "bootagent-"); err != nil {
		return config.Config{}, fmt.Errorf("embedded defaults: %v", err)
	}
	truth := filepath.Join(u.folder, "truth")
	if err := os.Mkdir(truth, 0o755); err != nil {
		return config.Config{}, fmt.Errorf("embedded defaults: %v", err)
	}
	if err := os.WriteFile(filepath.Join(truth, "document.yaml"), defaultDocument, 0o644); err != nil {
		return config.Config{}, fmt.Errorf("embedded defaults: %v", err)
	}
	c := config.Default()
	text := strings.ReplaceAll(defaultConfig, "DIRECTORY", u.folder)
	return c, config.Decode("embedded defaults", []byte(text), &c)
}

// run boots, tells of it, and then is the resident.
func (u *up) run(ctx context.Context) error {
	directory := u.agent.Config.Output.Directory
	bootErr := u.agent.Boot(ctx)
	u.report(directory)
	if bootErr != nil {
		return bootErr
	}
	if err := os.MkdirAll(u.place.Cursors, 0o700); err != nil {
		return fmt.Errorf("agent's folder: %v", err)
	}
	u.place.Listeners = listen(u.agent.Config, u.agent.Log)
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	told := make(chan struct{})
	go func() {
		defer close(told)
		u.tell(ctx)
		if u.once {
			stop()
		}
	}()
	err := u.agent.Run(ctx, u.place)
	stop()
	<-told
	fmt.Fprintln(u.stdout, "stopped: deregistered, everything published is taken back")
	return err
}

// report prints the boot as a table, and what it wrote.
func (u *up) report(directory string) {
	receipt, err := status.ReadReceipt(directory)
	if err != nil {
		return
	}
	table := tabwriter.NewWriter(u.stdout, 0, 0, 2, ' ', 0)
	status.Steps(table, receipt.Steps)
	_ = table.Flush()
	status.Checks(table, receipt.Checks)
	_ = table.Flush()
	u.list("wrote", filepath.Join(directory, "config"))
	if len(receipt.Credentials) > 0 {
		u.list("wrote", u.agent.Config.Output.Credentials)
	}
}

// list prints the files of a folder with their permissions and sizes.
func (u *up) list(what, folder string) {
	_ = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return nil //nolint:nilerr // What cannot be seen is not listed.
		}
		if info, err := entry.Info(); err == nil {
			fmt.Fprintf(u.stdout, "%-10s%s %6d %s\n", what, info.Mode().Perm(), info.Size(), path)
		}
		return nil
	})
}

// tell waits for the node to be ready, and says so.
func (u *up) tell(ctx context.Context) {
	client := status.Client{Socket: socketPath(u.agent.Config)}
	waitFor(ctx, client, io.Discard)
	s, err := client.Status(ctx)
	if err != nil {
		return
	}
	fmt.Fprintln(u.stdout)
	_ = status.Text(u.stdout, s)
	if listen := u.agent.Config.Status.Listen; listen != "off" {
		fmt.Fprintf(u.stdout, "\nstatus: http://%s/ and curl --unix-socket %s http://node/status\n", listen, client.Socket)
	}
	if !u.once {
		fmt.Fprintln(u.stdout, "idle: press Ctrl-C to stop")
	}
}

// clean takes back what was published, and the folder if it is all ours.
func (u *up) clean() {
	if u.agent != nil && !u.booted {
		c := u.agent.Config.Output
		target := output.Target{Directory: c.Directory, Credentials: c.Credentials}
		if receipt, err := status.ReadReceipt(c.Directory); err == nil {
			target.Withdraw(receipt.Credentials)
			if receipt.State == status.Done { // which is not so any more
				_ = os.Remove(filepath.Join(c.Directory, "receipt.json"))
			}
		}
		_ = os.Remove(socketPath(u.agent.Config))
		_ = os.RemoveAll(u.place.Cursors)
	}
	if u.folder != "" {
		_ = os.RemoveAll(u.folder)
	}
}
