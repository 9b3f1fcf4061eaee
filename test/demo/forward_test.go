package demo_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// statusSocket is the endpoint on the node. Its other door, 127.0.0.1:2016, is
// in the node's own network.
const statusSocket = "/run/bootagent/status.sock"

// forward serves the node's status page at an address of this machine's
// loopback, and returns its URL.
func forward(t testing.TB) string {
	t.Helper()
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		root := nodeRoot()
		if root == "" {
			return nil, errors.New("node is off")
		}
		return new(net.Dialer).DialContext(ctx, "unix", root+statusSocket)
	}
	proxy := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", "node"
		},
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: readOnly(proxy), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	url := "http://" + listener.Addr().String() + "/"
	response, err := http.Get(url + "healthz")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		t.Errorf("status page: %s", response.Status)
	}
	return url
}

// readOnly lets nothing through that changes the node: it would arrive there
// as root's.
func readOnly(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			http.Error(w, "read-only", http.StatusMethodNotAllowed)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// nodeRoot is a path to the node's root directory: that of the first process
// below this one that has another root, which is the node's PID 1. It is empty
// when there is none.
func nodeRoot() string {
	ours, err := os.Stat("/")
	if err != nil {
		return ""
	}
	for _, pid := range descendants(os.Getpid()) {
		root := fmt.Sprintf("/proc/%d/root", pid)
		if info, err := os.Stat(root); err == nil && !os.SameFile(ours, info) {
			return root
		}
	}
	return ""
}

// descendants are the PIDs of everything below a process, parents first.
func descendants(pid int) []int {
	var pids []int
	tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	for _, task := range tasks {
		text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task.Name()))
		for field := range strings.FieldsSeq(string(text)) {
			if child, err := strconv.Atoi(field); err == nil {
				pids = append(append(pids, child), descendants(child)...)
			}
		}
	}
	return pids
}
