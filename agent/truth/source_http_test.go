package truth

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/document"
	"github.com/google/go-cmp/cmp"
)

const (
	secretToken = "t0ken-secret"
	secretBody  = "b0dy-secret"
	goodBody    = "version: 1\nenv: {A: " + secretBody + "}\n"
)

// leaf is a certificate for a server at address, or a client, until then.
func (a *certificateAuthority) leaf(t *testing.T, address string, until time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: big.NewInt(2), NotAfter: until, IPAddresses: []net.IP{net.ParseIP(address)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, a.certificate, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// serveHTTP runs a server: with TLS, if config is not nil.
func serveHTTP(t *testing.T, config *tls.Config, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.TLS, server.EnableHTTP2 = config, true
	if config != nil {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// serveBytes accepts connections and hands each to answer, once the request's
// header is read. Both ends of it end with the test.
func serveBytes(t *testing.T, answer func(conn net.Conn, ended <-chan struct{})) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				answer(conn, ended)
			}
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		close(ended)
		_ = listener.Close()
		<-done
	})
	return listener.Addr().String()
}

// textOf is an error without what is another one at each run. No error may
// tell a credential, or what a server sent.
func textOf(t *testing.T, err error, replace ...string) string {
	t.Helper()
	if err == nil {
		return ""
	}
	for _, secret := range []string{secretToken, secretBody} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("secret in error: %v", err)
		}
	}
	return strings.NewReplacer(replace...).Replace(err.Error())
}

func wantEnd(t *testing.T, err error, want error) {
	t.Helper()
	for _, sentinel := range []error{ErrAbsent, ErrFinal} {
		if errors.Is(err, sentinel) != (sentinel == want) {
			t.Errorf("error %v: is it %v: want %v", err, sentinel, sentinel == want)
		}
	}
}

func TestHTTPString(t *testing.T) {
	for url, want := range map[string]string{
		"https://truth.internal/web/7.yaml":        "http https://truth.internal/web/7.yaml",
		"https://u:p@truth.internal:1/d?token=s#f": "http https://truth.internal:1/d",
		"https://truth.internal/%zz?token=s":       "http",
	} {
		if got := (HTTP{URL: url}).String(); got != want {
			t.Errorf("%s is %s, want %s", url, got, want)
		}
	}
}

func TestHTTP(t *testing.T) {
	requests := make(chan *http.Request, 1)
	server := serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		requests <- r
		fmt.Fprint(w, goodBody)
	})
	h := HTTP{URL: server.URL + "/web?secret=" + secretToken}
	layers, err := h.Fetch(t.Context())
	if diff := cmp.Diff([]string{"http " + server.URL + "/web A=" + secretBody}, said(layers)); diff != "" || err != nil {
		t.Errorf("layers (-want +got): %v\n%s", err, diff)
	}
	r := <-requests
	if r.Method != "GET" || r.URL.Path != "/web" || r.URL.Query().Get("secret") != secretToken || r.Header.Get("Authorization") != "" ||
		r.Header.Get("Accept") != "application/yaml, application/json;q=0.9, */*;q=0.1" {
		t.Errorf("request %+v", r)
	}
}

