package rig

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"testing"
	"time"
)

// An authority signs certificates by an intermediate one, as authorities do:
// who is given only the root has to build the chain.
type authority struct {
	root         *signer
	intermediate *signer
}

// A signer is a certificate with its key.
type signer struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t testing.TB) authority {
	t.Helper()
	root := issue(t, nil, &x509.Certificate{Subject: name("root"), IsCA: true})
	intermediate := issue(t, root, &x509.Certificate{Subject: name("intermediate"), IsCA: true})
	return authority{root, intermediate}
}

// server makes a certificate for the addresses and names.
func (a authority) server(t testing.TB, hosts []string) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{Subject: name("server"), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return a.chain(issue(t, a.intermediate, template))
}

// client makes a certificate that a client shows.
func (a authority) client(t testing.TB) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{Subject: name("client"), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}
	return a.chain(issue(t, a.intermediate, template))
}

// chain is the leaf with the intermediate, as it is sent in a handshake.
func (a authority) chain(leaf *signer) tls.Certificate {
	return tls.Certificate{
		Certificate: [][]byte{leaf.certificate.Raw, a.intermediate.certificate.Raw},
		PrivateKey:  leaf.key,
	}
}

// pool has the root alone.
func (a authority) pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.root.certificate)
	return pool
}

// issue makes a certificate from the template, valid for a day, signed by the
// parent or, without one, by itself.
func issue(t testing.TB, parent *signer, template *x509.Certificate) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(t, err)
	template.NotBefore = time.Now().Add(-time.Hour)
	template.NotAfter = time.Now().Add(24 * time.Hour)
	template.BasicConstraintsValid = true
	template.KeyUsage = x509.KeyUsageDigitalSignature
	if template.IsCA {
		template.KeyUsage = x509.KeyUsageCertSign
	}
	if parent == nil {
		parent = &signer{template, key}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent.certificate, &key.PublicKey, parent.key)
	must(t, err)
	certificate, err := x509.ParseCertificate(der)
	must(t, err)
	return &signer{certificate, key}
}

func name(common string) pkix.Name {
	return pkix.Name{Organization: []string{"bootagent rig"}, CommonName: common}
}

// certificatesPEM encodes certificates one after the other.
func certificatesPEM(ders ...[]byte) []byte {
	var text bytes.Buffer
	for _, der := range ders {
		pem.Encode(&text, &pem.Block{Type: "CERTIFICATE", Bytes: der}) // a Buffer takes all
	}
	return text.Bytes()
}

// keyPEM encodes a private key as PKCS #8.
func keyPEM(t testing.TB, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	must(t, err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}
