package agent

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/sinks"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// fixed is a resident of which all is known.
func fixed() *resident {
	r := &resident{Agent: &Agent{Version: "1.2.3"}, online: true, known: true, since: map[string]status.Condition{}}
	r.receipt = status.Receipt{
		State: status.Done, Started: time.Unix(1, 0), Duration: 1.25,
		Node:   status.Node{ID: "i-1", Name: "web-1"},
		Checks: []check.Finding{{Name: "root", Verdict: check.Warn, Message: "rw"}, {Name: "output", Verdict: check.Pass}},
		Config: &status.Config{Digest: "sha256:0123"},
		Steps:  []status.Step{{Name: "identify", State: status.StepDone, Duration: 0.25}, {Name: "fetch", State: status.StepDone, Duration: 1}},
	}
	r.holder = &holder{status: status.Registry{Backend: "b", State: "registered"}}
	r.shippers = []*sinks.Shipper{{Sink: &sinks.File{Path: "/log"}}}
	r.metrics = newMetrics(r)
	return r
}

func TestMetrics(t *testing.T) {
	r := fixed()
	for _, code := range []int{200, 200, 503} {
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }))
		client := &http.Client{Transport: r.metrics.instrument("journal_upload")(server.Client().Transport)}
		response, err := client.Get(server.URL)
		ok(t, err)
		response.Body.Close()
		server.Close()
	}
	problems, err := testutil.GatherAndLint(r.metrics.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	answer := httptest.NewRecorder()
	promhttp.HandlerFor(r.metrics.registry, promhttp.HandlerOpts{}).ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/", nil))
	golden(t, "metrics.golden", ours(answer.Body.Bytes()))
	for _, name := range []string{"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} {
		if !bytes.Contains(answer.Body.Bytes(), []byte("\n"+name+" ")) {
			t.Errorf("no %s", name)
		}
	}
}

// ours are the lines of the agent's own metrics.
func ours(text []byte) []byte {
	lines := strings.SplitAfter(string(text), "\n")
	return []byte(strings.Join(slices.DeleteFunc(lines, func(l string) bool { return !strings.Contains(l, "bootagent_") }), ""))
}

// TestMetricsFollow the status.
func TestMetricsFollow(t *testing.T) {
	r := fixed()
	want := func(name, value string) {
		t.Helper()
		if err := testutil.GatherAndCompare(r.metrics.registry, strings.NewReader(value), name); err != nil {
			t.Error(err)
		}
	}
	const registered = "# HELP bootagent_registered 1 while the node is in the inventory.\n# TYPE bootagent_registered gauge\nbootagent_registered "
	want("bootagent_registered", registered+"1\n")
	r.holder.changed, r.holder.notice = make(chan struct{}), func() {}
	r.holder.log, _ = logtest.NewNullLogger()
	r.holder.trouble("lost", errors.New("gone"))
	want("bootagent_registered", registered+"0\n")
	r.receipt.Checks[0].Verdict = check.Pass
	want("bootagent_root_read_only", "# HELP bootagent_root_read_only 1 if the root was found read-only.\n# TYPE bootagent_root_read_only gauge\nbootagent_root_read_only 1\n")
}

// TestMetricsOfNothing is what a resident has to say of which nothing is known.
func TestMetricsOfNothing(t *testing.T) {
	m := newNode(t)
	m.Config.Registry.File = nil
	r, err := m.adopt(m.place())
	ok(t, err)
	problems, err := testutil.GatherAndLint(r.metrics.registry)
	if err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	n, err := testutil.GatherAndCount(r.metrics.registry, "bootagent_registered", "bootagent_config_info", "bootagent_check", "bootagent_root_read_only")
	if err != nil || n != 0 {
		t.Errorf("%d, %v", n, err)
	}
}
