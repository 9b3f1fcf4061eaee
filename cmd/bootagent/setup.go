package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"

	"github.com/bootagent/bootagent/agent"
	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/systemd"
	"github.com/sirupsen/logrus"
)

// load reads the configuration as systemd and the command line left it.
func load(files []string) (config.Config, error) {
	named := len(files) > 0
	if !named {
		files = config.Files()
	}
	return config.Load(config.Origin{
		Files: files, Named: named, Credentials: credentials(), CommandLine: systemd.CommandLine(),
	})
}

// credentials are those that systemd gave to this unit.
func credentials() config.Credentials { return config.Folder(os.Getenv("CREDENTIALS_DIRECTORY")) }

// newAgent is the agent of this node. A configuration that is not to be had is
// its trouble, to be told as any other reason for a boot to fail.
func newAgent(files []string, stderr io.Writer) *agent.Agent {
	c, err := load(files)
	if err != nil {
		c = config.Default()
	}
	return &agent.Agent{
		Config: c, Trouble: err, Credentials: credentials(), Log: newLog(stderr), Version: version, Point: point(),
	}
}

// newLog is the one logger of the process: to the journal with its fields, if
// that is where standard error goes, else as text.
func newLog(stderr io.Writer) *logrus.Logger {
	log := logrus.New()
	log.SetOutput(stderr)
	if systemd.UnderJournal() {
		log.SetOutput(io.Discard)
		log.AddHook(systemd.JournalHook{})
	}
	return log
}

// socketPath is where the agent answers.
func socketPath(c config.Config) string {
	if c.Status.Socket != "" {
		return c.Status.Socket
	}
	return filepath.Join(c.Output.Directory, "status.sock")
}

// listen opens what systemd did not pass. An address that is taken is missed,
// and no reason not to start.
func listen(c config.Config, log *logrus.Logger) []net.Listener {
	listeners := systemd.Sockets()
	if len(listeners) == 0 {
		path := socketPath(c)
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			log.WithError(err).Warn("status socket")
		}
		listeners = appendListener(listeners, "unix", path, log)
		_ = os.Chmod(path, 0o666) // as bootagent.socket has it: everybody on the node may ask
	}
	if c.Status.Listen != "off" {
		listeners = appendListener(listeners, "tcp", c.Status.Listen, log)
	}
	return listeners
}

func appendListener(list []net.Listener, network, address string, log *logrus.Logger) []net.Listener {
	l, err := net.Listen(network, address) //nolint:noctx // A listen on this node does not wait.
	if err != nil {
		log.WithError(err).Warn("status address not open")
		return list
	}
	return append(list, l)
}
