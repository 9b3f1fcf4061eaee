package bench_test

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"
)

// table is what is printed: sections of figures.
type table struct{ lines []string }

func (r *table) section(title string) {
	r.lines = append(r.lines, "", title)
}

func (r *table) row(name, unit string, values []float64, target string) {
	median, p90 := fmt.Sprintf("%.1f %s", quantile(values, 0.5), unit), ""
	if len(values) > 1 {
		p90 = fmt.Sprintf("%.1f %s", quantile(values, 0.9), unit)
	}
	line := fmt.Sprintf("  %-48s %10s %10s %4d   %s", name, median, p90, len(values), target)
	r.lines = append(r.lines, strings.TrimRight(line, " "))
}

// numbers adds a figure that has no target.
func (r *table) numbers(name, unit string, values []float64) {
	r.row(name, unit, values, "")
}

// times adds a figure that is a duration. It has no target if that is zero;
// else its median is to be no longer.
func (r *table) times(name string, target time.Duration, durations []time.Duration) {
	values, verdict := collect(durations, ms), ""
	if target > 0 {
		verdict = fmt.Sprintf("≤ %.0f ms: met", ms(target))
		if quantile(values, 0.5) > ms(target) {
			verdict = fmt.Sprintf("≤ %.0f ms: MISSED", ms(target))
		}
	}
	r.row(name, "ms", values, verdict)
}

func (r *table) print(w io.Writer, machine string) {
	fmt.Fprintf(w, "\n%s\n\n%61s %10s %4s   %s\n", machine, "median", "p90", "n", "target")
	for _, line := range r.lines {
		fmt.Fprintln(w, line)
	}
	fmt.Fprintln(w)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile is the smallest value that this part of the values does not exceed.
// The median of an even number of them is in the middle of the middle two.
func quantile(values []float64, part float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if part == 0.5 && n%2 == 0 {
		return (sorted[n/2-1] + sorted[n/2]) / 2
	}
	return sorted[int(math.Ceil(part*float64(n)))-1]
}

// collect takes one thing of each.
func collect[T, V any](list []T, get func(T) V) []V {
	values := make([]V, len(list))
	for i, item := range list {
		values[i] = get(item)
	}
	return values
}

// pairs are the sums (sign +1) or differences (-1) of values that belong
// together.
func pairs(a []time.Duration, sign time.Duration, b []time.Duration) []time.Duration {
	values := make([]time.Duration, len(a))
	for i := range a {
		values[i] = a[i] + sign*b[i]
	}
	return values
}

// machine says where the figures come from.
func machine(t *testing.T, m *machineUnderTest) string {
	t.Helper()
	model := "unknown"
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		t.Fatal(err)
	}
	if _, after, found := strings.Cut(string(info), "model name"); found {
		line, _, _ := strings.Cut(after, "\n")
		model = strings.Trim(line, " \t:")
	}
	systemd, _, _ := strings.Cut(m.MustRun("systemctl", "--version"), "\n")
	return fmt.Sprintf("%s, %d cores, Linux %s, %s, %s", model, runtime.NumCPU(),
		strings.TrimSpace(m.MustRun("uname", "-r")), systemd, runtime.Version())
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		values []float64
		part   float64
		want   float64
	}{
		{[]float64{7}, 0.5, 7},
		{[]float64{7}, 0.9, 7},
		{[]float64{3, 1, 2}, 0.5, 2},
		{[]float64{4, 2, 8, 1}, 0.5, 3},
		{[]float64{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.9, 9},
		{[]float64{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.9, 10},
	} {
		if got := quantile(test.values, test.part); got != test.want {
			t.Errorf("quantile(%v, %v) = %v, want %v", test.values, test.part, got, test.want)
		}
	}
}
