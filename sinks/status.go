package sinks

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// responseSize bounds what is read of a response, detailSize what is told of it.
const (
	responseSize = 64 << 10
	detailSize   = 200
)

// statusError is what a response says about the batch: nil for 2xx. Only what
// may be the fault of an entry is final. A missing permission, a wrong path or
// an endpoint that does not know the media type are faults of the setting up,
// and no reason to throw logs away.
//
// The response of a receiver that refuses an entry may quote it, so that is not told.
func statusError(response *http.Response) error {
	defer func() { // so that the connection is used again
		_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, responseSize))
	}()
	status := strconv.Itoa(response.StatusCode) + " " + http.StatusText(response.StatusCode)
	switch code := response.StatusCode; {
	case code/100 == 2:
		return nil
	case code == http.StatusBadRequest, code == http.StatusRequestEntityTooLarge,
		code == http.StatusExpectationFailed, code == http.StatusUnprocessableEntity:
		return fmt.Errorf("%w: %s", ErrRejected, status)
	case code/100 == 5, code == http.StatusTooManyRequests,
		code == http.StatusRequestTimeout, code == http.StatusTooEarly:
		return &RetryError{
			Err:   errors.New(status + detail(response.Body)),
			After: retryAfterHeader(response.Header, time.Now()),
		}
	default:
		return fmt.Errorf("%w: %s%s", ErrDenied, status, detail(response.Body))
	}
}

// detail is the start of a response, as one line to end an error with.
func detail(body io.Reader) string {
	text, _ := io.ReadAll(io.LimitReader(body, detailSize)) // as far as it can be read
	line := strings.Join(strings.FieldsFunc(strings.ToValidUTF8(string(text), ""), func(r rune) bool {
		return r <= ' ' || 0x7f <= r && r <= 0x9f
	}), " ")
	if line == "" {
		return ""
	}
	return ": " + line
}

// retryAfterHeader is Retry-After (RFC 9110, 10.2.3): seconds, or a date; 0 when
// there is none that makes sense.
func retryAfterHeader(header http.Header, now time.Time) time.Duration {
	value := header.Get("Retry-After")
	if seconds, err := strconv.ParseUint(value, 10, 32); err == nil {
		return time.Duration(seconds) * time.Second
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, date.Sub(now))
	}
	return 0
}

// transportError is an error of http.Client.Do without the URL, of which String
// tells as much as may be told.
func transportError(err error) error {
	if wrapped, ok := errors.AsType[*url.Error](err); ok {
		err = wrapped.Err
	}
	for _, hangup := range []error{io.EOF, io.ErrUnexpectedEOF, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, hangup) {
			return fmt.Errorf("%w: %v", ErrNoAnswer, err)
		}
	}
	return err
}

// publicURL is a URL without user, password, query and fragment, which may be secret.
func publicURL(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "invalid URL"
	}
	return (&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String()
}
