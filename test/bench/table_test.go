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
	"text/tabwriter"
	"time"
)

// table is what is printed: sections of figures.
type table struct{ lines []string }

func (r *table) section(title string) {
	r.lines = append(r.lines, "", title)
}

// times adds a figure that was measured several times. It has no target if
// that is zero.
func (r *table) times(name string, target time.Duration, values []time.Duration) {
	median, verdict := quantile(values, 0.5), ""
	if target > 0 {
		verdict = fmt.Sprintf("≤ %.0f ms\tmet", ms(target))
		if median > target {
			verdict = fmt.Sprintf("≤ %.0f ms\tMISSED", ms(target))
		}
	}
	r.lines = append(r.lines, fmt.Sprintf("  %s\t%.1f ms\t%.1f ms\t%d\t%s", name, ms(median), ms(quantile(values, 0.9)), len(values), verdict))
}

// one adds a figure that was measured once.
func (r *table) one(name, unit string, value float64) {
	number := fmt.Sprintf("%.1f", value)
	if value == math.Trunc(value) {
		number = fmt.Sprintf("%.0f", value)
	}
	r.lines = append(r.lines, strings.TrimRight(fmt.Sprintf("  %s\t%s %s", name, number, unit), " ")+"\t\t1\t")
}

func (r *table) print(w io.Writer, machine string) {
	fmt.Fprintf(w, "\n%s\n\n", machine)
	columns := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(columns, "\tmedian\tp90\tn\ttarget")
	for _, line := range r.lines {
		fmt.Fprintln(columns, line)
	}
	_ = columns.Flush()
	fmt.Fprintln(w)
}

func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// quantile is the smallest value that this part of the values does not exceed.
// The median of an even number of them is in the middle of the middle two.
func quantile(values []time.Duration, part float64) time.Duration {
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

// differences are those of values that belong together.
func differences(a, b []time.Duration) []time.Duration {
	values := make([]time.Duration, len(a))
	for i := range a {
		values[i] = a[i] - b[i]
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
		values []time.Duration
		part   float64
		want   time.Duration
	}{
		{[]time.Duration{7}, 0.5, 7},
		{[]time.Duration{7}, 0.9, 7},
		{[]time.Duration{3, 1, 2}, 0.5, 2},
		{[]time.Duration{4, 2, 8, 1}, 0.5, 3},
		{[]time.Duration{10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.9, 9},
		{[]time.Duration{11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1}, 0.9, 10},
	} {
		if got := quantile(test.values, test.part); got != test.want {
			t.Errorf("quantile(%v, %v) = %d, want %d", test.values, test.part, got, test.want)
		}
	}
}
