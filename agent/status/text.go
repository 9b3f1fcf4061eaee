package status

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/bootagent/bootagent/agent/check"
)

// Text writes a status for people: the state first, then why, then the rest.
// It is plain text, the same on a terminal, in a pipe and in a browser.
func Text(w io.Writer, s Status) error {
	var text strings.Builder
	for _, part := range []func(io.Writer){
		func(t io.Writer) { head(t, s) },
		func(t io.Writer) { node(t, s.Node) },
		func(t io.Writer) { config(t, s.Config) },
		func(t io.Writer) { Checks(t, s.Checks) },
		func(t io.Writer) { registry(t, s.Registry) },
		func(t io.Writer) { logs(t, s.Logs) },
		func(t io.Writer) { Steps(t, s.Steps) },
	} {
		table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0) // each with columns of its own
		part(table)
		_ = table.Flush()
	}
	for line := range strings.Lines(text.String()) {
		if _, err := fmt.Fprintln(w, strings.TrimRight(line, " \n")); err != nil {
			return err
		}
	}
	return nil
}

// label is the first column, as wide in all parts.
func label(s string) string { return fmt.Sprintf("%-10s", s) }

// head is the state, and everything that keeps it from being better.
func head(w io.Writer, s Status) {
	fmt.Fprintln(w, label(string(s.State))+harmless(s.Error))
	for _, c := range s.Conditions {
		if !c.Status && c.Message != s.Error {
			fmt.Fprintf(w, "%s%s\t%s\n", label(""), c.Type+": "+c.Reason, harmless(c.Message))
		}
	}
}

func node(w io.Writer, n Node) {
	if n.ID == "" {
		return
	}
	fmt.Fprintln(w, label("node")+join(n.Name, n.ID, n.Role, n.Hostname, strings.Join(n.Addresses, " ")))
	if n.ImageID+n.ImageVersion != "" {
		fmt.Fprintln(w, label("image")+join(n.ImageID, n.ImageVersion))
	}
}

func config(w io.Writer, c *Config) {
	if c == nil {
		return
	}
	fmt.Fprintln(w, label("config")+short(c.Digest))
	for _, s := range c.Sources {
		fmt.Fprintf(w, "%s%s\t%d keys\t%s\t%s\n", label("source"), s.Source, s.Keys, seconds(s.Duration), harmless(s.Missing))
	}
}

// Checks writes the findings of a boot as lines of a table.
func Checks(w io.Writer, findings []check.Finding) {
	for _, f := range findings {
		fmt.Fprintf(w, "%s%s\t%s\t%s\n", label("check"), f.Name, f.Verdict, harmless(f.Message))
	}
}

func registry(w io.Writer, r *Registry) {
	if r != nil {
		fmt.Fprintf(w, "%s%s\t%s\t%s\n", label("registry"), r.Backend, r.State, join(r.Key, harmless(r.Error)))
	}
}

func logs(w io.Writer, sinks []Sink) {
	for _, l := range sinks {
		fmt.Fprintf(w, "%s%s\t%d shipped\t%s\n", label("logs"), l.Sink, l.Shipped, troubles(l))
	}
}

// Steps writes the steps of a boot as lines of a table.
func Steps(w io.Writer, steps []Step) {
	for _, s := range steps {
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\n", label("step"), s.Name, s.State, duration(s), harmless(s.Error))
	}
}

func duration(s Step) string {
	switch {
	case s.State == StepPending:
		return "-"
	case s.State == StepRunning:
		return "for " + seconds(max(0, time.Since(s.Started).Seconds())) // a clock may be set back
	}
	return seconds(s.Duration)
}

func troubles(l Sink) string {
	var list []string
	if l.Lost > 0 {
		list = append(list, fmt.Sprintf("%d lost", l.Lost))
	}
	if l.Rejected > 0 {
		list = append(list, fmt.Sprintf("%d rejected", l.Rejected))
	}
	if l.Lag > 0 {
		list = append(list, seconds(l.Lag)+" behind")
	}
	return join(append(list, harmless(l.LastError))...)
}

// seconds shows a duration with as many digits as are worth reading.
func seconds(s float64) string {
	if s < 1 {
		return fmt.Sprintf("%.1f ms", s*1000)
	}
	return fmt.Sprintf("%.1f s", s)
}

// harmless is a text that others have a part in, without what would break a
// table or move a terminal's cursor.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, s)
}

func join(words ...string) string {
	var kept []string
	for _, w := range words {
		if w != "" {
			kept = append(kept, w)
		}
	}
	return strings.Join(kept, ", ")
}

// short is the beginning of a digest, enough to compare by eye.
func short(digest string) string {
	const most = len("sha256:") + 12
	return digest[:min(len(digest), most)]
}
