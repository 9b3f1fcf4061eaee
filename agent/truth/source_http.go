package truth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/bootagent/bootagent/agent/document"
)

// Limits of an HTTP source that are no matter of configuration.
const (
	maxRedirects  = 5
	maxHeader     = 64 << 10
	maxRetryAfter = 300 // seconds
	httpTimeout   = 10 * time.Second
)

// HTTP is a document that a server has at a URL.
type HTTP struct {
	URL     string
	Timeout time.Duration // of one request, to the last byte of the answer; 10 s if zero

	// TLS and Bearer are asked before each request, so that a certificate or a
	// token that was renewed is used. Both may be nil.
	TLS    func() (*tls.Config, error)
	Bearer func() (string, error) // RFC 6750

	// Dial connects; nil: as net.Dialer does.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// String is "http URL", without what may be secret in a query.
func (h HTTP) String() string {
	u, err := url.Parse(h.URL)
	if err != nil {
		return "http"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return "http " + u.String()
}

// Fetch sends one GET.
func (h HTTP) Fetch(ctx context.Context) ([]document.Layer, error) {
	timeout := h.Timeout
	if timeout == 0 {
		timeout = httpTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	client, err := h.client()
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	request, err := h.request(ctx)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, transportError(err, timeout)
	}
	defer response.Body.Close()
	return h.read(response, timeout)
}

func (h HTTP) request(ctx context.Context) (*http.Request, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, h.URL, nil)
	if err != nil {
		return nil, final{errors.New("not a URL")}
	}
	request.Header.Set("Accept", "application/yaml, application/json;q=0.9, */*;q=0.1")
	if h.Bearer != nil {
		token, err := h.Bearer()
		if err != nil {
			return nil, fmt.Errorf("bearer: %v", err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return request, nil
}

// client is made anew for each request: there are few, and what was read
// again is then in use.
func (h HTTP) client() (*http.Client, error) {
	var protocols http.Protocols // for one request, HTTP/2 is no gain, and hides why TLS was refused
	protocols.SetHTTP1(true)
	transport := &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            h.Dial,
		Protocols:              &protocols,
		MaxResponseHeaderBytes: maxHeader,
	}
	secret := h.Bearer != nil
	if h.TLS != nil {
		config, err := h.TLS()
		if err != nil {
			return nil, err
		}
		transport.TLSClientConfig = config
		secret = secret || len(config.Certificates) > 0 || config.GetClientCertificate != nil
	}
	return &http.Client{Transport: transport, CheckRedirect: redirect(secret)}, nil
}

// redirect follows within bounds. What proves who the node is, if it is secret,
// stays with the host that it was meant for, and nothing goes from TLS to clear
// text. Nobody is told, as the Referer, a URL whose query may be secret.
func redirect(secret bool) func(next *http.Request, via []*http.Request) error {
	return func(next *http.Request, via []*http.Request) error {
		next.Header.Del("Referer")
		switch {
		case len(via) > maxRedirects:
			return final{fmt.Errorf("more than %d redirects", maxRedirects)}
		case via[0].URL.Scheme == "https" && next.URL.Scheme != "https":
			return final{fmt.Errorf("redirect from https to %s", next.URL.Scheme)}
		case secret && next.URL.Host != via[0].URL.Host:
			return final{fmt.Errorf("redirect to another host, %s, which is not to see this node's credentials", next.URL.Host)}
		}
		return nil
	}
}

// read judges the answer by its status (RFC 9110, section 15).
func (h HTTP) read(response *http.Response, timeout time.Duration) ([]document.Layer, error) {
	switch code := response.StatusCode; {
	case code == http.StatusOK:
		return h.parse(response.Body, timeout)
	case code == http.StatusNoContent, code == http.StatusNotFound, code == http.StatusGone:
		return nil, fmt.Errorf("%w (%s)", ErrAbsent, status(code))
	case code == http.StatusUnauthorized, code == http.StatusForbidden,
		code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests,
		code >= 500:
		return nil, retryAfter(errors.New(status(code)), response.Header)
	default:
		return nil, final{errors.New(status(code))}
	}
}

func (h HTTP) parse(body io.Reader, timeout time.Duration) ([]document.Layer, error) {
	content, err := io.ReadAll(io.LimitReader(body, document.MaxSize+1))
	if errors.Is(err, context.DeadlineExceeded) {
		return nil, fmt.Errorf("no more than %d bytes of an answer within %v", len(content), timeout)
	} else if err != nil {
		return nil, fmt.Errorf("answer broke off after %d bytes", len(content))
	}
	doc, err := document.Parse("document", content)
	if err != nil {
		return nil, final{err}
	}
	return []document.Layer{{Source: h.String(), Document: doc}}, nil
}

func status(code int) string {
	return strings.TrimSpace(strconv.Itoa(code) + " " + http.StatusText(code))
}

// retryAfter heeds the server's wish (RFC 9110, section 10.2.3), in seconds;
// the form of a date would need a clock, which a node may not have set yet.
func retryAfter(err error, header http.Header) error {
	seconds, convErr := strconv.Atoi(header.Get("Retry-After"))
	if convErr != nil || seconds <= 0 {
		return err
	}
	return after{err, time.Duration(min(seconds, maxRetryAfter)) * time.Second}
}

// transportError leaves out the method and URL, which the source's name has,
// and what was sent that is not HTTP, which may be a document. It says what a
// deadline was waiting for.
func transportError(err error, timeout time.Duration) error {
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		err = urlErr.Err
	}
	switch {
	case errors.Is(err, ErrFinal):
		return err
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %v", timeout)
	case strings.Contains(err.Error(), "malformed HTTP"), strings.Contains(err.Error(), "malformed MIME"):
		return errors.New("answer is not HTTP") // which net/http quotes, and has no type for
	}
	if certificate, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return fmt.Errorf("tls: %v", certificate.Err)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op // without what net/http says around it, now so, now so
	}
	return err
}
