package rig

import (
	"crypto/tls"
	"log/slog"
	"net/http"
	"testing"
	"time"
)

// HTTPS is a server in the test's own process.
type HTTPS struct {
	URL        string
	CA         []byte // PEM: the root, not the intermediate that the server sends
	ClientCert []byte // PEM: a client's certificate and its intermediate
	ClientKey  []byte // PEM

	// Client trusts the root and shows the client's certificate.
	Client *http.Client
}

// HTTPSOptions are how an HTTPS server differs from a plain one.
type HTTPSOptions struct {
	Hosts             []string // names and addresses in the certificate, beside the host's address
	RequireClientCert bool     // a client without a certificate fails in the handshake
}

// StartHTTPS serves the handler with a certificate that an intermediate one
// of a new root has signed. On loopback it needs no rig: any test may use it.
func StartHTTPS(t testing.TB, network *Network, options HTTPSOptions, handler http.Handler) *HTTPS {
	t.Helper()
	listener, err := network.Listen(network.HostIP() + ":0")
	must(t, err)
	authority := newAuthority(t)
	client := authority.client(t)
	config := &tls.Config{
		Certificates: []tls.Certificate{authority.server(t, append(options.Hosts, network.HostIP()))},
		ClientCAs:    authority.pool(),
		ClientAuth:   tls.VerifyClientCertIfGiven,
	}
	if options.RequireClientCert {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	server := &http.Server{
		Handler:           handler,
		TLSConfig:         config,
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          slog.NewLogLogger(slog.DiscardHandler, slog.LevelError), // bad handshakes are the clients' to report
	}
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		server.Close()
		<-served
	})
	return &HTTPS{
		URL:        "https://" + listener.Addr().String(),
		CA:         certificatesPEM(authority.root.certificate.Raw),
		ClientCert: certificatesPEM(client.Certificate...),
		ClientKey:  keyPEM(t, client.PrivateKey),
		Client:     authority.httpClient(network, client),
	}
}

// httpClient reaches the servers of an authority in a network.
func (a authority) httpClient(network *Network, certificate tls.Certificate) *http.Client {
	client := network.Client()
	client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{
		RootCAs:      a.pool(),
		Certificates: []tls.Certificate{certificate},
	}
	return client
}