// TestHTTPAnswers goes through what a server may answer, and how the source
// understands it.
func TestHTTPAnswers(t *testing.T) {
	code := func(code int, headers ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			for i := 0; i < len(headers); i += 2 {
				w.Header().Set(headers[i], headers[i+1])
			}
			w.WriteHeader(code)
			fmt.Fprint(w, secretBody)
		}
	}
	body := func(text string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
	}
	endless := func(w http.ResponseWriter, _ *http.Request) {
		for line := bytes.Repeat([]byte("# "+secretBody+"\n"), 4096); ; {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	}
	bomb := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		for block, n := make([]byte, 1<<20), 0; n < 64; n++ {
			if _, err := z.Write(block); err != nil {
				return
			}
		}
	}
	broken := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		fmt.Fprint(w, goodBody)
	}
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		end     error // nil: worth another attempt
		pause   time.Duration
		text    string
	}{
		"204":                   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(204) }, ErrAbsent, 0, "no document for this node (204 No Content)"},
		"404":                   {code(404), ErrAbsent, 0, "no document for this node (404 Not Found)"},
		"410":                   {code(410), ErrAbsent, 0, "no document for this node (410 Gone)"},
		"401":                   {code(401), nil, 0, "401 Unauthorized"},
		"403":                   {code(403), nil, 0, "403 Forbidden"},
		"408":                   {code(408), nil, 0, "408 Request Timeout"},
		"425":                   {code(425), nil, 0, "425 Too Early"},
		"429":                   {code(429), nil, 0, "429 Too Many Requests"},
		"500":                   {code(500), nil, 0, "500 Internal Server Error"},
		"503":                   {code(503), nil, 0, "503 Service Unavailable"},
		"599, which nobody has": {code(599), nil, 0, "599"},
		"201":                   {code(201), ErrFinal, 0, "201 Created"},
		"206":                   {code(206), ErrFinal, 0, "206 Partial Content"},
		"304":                   {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(304) }, ErrFinal, 0, "304 Not Modified"},
		"400":                   {code(400), ErrFinal, 0, "400 Bad Request"},
		"405":                   {code(405), ErrFinal, 0, "405 Method Not Allowed"},
		"418":                   {code(418), ErrFinal, 0, "418 I'm a teapot"},
		"retry after":           {code(503, "Retry-After", "7"), nil, 7 * time.Second, "503 Service Unavailable"},
		"retry after, 429":      {code(429, "Retry-After", "120"), nil, 2 * time.Minute, "429 Too Many Requests"},
		"retry after, too long": {code(503, "Retry-After", "86400"), nil, 5 * time.Minute, "503 Service Unavailable"},
		"retry after, overflow": {code(503, "Retry-After", "9223372037"), nil, 5 * time.Minute, "503 Service Unavailable"},
		"retry after, negative": {code(503, "Retry-After", "-7"), nil, 0, "503 Service Unavailable"},
		"retry after, a date":   {code(503, "Retry-After", "Fri, 31 Dec 2027 23:59:59 GMT"), nil, 0, "503 Service Unavailable"},
		"garbage":               {body("{" + secretBody), ErrFinal, 0, "document:1:1: syntax: did not find expected ',' or '}'"},
		"another text":          {body("a text\nwith " + secretBody), ErrFinal, 0, "document:1:1: a text where a mapping (key: value) is wanted"},
		"a page":                {body("<!DOCTYPE html>\n<html><body>" + secretBody + "</body></html>"), ErrFinal, 0, "document:1:1: a text where a mapping (key: value) is wanted"},
		"nothing":               {body(""), ErrFinal, 0, "document: version: 1 is wanted (is this a bootagent document?)"},
		"unknown key":           {body("version: 1\npassword: " + secretBody), ErrFinal, 0, `document:2:1: unknown key "password" (known: agent, credentials, env, files, flags, version)`},
		"endless body":          {endless, ErrFinal, 0, "document: larger than 8388608 bytes"},
		"bomb":                  {bomb, ErrFinal, 0, "document: larger than 8388608 bytes"},
		"body is short":         {broken, nil, 0, fmt.Sprintf("answer broke off after %d bytes", len(goodBody))},
		"huge header":           {code(200, "X", strings.Repeat(secretBody, 10_000)), nil, 0, "net/http: HTTP/1.x transport connection broken: net/http: server response headers exceeded 65536 bytes; aborted"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serveHTTP(t, nil, test.handler)
			layers, err := HTTP{URL: server.URL}.Fetch(t.Context())
			if got := textOf(t, err); got != test.text || layers != nil {
				t.Errorf("error %q\nwant  %q (layers %v)", got, test.text, layers)
			}
			wantEnd(t, err, test.end)
			if a, _ := errors.AsType[after](err); a.delay != test.pause {
				t.Errorf("again after %v, want %v", a.delay, test.pause)
			}
		})
	}
}

