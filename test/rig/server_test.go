package rig_test

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/test/rig"
)

func TestEtcd(t *testing.T) {
	t.Parallel()
	for name, network := range bothNetworks(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.StartEtcd(t, network)
			server.Put("/nodes/1", "one")
			server.Put("/other", "two")
			got := server.Get("/nodes/")
			if len(got) != 1 || got["/nodes/1"] != "one" {
				t.Errorf("got %v, want one key", got)
			}
		})
	}
}

func TestServerRestart(t *testing.T) {
	t.Parallel()
	server := rig.StartEtcd(t, rig.NewNetwork(t))
	server.Put("key", "value")
	server.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := server.Client.Get(ctx, "key"); err == nil {
		t.Error("an answer from a stopped server")
	}
	server.Restart()
	equal(t, "value", "value", server.Get("key")["key"])
}

// entry is in the journal export format; DATA is not text.
const entry = "__CURSOR=s=1;i=1\n__REALTIME_TIMESTAMP=%TIME%\n__MONOTONIC_TIMESTAMP=1\n_BOOT_ID=0123456789abcdef0123456789abcdef\n" +
	"MESSAGE=hello\nDATA\n\x03\x00\x00\x00\x00\x00\x00\x00a\x00b\n\n"

// exported is the entry as of now.
func exported() io.Reader {
	return strings.NewReader(strings.Replace(entry, "%TIME%", micros(time.Now()), 1))
}

func TestVictoriaLogs(t *testing.T) {
	t.Parallel()
	for name, network := range bothNetworks(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.StartVictoriaLogs(t, network)
			equal(t, "rows before", 0, len(server.Query("*")))
			response, err := network.Client().Post(server.URL+"/insert/journald/upload", "application/vnd.fdo.journal", exported())
			equal(t, "answer", "", readAll(t, response, err))
			rows := server.Query("hello")
			if len(rows) != 1 || rows[0]["_msg"] != "hello" || rows[0]["__CURSOR"] != "s=1;i=1" {
				t.Errorf("got %v, want the entry with its cursor", rows)
			}
		})
	}
}

func TestJournalRemote(t *testing.T) {
	t.Parallel()
	for name, network := range bothNetworks(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := rig.StartJournalRemote(t, network)
			equal(t, "entries before", 0, len(server.Entries()))
			response, err := network.Client().Post(server.URL+"/upload", "application/vnd.fdo.journal", exported())
			contains(t, readAll(t, response, err), "OK")
			entries := server.Entries("MESSAGE=hello")
			if len(entries) != 1 || entries[0]["DATA"] != "a\x00b" {
				t.Errorf("got %q, want the entry with its data", entries)
			}
			contains(t, server.Export(), "MESSAGE=hello\n")
		})
	}
}

// A node's own journal goes through both receivers.
func TestJournalOfNode(t *testing.T) {
	t.Parallel()
	network := rig.NewNetwork(t)
	logs, remote := rig.StartVictoriaLogs(t, network), rig.StartJournalRemote(t, network)
	node := rig.Boot(t, rig.Image{Network: network})
	node.Stop()
	journal := node.Journal("--output=export")
	want := strings.Count(journal, "__CURSOR=")
	for _, url := range []string{logs.URL + "/insert/journald/upload", remote.URL + "/upload"} {
		response, err := network.Client().Post(url, "application/vnd.fdo.journal", strings.NewReader(journal))
		readAll(t, response, err)
	}
	equal(t, "entries in VictoriaLogs", want, len(logs.Query("*")))
	equal(t, "entries in journal-remote", want, len(remote.Entries()))
}

func TestHTTPS(t *testing.T) {
	t.Parallel()
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, certificate := range r.TLS.PeerCertificates[:min(1, len(r.TLS.PeerCertificates))] {
			io.WriteString(w, certificate.Subject.CommonName)
		}
	})
	server := rig.StartHTTPS(t, nil, rig.HTTPSOptions{Hosts: []string{"localhost"}, RequireClientCert: true}, handler)
	response, err := server.Client.Get(server.URL)
	equal(t, "certificate seen", "client", readAll(t, response, err))
	response, err = server.Client.Get(strings.Replace(server.URL, "127.0.0.1", "localhost", 1))
	equal(t, "certificate seen by name", "client", readAll(t, response, err))
	for what, client := range strangers(t, server) {
		if response, err := client.Get(server.URL); err == nil {
			response.Body.Close()
			t.Errorf("%s: got an answer", what)
		}
	}
}
