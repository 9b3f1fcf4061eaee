package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// VictoriaLogs is a log server that speaks nearly every protocol: journal
// upload at /insert/journald/upload, and under /insert/ Loki push,
// OpenTelemetry, Elasticsearch bulk and JSON lines.
type VictoriaLogs struct {
	*Server
	URL string

	client *http.Client
}

const (
	victoriaLogs        = "github.com/VictoriaMetrics/VictoriaLogs"
	victoriaLogsVersion = "v1.33.1"
)

// StartVictoriaLogs starts VictoriaLogs with an empty store. The first time
// ever, it is built from source, which takes a minute or two.
//
// Entries keep the journal's __CURSOR and other metadata. Entries older than
// a week or from the future are refused.
func StartVictoriaLogs(t testing.TB, network *Network) *VictoriaLogs {
	t.Helper()
	Need(t, "go")
	program := buildVictoriaLogs(t)
	data := t.TempDir()
	client := network.Client()
	server := Serve(t, network, ServerSpec{
		Command: func(address string) *exec.Cmd {
			return exec.Command(program, "-httpListenAddr="+address, "-storageDataPath="+data,
				"-journald.includeEntryMetadata=true", "-loggerLevel=WARN")
		},
		Ready: answers(client, "/health"),
	})
	return &VictoriaLogs{Server: server, URL: "http://" + server.Address, client: client}
}

// buildVictoriaLogs returns the program. It is built by a module of its own,
// for it is no dependency of anything here.
func buildVictoriaLogs(t testing.TB) string {
	t.Helper()
	return cached(t, "victoria-logs", victoriaLogsVersion, func(ctx context.Context, path string) error {
		dir := t.TempDir()
		mod := fmt.Sprintf("module build\n\ngo 1.26\n\nrequire %s %s\n", victoriaLogs, victoriaLogsVersion)
		if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o600); err != nil {
			return err
		}
		build := command(ctx, "go", "build", "-mod=mod", "-trimpath", "-ldflags=-s -w", "-o", path, victoriaLogs+"/app/victoria-logs")
		build.Dir = dir
		build.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
		_, err := output(build)
		return err
	})
}

// Query returns the entries that a LogsQL query finds, each as its fields.
// All that was acknowledged before is found, up to 100,000 entries.
func (v *VictoriaLogs) Query(query string) []map[string]string {
	v.t.Helper()
	v.post("/internal/force_flush", nil).Close()
	body := v.post("/select/logsql/query", url.Values{"query": {query}, "limit": {"100000"}})
	defer body.Close()
	var rows []map[string]string
	for lines := json.NewDecoder(body); ; {
		var row map[string]string
		switch err := lines.Decode(&row); err {
		case nil:
			rows = append(rows, row)
		case io.EOF:
			return rows
		default:
			v.t.Fatalf("rig: victoria-logs: %s: %v", query, err)
		}
	}
}

// post makes a request that has to succeed and returns the answer's body.
func (v *VictoriaLogs) post(path string, form url.Values) io.ReadCloser {
	v.t.Helper()
	response, err := v.client.PostForm(v.URL+path, form)
	if err != nil {
		v.t.Fatalf("rig: victoria-logs: %v", err)
	}
	if response.StatusCode != http.StatusOK {
		var text bytes.Buffer
		text.ReadFrom(io.LimitReader(response.Body, 1<<10)) // as far as it comes
		response.Body.Close()
		v.t.Fatalf("rig: victoria-logs: %s: %s: %s", path, response.Status, &text)
	}
	return response.Body
}