// TestHTTPBytes is about servers which speak no proper HTTP, or none at all.
func TestHTTPBytes(t *testing.T) {
	write := func(text string) func(net.Conn, <-chan struct{}) {
		return func(conn net.Conn, _ <-chan struct{}) { _, _ = io.WriteString(conn, text) }
	}
	silent := func(_ net.Conn, ended <-chan struct{}) { <-ended }
	drip := func(conn net.Conn, ended <-chan struct{}) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
		for tick := time.NewTicker(40 * time.Millisecond); ; {
			select {
			case <-tick.C:
				if _, err := io.WriteString(conn, "#"); err != nil {
					return
				}
			case <-ended:
				return
			}
		}
	}
	reset := func(conn net.Conn, _ <-chan struct{}) {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nversion: 1\n")
		_ = conn.(*net.TCPConn).SetLinger(0)
	}
	const timeout = 300 * time.Millisecond
	for name, test := range map[string]struct {
		answer func(net.Conn, <-chan struct{})
		text   string
	}{
		"never answers":      {silent, "no answer within 300ms"},
		"drips":              {drip, "no more than N bytes of an answer within 300ms"},
		"resets in the body": {reset, "answer broke off after N bytes"},
		"hangs up":           {write(""), "EOF"},
		"a document only":    {write("password: " + secretBody + "\n"), "answer is not HTTP"},
		"a broken header":    {write("HTTP/1.1 200 OK\r\npassword " + secretBody + "\r\n\r\n"), "answer is not HTTP"},
		"a folded header":    {write("HTTP/1.1 200 OK\r\n " + secretBody + "\r\n\r\n"), "answer is not HTTP"},
		"a strange status":   {write("HTTP/1.1 " + secretBody + "\r\n\r\n"), "answer is not HTTP"},
	} {
		t.Run(name, func(t *testing.T) {
			address := serveBytes(t, test.answer)
			start := time.Now()
			_, err := HTTP{URL: "http://" + address, Timeout: timeout}.Fetch(t.Context())
			words := strings.Fields(textOf(t, err))
			for i, word := range words {
				if strings.Trim(word, "0123456789") == "" {
					words[i] = "N"
				}
			}
			if got := strings.Join(words, " "); got != test.text {
				t.Errorf("error %q, want %q", got, test.text)
			}
			wantEnd(t, err, nil)
			if took := time.Since(start); took > 10*timeout {
				t.Errorf("took %v", took)
			}
		})
	}
}

// TestHTTPDialEnds sees that a connection which nobody answers, begun for a
// request, ends with it.
func TestHTTPDialEnds(t *testing.T) {
	ended := make(chan struct{})
	h := HTTP{URL: "https://192.0.2.1", Timeout: 50 * time.Millisecond, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		defer close(ended)
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	_, err := h.Fetch(t.Context())
	if got := textOf(t, err); got != "no answer within 50ms" {
		t.Errorf("error %s", got)
	}
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Error("still dialing")
	}
}

func TestHTTPContext(t *testing.T) {
	address := serveBytes(t, func(_ net.Conn, ended <-chan struct{}) { <-ended })
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, err := HTTP{URL: "http://" + address}.Fetch(ctx)
	if took := time.Since(start); err == nil || took > 5*time.Second {
		t.Errorf("took %v, error %v", took, err)
	}
	wantEnd(t, err, nil)
}

func TestHTTPRefused(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	ok(t, err)
	address := listener.Addr().String()
	ok(t, listener.Close())
	_, err = HTTP{URL: "http://" + address + "/?token=" + secretToken}.Fetch(t.Context())
	if got := textOf(t, err, address, "ADDRESS"); got != "dial tcp ADDRESS: connect: connection refused" {
		t.Errorf("error %s", got)
	}
	wantEnd(t, err, nil)
}

func TestHTTPNotURL(t *testing.T) {
	_, err := HTTP{URL: "http://truth internal/" + secretToken}.Fetch(t.Context())
	if got := textOf(t, err); got != "not a URL" {
		t.Errorf("error %s", got)
	}
	wantEnd(t, err, ErrFinal)
}

