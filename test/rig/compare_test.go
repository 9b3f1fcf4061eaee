package rig_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/bootagent/bootagent/test/rig"
)

// bothNetworks are the machine's loopback and a network of its own.
func bothNetworks(t *testing.T) map[string]*rig.Network {
	t.Helper()
	networks := map[string]*rig.Network{"loopback": nil}
	if os.Geteuid() == 0 {
		networks["network"] = rig.NewNetwork(t)
	}
	return networks
}

// strangers are clients that a server with client certificates turns away,
// and one that turns the server away.
func strangers(t *testing.T, server *rig.HTTPS) map[string]*http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(server.CA) {
		t.Fatal("no certificate in CA")
	}
	pair, err := tls.X509KeyPair(server.ClientCert, server.ClientKey)
	check(t, err)
	client := func(config *tls.Config) *http.Client {
		return &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{TLSClientConfig: config}}
	}
	return map[string]*http.Client{
		"client without certificate":      client(&tls.Config{RootCAs: roots}),
		"client that trusts another root": client(&tls.Config{RootCAs: x509.NewCertPool(), Certificates: []tls.Certificate{pair}}),
	}
}

// micros is a time as the journal writes it.
func micros(t time.Time) string { return strconv.FormatInt(t.UnixMicro(), 10) }

// rootOptions returns whether PID 1's / is "ro" or "rw", and what kind of
// file system is under it in which state.
func rootOptions(t *testing.T, node *rig.Node) (mount, super string) {
	t.Helper()
	for entry := range strings.Lines(node.MustRun("cat", "/proc/1/mountinfo")) {
		fields := strings.Fields(entry)
		if fields[4] != "/" {
			continue
		}
		_, after, _ := strings.Cut(entry, " - ")
		system := strings.Fields(after)
		return firstOption(fields[5]), system[0] + " " + firstOption(system[2])
	}
	t.Fatal("no / among PID 1's mounts")
	return "", ""
}

func firstOption(options string) string {
	first, _, _ := strings.Cut(options, ",")
	return first
}

// line runs a program that writes one line.
func line(node *rig.Node, name string, args ...string) string {
	return strings.TrimSpace(node.MustRun(name, args...))
}

func equal[T comparable](t *testing.T, what string, want, got T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("no %q in:\n%s", part, text)
		}
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, response *http.Response, err error) string {
	t.Helper()
	check(t, err)
	defer response.Body.Close()
	var body strings.Builder
	_, err = io.Copy(&body, io.LimitReader(response.Body, 1<<20))
	check(t, err)
	return body.String()
}
