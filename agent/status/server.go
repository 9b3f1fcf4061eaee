package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of a connection to the endpoint: it is open to everybody on the node.
const (
	requestTime = 5 * time.Second
	idleTime    = time.Minute
	maxHeader   = 8 << 10
)

// Agent is whom the endpoint speaks for.
type Agent interface {
	// Status is how the node is at this moment.
	Status() Status

	// Receipt is the receipt of the boot, nil if there is none.
	Receipt() *Receipt

	// Online puts the node in rotation, or takes it out. It returns when the
	// registry knows, or why it does not.
	Online(ctx context.Context, online bool) error
}

// Server is the endpoint, on a unix socket and on a loopback address.
type Server struct {
	Agent   Agent
	Metrics http.Handler // nil: there are none
}

// Serve answers on the listeners until ctx ends.
func (s Server) Serve(ctx context.Context, listeners ...net.Listener) error {
	server := &http.Server{
		Handler:           s.handler(),
		ReadHeaderTimeout: requestTime,
		ReadTimeout:       requestTime,
		WriteTimeout:      2 * requestTime,
		IdleTimeout:       idleTime,
		MaxHeaderBytes:    maxHeader,
		ConnContext:       withPeer,
	}
	var serving sync.WaitGroup
	ended := make(chan error, len(listeners))
	for _, l := range listeners {
		serving.Go(func() { ended <- server.Serve(limit(l, maxConnections)) })
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-ended:
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTime)
	defer cancel()
	if shutErr := server.Shutdown(last); shutErr != nil {
		_ = server.Close()
	}
	serving.Wait() // so that every listener is closed
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// handler is the table of what is answered.
func (s Server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) { answer(w, s.Agent.Status()) })
	mux.HandleFunc("GET /receipt", s.receipt)
	mux.HandleFunc("GET /healthz", s.health)
	mux.HandleFunc("GET /readyz", s.health)
	if s.Metrics != nil {
		mux.Handle("GET /metrics", s.Metrics)
	}
	mux.HandleFunc("POST /online", func(w http.ResponseWriter, r *http.Request) { s.online(w, r, true) })
	mux.HandleFunc("POST /offline", func(w http.ResponseWriter, r *http.Request) { s.online(w, r, false) })
	return ownHost(mux)
}

// page is the status for people who have a browser or curl.
func (s Server) page(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_ = Text(w, s.Agent.Status())
}

func (s Server) receipt(w http.ResponseWriter, _ *http.Request) {
	receipt := s.Agent.Receipt()
	if receipt == nil {
		http.Error(w, ErrNoReceipt.Error(), http.StatusNotFound)
		return
	}
	answer(w, receipt)
}

// health is 200 for a node that may have traffic, and else 503.
func (s Server) health(w http.ResponseWriter, _ *http.Request) {
	state := s.Agent.Status().State
	if state != Ready && state != Degraded {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, state)
}

// online serves root on this node only, by the unix socket.
func (s Server) online(w http.ResponseWriter, r *http.Request, online bool) {
	if uid, ok := peer(r.Context()); !ok || uid != 0 {
		http.Error(w, "for root only, by the unix socket", http.StatusForbidden)
		return
	}
	if err := s.Agent.Online(r.Context(), online); err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(w, s.Agent.Status().State)
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	_ = encoder.Encode(v)
}

// ownHost refuses requests by TCP that are meant for another host: a browser
// on this node may have been told that a foreign name is 127.0.0.1.
func ownHost(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		local, _ := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
		if local != nil && local.Network() == "tcp" && !isLoopback(r.Host) {
			http.Error(w, "not this host's name", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func isLoopback(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
	return strings.EqualFold(host, "localhost") || err == nil && addr.IsLoopback()
}

type peerKey struct{}

// withPeer remembers who is at the other end of a unix socket.
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(*counted); ok {
		conn = c.Conn
	}
	unixConn, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := unixConn.SyscallConn()
	if err != nil {
		return ctx
	}
	_ = raw.Control(func(fd uintptr) {
		if cred, err := unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED); err == nil {
			ctx = context.WithValue(ctx, peerKey{}, int(cred.Uid))
		}
	})
	return ctx
}

func peer(ctx context.Context) (uid int, ok bool) {
	uid, ok = ctx.Value(peerKey{}).(int)
	return uid, ok
}