// TestHTTPTLS is about who is believed, and by whom.
func TestHTTPTLS(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	serverConfig := func(leaf tls.Certificate, clients *x509.CertPool) *tls.Config {
		c := &tls.Config{Certificates: []tls.Certificate{leaf}}
		if clients != nil {
			c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, clients
		}
		return c
	}
	good := ca.leaf(t, "127.0.0.1", later)
	for name, test := range map[string]struct {
		server *tls.Config
		client *tls.Config
		text   string
	}{
		"good": {serverConfig(good, nil), &tls.Config{RootCAs: ca.pool()}, ""},
		"another authority": {serverConfig(good, nil), &tls.Config{RootCAs: other.pool()},
			`tls: x509: certificate signed by unknown authority (possibly because of "x509: ECDSA verification failure" while trying to verify candidate authority certificate "authority")`},
		"the system's authorities": {serverConfig(good, nil), nil, "tls: x509: certificate signed by unknown authority"},
		"another name": {serverConfig(ca.leaf(t, "192.0.2.1", later), nil), &tls.Config{RootCAs: ca.pool()},
			"tls: x509: certificate is valid for 192.0.2.1, not 127.0.0.1"},
		"too late": {serverConfig(ca.leaf(t, "127.0.0.1", past), nil), &tls.Config{RootCAs: ca.pool()},
			"tls: x509: certificate has expired or is not yet valid: current time …"},
		"client certificate": {serverConfig(good, ca.pool()), &tls.Config{RootCAs: ca.pool(), Certificates: []tls.Certificate{ca.leaf(t, "192.0.2.7", later)}}, ""},
		"client certificate missing": {serverConfig(good, ca.pool()), &tls.Config{RootCAs: ca.pool()},
			"remote error: tls: certificate required"},
		"client certificate of another authority": {serverConfig(good, ca.pool()), &tls.Config{RootCAs: ca.pool(),
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				leaf := other.leaf(t, "192.0.2.7", later)
				return &leaf, nil
			}}, "remote error: tls: unknown certificate authority"},
	} {
		t.Run(name, func(t *testing.T) {
			server := serveHTTP(t, test.server, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, goodBody) })
			h := HTTP{URL: server.URL}
			if test.client != nil {
				h.TLS = func() (*tls.Config, error) { return test.client, nil }
			}
			layers, err := h.Fetch(t.Context())
			got := textOf(t, err)
			if before, _, found := strings.Cut(got, "current time "); found {
				got = before + "current time …"
			}
			if got != test.text || (len(layers) == 1) != (test.text == "") {
				t.Errorf("error %q\nwant  %q", got, test.text)
			}
			wantEnd(t, err, nil)
		})
	}
}

// TestHTTPTLSMissing sees that what cannot be had yet may be had later.
func TestHTTPTLSMissing(t *testing.T) {
	missing := errors.New("ca: no such file")
	_, err := HTTP{URL: "https://192.0.2.1", TLS: func() (*tls.Config, error) { return nil, missing }}.Fetch(t.Context())
	if textOf(t, err) != "ca: no such file" {
		t.Errorf("error %v", err)
	}
	wantEnd(t, err, nil)
	_, err = HTTP{URL: "https://192.0.2.1", Bearer: func() (string, error) { return secretToken, missing }}.Fetch(t.Context())
	if textOf(t, err) != "bearer: ca: no such file" {
		t.Errorf("error %v", err)
	}
	wantEnd(t, err, nil)
}

// TestHTTPBearer sees that a token which is refused is read again.
func TestHTTPBearer(t *testing.T) {
	var asked atomic.Int32
	server := serveHTTP(t, nil, func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("Authorization") != "Bearer "+secretToken+" 3" {
			http.Error(w, "not you, "+r.Header.Get("Authorization"), http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, goodBody)
	})
	var read int
	h := HTTP{URL: server.URL, Bearer: func() (string, error) {
		read++
		return fmt.Sprint(secretToken, " ", read), nil
	}}
	var told []string
	answers, err := Fetch(t.Context(), []Wanted{{Source: h}}, nil, func(source string, err error) {
		told = append(told, source+": "+textOf(t, err))
	})
	if err != nil || len(answers) != 1 || len(answers[0].Layers) != 1 || asked.Load() != 3 {
		t.Fatalf("answers %v after %d requests: %v", show(answers), asked.Load(), err)
	}
	want := []string{"http " + server.URL + ": 401 Unauthorized", "http " + server.URL + ": 401 Unauthorized"}
	if diff := cmp.Diff(want, told); diff != "" {
		t.Errorf("waiting (-want +got):\n%s", diff)
	}
}

