package agent

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent/config"
	"github.com/bootagent/bootagent/agent/status"
	"github.com/bootagent/bootagent/agent/truth"
	"github.com/bootagent/bootagent/sinks"
)

// optionalTime is how long an optional source is waited for, if it does not
// say so itself.
const optionalTime = 10 * time.Second

// credential finds a credential of this process.
func (a *Agent) credential(name string) ([]byte, error) {
	if a.Credentials == nil {
		return nil, os.ErrNotExist
	}
	return a.Credentials(name)
}

// watchLinks watches the network. Where that is not allowed, nil does: pauses
// then last as long as they last.
func (a *Agent) watchLinks() *truth.Links {
	links, err := truth.WatchLinks()
	if err != nil {
		a.Log.WithError(err).Warn("links unwatched")
	}
	return links
}

// sources are the configured sources of truth, in order.
func (b *boot) sources(links *truth.Links) []truth.Wanted {
	var list []truth.Wanted
	for _, s := range b.config.Sources {
		switch {
		case s.File != nil:
			path := s.File.Path
			if b.Root != "" {
				path = filepath.Join(b.Root, path)
			}
			list = append(list, truth.Wanted{Source: truth.File{Path: path}, Optional: s.File.Optional, Timeout: optionalTime})
		case s.HTTP != nil:
			list = append(list, truth.Wanted{Source: b.http(*s.HTTP, links), Optional: s.HTTP.Optional, Timeout: optionalTime})
		}
	}
	return list
}

func (b *boot) http(c config.HTTPSource, links *truth.Links) truth.Source {
	h := truth.HTTP{URL: c.URL, Timeout: time.Duration(c.Timeout), Dial: links.Dial}
	if c.CA.Set() || c.Cert.Set() {
		h.TLS = func() (*tls.Config, error) { return tlsConfig(c.TLS, b.credential) }
	}
	if c.Bearer.Set() {
		h.Bearer = func() (string, error) {
			token, err := c.Bearer.Read(b.credential)
			return string(token), err
		}
	}
	return h
}

// registry is a registry that is open.
type registry struct {
	truth.Registry
	close func() error
}

// registry opens the configured registry. Nothing is connected yet.
func (a *Agent) registry(c config.Registry, links *truth.Links, credentials config.Credentials) (registry, error) {
	switch {
	case c.File != nil:
		return registry{&truth.FileRegistry{Directory: c.File.Path}, func() error { return nil }}, nil
	case c.Etcd != nil:
		e, err := etcd(*c.Etcd, links, credentials)
		if err != nil {
			return registry{}, fmt.Errorf("etcd: %v", err)
		}
		return registry{e, e.Close}, nil
	}
	return registry{}, errors.New("no registry is configured")
}

func etcd(c config.EtcdRegistry, links *truth.Links, credentials config.Credentials) (*truth.Etcd, error) {
	var security *tls.Config // the registry's own default, unless something is set
	if c.CA.Set() || c.Cert.Set() {
		var err error
		if security, err = tlsConfig(c.TLS, credentials); err != nil {
			return nil, err
		}
	}
	password, err := c.Password.Read(credentials)
	if err != nil {
		return nil, err
	}
	return &truth.Etcd{
		Endpoints: c.Endpoints, Prefix: c.Prefix, TTL: time.Duration(c.TTL), TLS: security,
		Username: c.User, Password: string(password),
		Dial: func(ctx context.Context, address string) (net.Conn, error) { return links.Dial(ctx, "tcp", address) },
	}, nil
}

// record is the node as the inventory has it.
func record(r status.Receipt, c config.Config, state truth.State, version string) truth.Node {
	n := truth.Node{
		ID: r.Node.ID, BootID: r.Node.BootID, MachineID: r.Node.MachineID, Name: r.Node.Name, Ordinal: r.Node.Ordinal,
		Role: r.Node.Role, Hostname: r.Node.Hostname, Addresses: r.Node.Addresses,
		ImageID: r.Node.ImageID, ImageVersion: r.Node.ImageVersion,
		State: state, Started: r.Started, AgentVersion: version,
	}
	if n.Name == "" && r.State == status.Booting {
		n.Name = c.Node.Name // to be claimed
	}
	if r.Config != nil {
		n.ConfigDigest = r.Config.Digest
	}
	return n
}

// sink opens a configured log sink. Secrets are read for each request, so that
// one that was renewed is used.
func (a *Agent) sink(c config.Sink, instrument func(http.RoundTripper) http.RoundTripper) sinks.Sink {
	if c.File != nil {
		return &sinks.File{Path: c.File.Path}
	}
	j := c.JournalUpload
	upload := &sinks.JournalUpload{
		URL:    j.URL,
		Client: &http.Client{Transport: instrument(a.transport(j.TLS)), Timeout: time.Minute},
	}
	if j.Bearer.Set() {
		upload.Header = func() (http.Header, error) {
			token, err := j.Bearer.Read(a.credential)
			return http.Header{"Authorization": {"Bearer " + string(token)}}, err
		}
	}
	return upload
}

// transport connects to a log server. Its connections do not last for ever, so
// that a server which moved is found again.
func (a *Agent) transport(c config.TLS) http.RoundTripper {
	dialer := &net.Dialer{Timeout: 10 * time.Second}
	return &http.Transport{
		DialContext:         dialer.DialContext, // no proxy: DialTLSContext would not know of it
		IdleConnTimeout:     time.Minute,
		TLSHandshakeTimeout: 10 * time.Second,
		DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			security, err := tlsConfig(c, a.credential)
			if err != nil {
				return nil, err
			}
			if security.ServerName == "" {
				security.ServerName = strings.Trim(address[:strings.LastIndexByte(address, ':')], "[]")
			}
			return (&tls.Dialer{NetDialer: dialer, Config: security}).DialContext(ctx, network, address)
		},
	}
}

// tlsConfig reads the certificates as they are now.
func tlsConfig(c config.TLS, credentials config.Credentials) (*tls.Config, error) {
	security := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.CA.Set() {
		pem, err := c.CA.Read(credentials)
		if err != nil {
			return nil, fmt.Errorf("ca: %v", err)
		}
		security.RootCAs = x509.NewCertPool()
		if !security.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("ca: %s: no certificate in it (PEM is wanted)", c.CA)
		}
	}
	if c.Cert.Set() {
		cert, err := c.Cert.Read(credentials)
		if err != nil {
			return nil, fmt.Errorf("cert: %v", err)
		}
		key, err := c.Key.Read(credentials)
		if err != nil {
			return nil, fmt.Errorf("key: %v", err)
		}
		pair, err := tls.X509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("cert %s, key %s: they do not go together, or are not PEM", c.Cert, c.Key)
		}
		security.Certificates = []tls.Certificate{pair}
	}
	return security, nil
}
