package rig

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// JournalRemote is systemd-journal-remote: it takes entries in the journal
// export format by POST to /upload, and stores them in journal files.
type JournalRemote struct {
	*Server
	URL string
	Dir string // of the journal files, one for each sender
}

// StartJournalRemote starts systemd-journal-remote with an empty directory.
func StartJournalRemote(t testing.TB, network *Network) *JournalRemote {
	t.Helper()
	const program = "/lib/systemd/systemd-journal-remote"
	Need(t, program, "journalctl")
	dir := t.TempDir()
	server := Serve(t, network, ServerSpec{
		Command: func(address string) *exec.Cmd {
			return exec.Command(program, "--listen-http="+address, "--output="+dir)
		},
		Ready: answers(network.Client(), "/"),
	})
	return &JournalRemote{Server: server, URL: "http://" + server.Address, Dir: dir}
}

// Entries returns what has arrived and matches (FIELD=value and other
// arguments of journalctl), each entry as its fields. Of a field with several
// values it is the first one.
func (j *JournalRemote) Entries(matches ...string) []map[string]string {
	j.t.Helper()
	var entries []map[string]string
	for line := range strings.Lines(j.journalctl("json", matches...)) {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			j.t.Fatalf("rig: journalctl: %v", err)
		}
		entry := map[string]string{}
		for name, raw := range fields {
			value, err := fieldValue(raw)
			if err != nil {
				j.t.Fatalf("rig: journalctl: %s: %v", name, err)
			}
			entry[name] = value
		}
		entries = append(entries, entry)
	}
	return entries
}

// Export returns what has arrived and matches, in the journal export format.
func (j *JournalRemote) Export(matches ...string) string {
	j.t.Helper()
	return j.journalctl("export", matches...)
}

func (j *JournalRemote) journalctl(format string, matches ...string) string {
	j.t.Helper()
	if files, _ := filepath.Glob(filepath.Join(j.Dir, "*.journal")); len(files) == 0 {
		return "" // nothing yet, which journalctl takes for an error
	}
	args := []string{"--directory=" + j.Dir, "--all", "--no-pager", "--quiet", "--output=" + format}
	ctx, cancel := context.WithTimeout(context.Background(), runDeadline)
	defer cancel()
	text, err := output(command(ctx, "journalctl", append(args, matches...)...))
	if err != nil {
		j.t.Fatal(err)
	}
	return text
}

// fieldValue reads a field as journalctl(1) writes it in JSON: a string, the
// bytes of a value that is not text, or a list of several such values.
func fieldValue(raw json.RawMessage) (string, error) {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		return text, nil
	}
	var numbers []int
	if err := json.Unmarshal(raw, &numbers); err == nil {
		value := make([]byte, len(numbers))
		for i, number := range numbers {
			value[i] = byte(number)
		}
		return string(value), nil
	}
	var values []json.RawMessage
	if err := json.Unmarshal(raw, &values); err != nil || len(values) == 0 {
		return "", fmt.Errorf("neither text nor bytes: %.40q", raw)
	}
	return fieldValue(values[0])
}
