package agent

import (
	"net/http"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// metrics are the agent's own. All but the counts of requests are taken from
// the status at the moment of a scrape, so that nothing is kept twice.
type metrics struct {
	resident *resident
	registry *prometheus.Registry
	requests *prometheus.CounterVec
}

func newMetrics(r *resident) *metrics {
	m := &metrics{
		resident: r,
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "bootagent_sink_requests_total",
			Help: "Answers of log servers, by kind of sink and HTTP status code.",
		}, []string{"sink", "code"}),
	}
	m.registry.MustRegister(m, m.requests, collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func (m *metrics) handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{EnableOpenMetrics: true})
}

// instrument counts the answers that a sink gets.
func (m *metrics) instrument(sink string) func(http.RoundTripper) http.RoundTripper {
	counter := m.requests.MustCurryWith(prometheus.Labels{"sink": sink})
	return func(next http.RoundTripper) http.RoundTripper {
		return promhttp.InstrumentRoundTripperCounter(counter, next)
	}
}

// Describe implements [prometheus.Collector]: what there is depends on the
// node, and is found by collecting.
func (m *metrics) Describe(ch chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, ch) }

// Collect implements [prometheus.Collector].
func (m *metrics) Collect(ch chan<- prometheus.Metric) {
	s := m.resident.Status()
	gauge := func(value float64, name, help string, labels ...string) {
		ch <- constant(prometheus.GaugeValue, value, name, help, labels...)
	}
	gauge(1, "bootagent_build_info", "The agent itself; always 1.", "version", m.resident.Version)
	gauge(m.resident.receipt.Duration, "bootagent_boot_duration_seconds", "How long the boot took.")
	for _, step := range s.Steps {
		gauge(step.Duration, "bootagent_boot_step_duration_seconds", "How long a step of the boot took.", "step", step.Name)
	}
	for _, state := range []status.State{status.Booting, status.Ready, status.Degraded, status.Failed, status.Leaving} {
		gauge(is(s.State == state), "bootagent_state", "1 for the state of the node, 0 for the others.", "state", string(state))
	}
	for _, f := range s.Checks {
		gauge(1, "bootagent_check", "The verdict of a check; always 1.", "check", f.Name, "verdict", string(f.Verdict))
		if f.Name == (check.Root{}).Name() {
			gauge(is(f.Verdict == check.Pass), "bootagent_root_read_only", "1 if the root was found read-only.")
		}
	}
	if s.Config != nil {
		gauge(1, "bootagent_config_info", "The configuration; always 1.", "digest", s.Config.Digest)
	}
	if s.Registry != nil {
		gauge(is(s.Registry.State == "registered"), "bootagent_registered", "1 while the node is in the inventory.")
	}
	for _, l := range s.Logs {
		m.collectSink(ch, l)
	}
}

func (m *metrics) collectSink(ch chan<- prometheus.Metric, l status.Sink) {
	counter := func(value uint64, name, help string) {
		ch <- constant(prometheus.CounterValue, float64(value), name, help, "sink", l.Sink)
	}
	counter(l.Shipped, "bootagent_log_entries_shipped_total", "Entries of the journal that the sink has.")
	counter(l.Lost, "bootagent_log_entries_lost_total", "Entries that vanished from the journal before they were shipped.")
	counter(l.Rejected, "bootagent_log_entries_rejected_total", "Entries that the sink refused for good.")
	ch <- constant(prometheus.GaugeValue, l.Lag, "bootagent_log_lag_seconds", "Age of the oldest entry that the sink does not have.", "sink", l.Sink)
}

// constant is a metric with labels given as name and value in turn.
func constant(kind prometheus.ValueType, value float64, name, help string, labels ...string) prometheus.Metric {
	set := prometheus.Labels{}
	for i := 0; i+1 < len(labels); i += 2 {
		set[labels[i]] = labels[i+1]
	}
	return prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, nil, set), kind, value)
}

func is(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
