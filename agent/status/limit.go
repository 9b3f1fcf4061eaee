package status

import (
	"net"
	"sync"
)

// maxConnections bounds those of a listener that are open at the same time:
// the endpoint is for everybody on the node, and a connection costs some 11 kB.
const maxConnections = 256

// limited is a listener with so many connections at most; one more waits to be
// accepted.
type limited struct {
	net.Listener
	free chan struct{}
	once sync.Once
	end  chan struct{}
}

func limit(l net.Listener, n int) *limited {
	return &limited{Listener: l, free: make(chan struct{}, n), end: make(chan struct{})}
}

// Accept implements [net.Listener].
func (l *limited) Accept() (net.Conn, error) {
	select {
	case l.free <- struct{}{}:
	case <-l.end:
		return nil, net.ErrClosed
	}
	conn, err := l.Listener.Accept()
	if err != nil {
		<-l.free
		return nil, err
	}
	return &counted{Conn: conn, done: func() { <-l.free }}, nil
}

// Close implements [net.Listener].
func (l *limited) Close() error {
	l.once.Do(func() { close(l.end) })
	return l.Listener.Close()
}

// counted is a connection that makes room when it is closed.
type counted struct {
	net.Conn
	once sync.Once
	done func()
}

// Close implements [net.Conn].
func (c *counted) Close() error {
	defer c.once.Do(c.done)
	return c.Conn.Close()
}

// CloseWrite is for package http, which lets a client read why it was refused
// before its connection ends.
func (c *counted) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
