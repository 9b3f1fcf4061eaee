package rig

import (
	"context"
	"net/http"
	"os/exec"
	"testing"
	"time"
)

const (
	readyDeadline   = 30 * time.Second
	requestDeadline = 10 * time.Second
)

// A Server is a program that serves at an address until the test ends.
type Server struct {
	Address string // host:port

	t       testing.TB
	network *Network
	spec    ServerSpec
	process *process
}

// A ServerSpec says how a server is started, and how to see that it serves.
type ServerSpec struct {
	Command func(address string) *exec.Cmd // a new one for each start
	Ready   func(address string) bool      // makes a real request
}

// Serve starts a server at a free address of the network and waits until it
// is ready. On loopback another process may take the port meanwhile: a server
// that ends at once is started again elsewhere.
func Serve(t testing.TB, network *Network, spec ServerSpec) *Server {
	t.Helper()
	const attempts = 3
	s := &Server{t: t, network: network, spec: spec}
	for attempt := 1; ; attempt++ {
		var err error
		s.Address, err = network.freeAddress()
		must(t, err)
		if s.start() {
			return s
		}
		if attempt == attempts || s.process.alive() {
			t.Fatalf("rig: %s: not ready: %s", s.process.cmd.Path, s.process.tail())
		}
	}
}

// start starts the server at its address and says whether it is ready.
func (s *Server) start() bool {
	s.t.Helper()
	s.process = start(s.t, s.network.namespace(), s.spec.Command(s.Address))
	ready := poll(readyDeadline, func() bool { return s.spec.Ready(s.Address) || !s.process.alive() })
	return ready && s.process.alive()
}

// Stop kills the server, as a crash would. Its data stay for Restart.
func (s *Server) Stop() { s.process.kill() }

// Restart starts a stopped server again, at the same address.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if !s.start() {
		s.t.Fatalf("rig: %s: not ready again: %s", s.process.cmd.Path, s.process.tail())
	}
}

// answers makes a check that is true when the path, on the server at an
// address, gives any HTTP answer within a second.
func answers(client *http.Client, path string) func(address string) bool {
	return func(address string) bool {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			return false
		}
		response, err := client.Do(request)
		if err != nil {
			return false
		}
		response.Body.Close()
		return true
	}
}
