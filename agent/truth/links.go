package truth

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Links tells of changes of the network: links, addresses and routes that come
// and go, as the kernel reports them by rtnetlink(7). Nothing is polled. A nil
// *Links never changes.
type Links struct {
	socket *os.File

	mu      sync.Mutex
	changed chan struct{}
}

// WatchLinks begins to listen. Close ends it.
func WatchLinks() (*Links, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("netlink socket", err)
	}
	const groups = unix.RTMGRP_LINK | unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR |
		unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("netlink bind", err)
	}
	l := &Links{socket: os.NewFile(uintptr(fd), "netlink"), changed: make(chan struct{})}
	go l.listen()
	return l, nil
}

// listen does not look into the messages: that anything changed is reason
// enough to try again, and an overrun (ENOBUFS) says so, too.
func (l *Links) listen() {
	message := make([]byte, 64<<10)
	for {
		_, err := l.socket.Read(message)
		if err != nil && !errors.Is(err, unix.ENOBUFS) {
			return
		}
		l.tell()
	}
}

// tell wakes everybody who waits for a change.
func (l *Links) tell() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// Changed returns a channel that is closed at the next change.
func (l *Links) Changed() <-chan struct{} {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.changed
}

// Close ends the listening.
func (l *Links) Close() error {
	if l == nil {
		return nil
	}
	return l.socket.Close()
}

// Dial connects as [net.Dialer] does. A connection, or a look-up of a name,
// that was begun before the network changed is begun again: it may wait for
// an answer to packets that went nowhere. It is given a little more time to
// end first, and more each time, so that it does end where changes are many.
func (l *Links) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	for patience := settle; ; patience = min(2*patience, longestPatience) {
		changed := l.Changed()
		attempt, cancel := context.WithCancel(ctx)
		again := make(chan bool, 1)
		go func() {
			again <- outdated(attempt, changed, patience)
			cancel()
		}()
		conn, err := new(net.Dialer).DialContext(attempt, network, address)
		cancel()
		if outdated := <-again; err == nil || !outdated || ctx.Err() != nil {
			return conn, err
		}
	}
}

// outdated waits for the end of an attempt, or for a change and then not much
// longer. It tells whether there was a change.
func outdated(attempt context.Context, changed <-chan struct{}, patience time.Duration) bool {
	select {
	case <-attempt.Done():
		return false
	case <-changed:
		wait(attempt, nil, patience, 0)
		return true
	}
}
