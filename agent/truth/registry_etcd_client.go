package truth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"
)

// connect gives the client, making it at the first call.
func (e *Etcd) connect(ctx context.Context) (*clientv3.Client, error) {
	e.mu.Lock()
	client, closed := e.client, e.closed
	e.mu.Unlock()
	if client != nil || closed {
		return client, e.usable(closed)
	}
	made, err := e.open(ctx)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.client != nil || e.closed { // somebody was faster
		_ = made.Close()
		return e.client, e.usable(e.closed)
	}
	e.client = made
	return made, nil
}

func (e *Etcd) usable(closed bool) error {
	if closed {
		return errors.New("registry closed")
	}
	return nil
}

// Close ends the connection and everything that runs for it. Registrations
// stay in the inventory until they are released or expire.
func (e *Etcd) Close() error {
	e.mu.Lock()
	client := e.client
	e.client, e.closed = nil, true
	e.mu.Unlock()
	if client == nil {
		return nil
	}
	if err := client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return fmt.Errorf("registry: %s: close: %v", e, err)
	}
	return nil
}

// open makes a client. With a user name it logs in, which the library bounds
// by the client's own context only: ctx is made to end that.
func (e *Etcd) open(ctx context.Context) (*clientv3.Client, error) {
	endpoints, err := e.endpoints()
	if err != nil {
		return nil, err
	}
	base, cancel := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, cancel)
	client, err := clientv3.New(clientv3.Config{
		Context:              base,
		Endpoints:            endpoints,
		TLS:                  e.TLS,
		Username:             e.Username,
		Password:             e.Password,
		DialKeepAliveTime:    10 * time.Second, // only while a request waits
		DialKeepAliveTimeout: 5 * time.Second,
		MaxUnaryRetries:      3, // one of them for a login that has expired
		MaxCallSendMsgSize:   2 << 20,
		MaxCallRecvMsgSize:   2 * etcdPage * maxRecord,
		Logger:               zap.NewNop(),
		DialOptions:          e.dialOptions(),
	})
	if err != nil {
		cancel()
		return nil, err
	}
	if !stop() {
		_ = client.Close()
		return nil, ctx.Err()
	}
	return client, nil
}

// dialOptions keep gRPC from waiting in silence: a request on a broken
// connection fails with the reason, the next attempt to connect is never far,
// and proxies of the environment are left out.
func (e *Etcd) dialOptions() []grpc.DialOption {
	dial := e.Dial
	if dial == nil {
		dial = func(ctx context.Context, address string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", address)
		}
	}
	return []grpc.DialOption{
		grpc.WithContextDialer(dial),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
		grpc.WithChainUnaryInterceptor(failFast),
	}
}

// failFast undoes the library's WaitForReady, under which a refused connection
// becomes a bare "deadline exceeded". (Streams, see exchange, do not wait.)
func failFast(ctx context.Context, method string, req, reply any, conn *grpc.ClientConn, invoke grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	return invoke(ctx, method, req, reply, conn, append(opts, grpc.WaitForReady(false))...)
}

// endpoints checks the addresses. The library would take the first one's
// scheme for all, and drop TLS or a login without a word where it does not
// apply.
func (e *Etcd) endpoints() ([]string, error) {
	if len(e.Endpoints) == 0 {
		return nil, final{errors.New("no endpoint")}
	}
	if (e.Username == "") != (e.Password == "") {
		return nil, final{errors.New("user name and password: only one of them")}
	}
	var endpoints []string
	scheme := ""
	for _, endpoint := range e.Endpoints {
		u, err := url.Parse(endpoint)
		switch {
		case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
			return nil, final{errors.New("endpoint: not an http or https URL")}
		case u.User != nil || strings.Trim(u.Path, "/") != "" || u.RawQuery != "":
			return nil, final{fmt.Errorf("endpoint %s: more than host and port", u.Host)}
		case scheme != "" && scheme != u.Scheme:
			return nil, final{errors.New("endpoints: http and https mixed")}
		case e.TLS != nil && u.Scheme == "http":
			return nil, final{fmt.Errorf("endpoint %s: http, but TLS is configured", u.Host)}
		}
		if scheme = u.Scheme; u.Port() == "" {
			u.Host = net.JoinHostPort(u.Hostname(), "2379")
		}
		endpoints = append(endpoints, scheme+"://"+u.Host)
	}
	return endpoints, nil
}

// keepAlive renews the lease once and gives its TTL. The library's
// KeepAliveOnce does not fit: on a broken connection it runs in circles,
// without a pause, until ctx ends.
func (l *etcdLease) keepAlive(ctx context.Context) (time.Duration, error) {
	answer, err := l.exchange(ctx, &etcdserverpb.LeaseKeepAliveRequest{ID: int64(l.id)})
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return 0, ErrLost
	case err != nil:
		return 0, err
	case answer.TTL <= 0: // how etcd says that there is no such lease
		return 0, ErrLost
	}
	return time.Duration(answer.TTL) * time.Second, nil
}

// exchange is one question and one answer on a stream.
func (l *etcdLease) exchange(ctx context.Context, question *etcdserverpb.LeaseKeepAliveRequest) (*etcdserverpb.LeaseKeepAliveResponse, error) {
	stop, cancel := context.WithCancel(ctx)
	defer cancel() // ends the stream
	stream, err := etcdserverpb.NewLeaseClient(l.client.ActiveConnection()).LeaseKeepAlive(stop)
	if err == nil {
		_ = stream.Send(question) // its error is io.EOF; Recv has the reason
		var answer *etcdserverpb.LeaseKeepAliveResponse
		if answer, err = stream.Recv(); err == nil {
			return answer, nil
		}
	}
	return nil, clientv3.ContextError(ctx, err)
}

// again says whether register should look again: it lost a race, or the
// server is alive but was busy or between two leaders.
func again(err error) bool {
	if errors.Is(err, errConflict) || errors.Is(err, rpctypes.ErrTooManyRequests) {
		return true
	}
	var server rpctypes.EtcdError
	return errors.As(err, &server) && server.Code() == codes.Unavailable
}

// fail gives an error its place, and gRPC's wording a plain form.
func (e *Etcd) fail(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrLost), errors.Is(err, ErrTaken), errors.Is(err, ErrFinal):
		return fmt.Errorf("registry: %s: %w", e, err)
	case ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)):
		return fmt.Errorf("registry: %s: no answer: %w", e, ctx.Err())
	case errors.Is(err, rpctypes.ErrPermissionDenied):
		return fmt.Errorf("registry: %s: permission denied (the user needs readwrite on %s)", e, e.prefix())
	case errors.Is(err, rpctypes.ErrUserEmpty):
		return fmt.Errorf("registry: %s: login needed (no user name or certificate was given)", e)
	}
	return fmt.Errorf("registry: %s: %s", e, plain(err))
}

// plain is the innermost reason in an error of gRPC, which nests them as
// `… desc = "…"`.
func plain(err error) string {
	text := err.Error()
	if s, ok := grpcstatus.FromError(err); ok {
		text = s.Message()
	}
	if i := strings.LastIndex(text, `desc = "`); i >= 0 {
		text = strings.TrimRight(text[i+len(`desc = "`):], `"`)
	}
	for _, prefix := range []string{"etcdserver: ", "transport: ", "Error while dialing: "} {
		text = strings.TrimPrefix(text, prefix)
	}
	return text
}
