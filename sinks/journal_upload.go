package sinks

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/bootagent/bootagent/systemd/journal"
)

// JournalUpload sends entries as they are, in the journal export format, to
// systemd-journal-remote(8) or to whatever else takes what systemd-journal-upload
// sends (VictoriaLogs). The receiver does not know an entry it has got before: a
// batch that is sent again is stored again.
type JournalUpload struct {
	// URL is the address of the receiver; entries go to URL/upload.
	URL string

	// Client sends the requests; nil: http.DefaultClient. Redirects are not
	// followed, whatever the Client says.
	Client *http.Client

	// Header returns headers to add, such as Authorization; nil: none. It is
	// asked for each request, so that it may return a credential that changes.
	Header func() (http.Header, error)
}

// Send implements Sink.
func (u *JournalUpload) Send(ctx context.Context, batch []journal.Entry) error {
	if err := u.send(ctx, batch); err != nil {
		return fmt.Errorf("%s: %w", u, err)
	}
	return nil
}

func (u *JournalUpload) send(ctx context.Context, batch []journal.Entry) error {
	request, err := u.request(ctx, batch)
	if err != nil {
		return err
	}
	response, err := u.client().Do(request)
	if err != nil {
		return transportError(err)
	}
	defer response.Body.Close()
	return statusError(response)
}

func (u *JournalUpload) request(ctx context.Context, batch []journal.Entry) (*http.Request, error) {
	var header http.Header
	if u.Header != nil {
		var err error
		if header, err = u.Header(); err != nil {
			return nil, err
		}
	}
	target := strings.TrimRight(u.URL, "/") + "/upload"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, target, bytes.NewReader(encode(batch)))
	if err != nil {
		return nil, fmt.Errorf("%w: invalid URL", ErrDenied)
	}
	for name, values := range header {
		request.Header[http.CanonicalHeaderKey(name)] = values
	}
	request.Header.Set("Content-Type", "application/vnd.fdo.journal")
	return request, nil
}

// encode writes a batch in export format. Not into a buffer that is used again:
// a transport may read on after its request was given up.
func encode(batch []journal.Entry) []byte {
	size := 0
	for _, entry := range batch {
		size += entry.Size()
	}
	body := make([]byte, 0, size)
	for _, entry := range batch {
		body = entry.AppendExport(body)
	}
	return body
}

func (u *JournalUpload) client() *http.Client {
	client := http.Client{}
	if u.Client != nil {
		client = *u.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client
}

// String implements Sink.
func (u *JournalUpload) String() string { return "journal_upload " + publicURL(u.URL) }
