// Package agent is the agent of one node: two short programs, with nothing
// between them but the receipt of the boot.
//
// [Agent.Boot] runs once, as root, and is then gone:
//
//	identify  facts: machine, image, cloud, network
//	check     is this node immutable, as PID 1 sees it
//	fetch     every source of truth, in parallel, merged in order into one document
//	claim     a name from the registry, when the name asks for an ordinal
//	write     credentials, then the configuration by one rename: the commit
//
// [Agent.Run] runs unprivileged until the node stops:
//
//	adopt     identity, name and configuration, from the receipt
//	ship      this boot's journal, from its first entry, to every log sink
//	register  the node in the inventory, and keep it there
//	serve     its status, on a unix socket and on loopback
//	leave     when told to stop: the registry first, then the last of the logs
//
// Whatever is particular to one system, a source, a registry, a sink, a check,
// lives in the packages below, which do not know this one.
package agent

import (
	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/systemd"
	"github.com/sirupsen/logrus"
)

// Agent is the agent of the node that it runs on.
type Agent struct {
	Config      config.Config      // as loaded; its ${…} are still in it
	Trouble     error              // why there is no configuration; Config is the default then
	Credentials config.Credentials // of this process; nil: none
	Log         *logrus.Logger
	Version     string
	Notify      systemd.Notifier

	// Root is where the node's files are, "/" if empty; tests make one up.
	Root string

	// Point, if not nil, is called at each point of a boot where a crash would
	// leave something else behind than at the one before.
	Point func(name string)
}

// The MESSAGE_ID of what is logged, see systemd.journal-fields(7). They never
// change: alerts hang on them.
const (
	messageBootStep   = "cab7113517154f3e95e27908387a6f57"
	messageBootWaits  = "3bdf139610f840f4acc194a235a47aca"
	messageBootDone   = "e3751189343d4429964df53ad0d947c4"
	messageBootFailed = "fbc0ba2b6ce8498395736d402968ab9e"
	messageAdopted    = "a51e3465fa284bafb504c4179d02d30d"
	messageState      = "8568b42f044347f1975140de72c8cb56"
	messageRegistry   = "2b255d52938a41ddbe3127778dc179f4"
	messageLeaving    = "848c20cd6c7b496082b79d9847e17bca"
)

func (a *Agent) root() string {
	if a.Root == "" {
		return "/"
	}
	return a.Root
}

func (a *Agent) point(name string) {
	if a.Point != nil {
		a.Point(name)
	}
}