// TestHTTPRedirects follows from one server, with TLS or without, to another.
func TestHTTPRedirects(t *testing.T) {
	ca := newAuthority(t)
	security := &tls.Config{Certificates: []tls.Certificate{ca.leaf(t, "127.0.0.1", time.Now().Add(time.Hour))}}
	trust := func() (*tls.Config, error) { return &tls.Config{RootCAs: ca.pool()}, nil }
	identity := func() (*tls.Config, error) {
		return &tls.Config{RootCAs: ca.pool(), Certificates: security.Certificates}, nil
	}
	bearer := func() (string, error) { return secretToken, nil }

	var rounds atomic.Int32
	var seen atomic.Pointer[http.Request]
	target := func(w http.ResponseWriter, r *http.Request) {
		seen.Store(r)
		fmt.Fprint(w, goodBody)
	}
	clearTarget, secureTarget := serveHTTP(t, nil, target), serveHTTP(t, security, target)
	from := func(security *tls.Config) *httptest.Server {
		return serveHTTP(t, security, func(w http.ResponseWriter, r *http.Request) {
			switch r.URL.Path {
			case "/good":
				target(w, r)
			case "/to":
				http.Redirect(w, r, r.URL.Query().Get("where"), http.StatusFound)
			case "/loop":
				rounds.Add(1)
				http.Redirect(w, r, "/loop", http.StatusTemporaryRedirect)
			}
		})
	}
	clear, secure := from(nil), from(security)
	to := func(from *httptest.Server, where string) string {
		return from.URL + "/to?where=" + url.QueryEscape(where)
	}
	for name, test := range map[string]struct {
		h    HTTP
		text string
	}{
		"same host":                               {HTTP{URL: to(clear, "/good")}, ""},
		"same host, with a token":                 {HTTP{URL: to(clear, "/good"), Bearer: bearer}, ""},
		"another host":                            {HTTP{URL: to(clear, clearTarget.URL)}, ""},
		"another host, which we trust":            {HTTP{URL: to(secure, secureTarget.URL), TLS: trust}, ""},
		"another host, with a token":              {HTTP{URL: to(clear, clearTarget.URL), Bearer: bearer}, "redirect to another host, OTHER, which is not to see this node's credentials"},
		"another host, with a client certificate": {HTTP{URL: to(secure, secureTarget.URL), TLS: identity}, "redirect to another host, OTHER, which is not to see this node's credentials"},
		"to clear text":                           {HTTP{URL: to(secure, clearTarget.URL), TLS: trust}, "redirect from https to http"},
		"to TLS":                                  {HTTP{URL: to(clear, secureTarget.URL), TLS: trust}, ""},
		"there and back to clear text":            {HTTP{URL: to(secure, to(secure, clearTarget.URL)), TLS: trust}, "redirect from https to http"},
		"in a circle":                             {HTTP{URL: clear.URL + "/loop"}, "more than 5 redirects"},
	} {
		t.Run(name, func(t *testing.T) {
			seen.Store(nil)
			layers, err := test.h.Fetch(t.Context())
			got := textOf(t, err, clearTarget.Listener.Addr().String(), "OTHER", secureTarget.Listener.Addr().String(), "OTHER")
			if got != test.text || (len(layers) == 1) != (test.text == "") {
				t.Errorf("error %q\nwant  %q", got, test.text)
			}
			if err != nil {
				wantEnd(t, err, ErrFinal)
			}
			r := seen.Load()
			if (r != nil) != (test.text == "") {
				t.Errorf("the target has seen a request: %v", r != nil)
			}
			if r != nil && r.Referer() != "" {
				t.Errorf("the target was told of %s", r.Referer())
			}
		})
	}
	if n := rounds.Load(); n != maxRedirects+1 {
		t.Errorf("%d requests in a circle", n)
	}
}

// TestHTTPBounded sees that a source takes no more of an endless answer than a
// document may have.
func TestHTTPBounded(t *testing.T) {
	sent := make(chan int, 1)
	server := serveHTTP(t, nil, func(w http.ResponseWriter, _ *http.Request) {
		n, block := 0, bytes.Repeat([]byte{'\n'}, 1<<16)
		for {
			m, err := w.Write(block)
			if n += m; err != nil {
				sent <- n
				return
			}
		}
	})
	_, err := HTTP{URL: server.URL}.Fetch(t.Context())
	wantEnd(t, err, ErrFinal)
	select {
	case n := <-sent: // and what the buffers of two sockets hold
		if n > 4*document.MaxSize {
			t.Errorf("%d bytes sent", n)
		}
	case <-time.After(10 * time.Second):
		t.Error("still sending")
	}
}
