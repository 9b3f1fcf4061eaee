package config

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"time"
)

// Policy says what a check's bad verdict means.
type Policy string

// The policies of a check.
const (
	Enforce Policy = "enforce" // the boot fails
	Warn    Policy = "warn"    // the node is degraded
	Off     Policy = "off"     // the check is not made
)

// UnmarshalText takes one of the policies.
func (p *Policy) UnmarshalText(text []byte) error {
	switch policy := Policy(text); policy {
	case Enforce, Warn, Off:
		*p = policy
		return nil
	}
	return fmt.Errorf("policy %q: want enforce, warn or off", text)
}

// Duration is a time span of more than nothing.
type Duration time.Duration

// UnmarshalText takes the form of [time.ParseDuration]: 90s, 2m, 1h30m.
func (d *Duration) UnmarshalText(text []byte) error {
	span, err := time.ParseDuration(string(text))
	if err != nil || span <= 0 {
		return errors.New("time span: want a number with a unit, as in 90s or 2m")
	}
	*d = Duration(span)
	return nil
}

// MarshalText is the form that UnmarshalText takes.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// FileMode is a file's permissions.
type FileMode fs.FileMode

// UnmarshalText takes permissions in octal: 0640. Set-id and sticky bits are
// refused: nothing that is published is to be run as somebody else.
func (m *FileMode) UnmarshalText(text []byte) error {
	mode, err := strconv.ParseUint(string(text), 8, 32)
	if err != nil || mode > 0o777 {
		return errors.New(`mode: want octal permissions, as in "0640"`)
	}
	*m = FileMode(mode)
	return nil
}

// httpURL checks the address of a server.
func httpURL(key, text string) error {
	u, err := url.Parse(text)
	switch {
	case text == "":
		return fmt.Errorf("%s: missing", key)
	case err != nil:
		return fmt.Errorf("%s: not a URL", key)
	case u.User != nil:
		return fmt.Errorf("%s: a user or password in it (secrets are never written inline)", key)
	case u.Scheme != "http" && u.Scheme != "https" || u.Host == "":
		return fmt.Errorf("%s: not an http or https URL", key)
	}
	return nil
}

// clear tells whether what is sent to the URL can be read on the way.
func clear(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return false
	}
	addr, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !addr.IsLoopback())
}

func loopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("status.listen: %q is not an address like 127.0.0.1:2016", address)
	}
	if ip, err := netip.ParseAddr(host); err != nil || !ip.IsLoopback() {
		return errors.New(`status.listen: not a loopback address (use 127.0.0.1, [::1] or "off")`)
	}
	return nil
}
