package truth

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	defaultEtcdPrefix = "/bootagent"
	defaultEtcdTTL    = 30 * time.Second
	etcdPage          = 256 // records in one answer: at most 16 MiB
)

// errConflict says that another writer was faster: look again.
var errConflict = errors.New("another writer was faster")

// Etcd is the inventory in etcd (API v3, server 3.4 or later). A node is two
// keys under one lease: PREFIX/nodes/ID with the record and, if it has a name,
// PREFIX/names/NAME with the identity that holds it. What is not renewed is
// gone after the TTL, and so is its name; never earlier, and later when etcd
// changes its leader, which starts every TTL anew.
//
// A node's user or certificate needs readwrite on PREFIX/. Prefer certificates
// in large fleets: with a password every renewal logs in again.
type Etcd struct {
	Endpoints []string      // http://HOST[:PORT] or https://…, all of one kind; the port is 2379 by default
	Prefix    string        // default /bootagent
	TTL       time.Duration // in whole seconds, default 30s; etcd may grant more
	TLS       *tls.Config   // for https; nil: the system's authorities, no client certificate
	Username  string        // empty: no login
	Password  string

	// Dial connects to a host:port. Default: net.Dialer, never a proxy.
	Dial func(ctx context.Context, address string) (net.Conn, error)

	mu     sync.Mutex // guards what follows, held for no request
	client *clientv3.Client
	closed bool
}

// String is "etcd" and the endpoints, without credentials.
func (e *Etcd) String() string {
	var shown []string
	for _, endpoint := range e.Endpoints {
		if u, err := url.Parse(endpoint); err == nil && u.Host != "" {
			endpoint = u.Scheme + "://" + u.Host
		} else {
			endpoint = "(not a URL)"
		}
		shown = append(shown, endpoint)
	}
	return "etcd " + strings.Join(shown, ",")
}

// Register implements Registry. Its token is the revision at which the name
// was taken. It takes three requests, four for a node that comes back.
func (e *Etcd) Register(ctx context.Context, node Node) (Registration, error) {
	if err := node.validate(); err != nil {
		return Registration{}, e.fail(ctx, err)
	}
	client, err := e.connect(ctx)
	if err != nil {
		return Registration{}, e.fail(ctx, err)
	}
	l := &etcdLease{etcd: e, client: client}
	for try := 0; ; try++ {
		reg, err := l.register(ctx, node)
		switch {
		case err == nil:
			return reg, nil
		case !again(err):
			return Registration{}, e.fail(ctx, err)
		case !spread(ctx, try):
			return Registration{}, e.fail(ctx, fmt.Errorf("after %d tries: %v", try+1, plain(err)))
		}
	}
}

// Nodes implements Registry: one consistent snapshot, in pages.
func (e *Etcd) Nodes(ctx context.Context) ([]Node, error) {
	client, err := e.connect(ctx)
	if err != nil {
		return nil, e.fail(ctx, err)
	}
	var nodes []Node
	var bad []error
	prefix, revision := e.key("nodes", ""), int64(0)
	for from := prefix; ; {
		page, err := client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)),
			clientv3.WithLimit(etcdPage), clientv3.WithRev(revision))
		if err != nil {
			return nil, e.fail(ctx, err)
		}
		for _, kv := range page.Kvs {
			node, err := decodeNode(strings.TrimPrefix(string(kv.Key), prefix), kv.Value)
			if err != nil {
				bad = append(bad, fmt.Errorf("registry: %s: %s: %v", e, kv.Key, err))
				continue
			}
			nodes = append(nodes, node)
		}
		if !page.More || len(page.Kvs) == 0 {
			return nodes, errors.Join(bad...)
		}
		from, revision = string(page.Kvs[len(page.Kvs)-1].Key)+"\x00", page.Header.Revision
	}
}

func (e *Etcd) prefix() string {
	return strings.TrimRight(cmp.Or(e.Prefix, defaultEtcdPrefix), "/") + "/"
}

func (e *Etcd) key(kind, name string) string { return e.prefix() + kind + "/" + name }

// seconds is the TTL as etcd counts it.
func (e *Etcd) seconds() int64 {
	return int64(math.Ceil(cmp.Or(e.TTL, defaultEtcdTTL).Seconds()))
}

// etcdLease is a registration, or on the way to one. Every holder has a lease
// of its own in etcd, so "still ours" is always the same question: is the key
// attached to our lease? Nothing else needs to be remembered or compared.
type etcdLease struct {
	etcd   *Etcd
	client *clientv3.Client
	id     clientv3.LeaseID // 0: not granted yet
	ttl    time.Duration
	node   Node // as registered
}

func (l *etcdLease) recordKey() string { return l.etcd.key("nodes", l.node.ID) }
func (l *etcdLease) nameKey() string   { return l.etcd.key("names", l.node.Name) }

// register looks once and tries once. errConflict, or another error of which
// again is true: look again.
func (l *etcdLease) register(ctx context.Context, node Node) (Registration, error) {
	record, name, err := l.held(ctx, node.ID)
	if err != nil {
		return Registration{}, err
	}
	if record == nil {
		return l.claim(ctx, node)
	}
	old, err := decodeNode(node.ID, record.Value)
	if err != nil || !fits(node.Name, old.Name) || (old.Name != "" && name == nil) {
		return Registration{}, l.drop(ctx, record, name)
	}
	if old.Ordinal > 0 {
		node.Ordinal = old.Ordinal
	}
	l.node = node.withName(old.Name)
	if old.BootID == node.BootID && record.Lease != 0 {
		return l.resume(ctx, record, name)
	}
	return l.takeOver(ctx, record, name)
}

// held is the record of id and the key of the name in it, as far as that is
// this id's: two reads, so that writes must be guarded by what they saw.
func (l *etcdLease) held(ctx context.Context, id string) (record, name *mvccpb.KeyValue, err error) {
	got, err := l.client.Get(ctx, l.etcd.key("nodes", id))
	if err != nil || len(got.Kvs) == 0 {
		return nil, nil, err
	}
	record = got.Kvs[0]
	old, err := decodeNode(id, record.Value)
	if err != nil || old.Name == "" {
		return record, nil, nil
	}
	got, err = l.client.Get(ctx, l.etcd.key("names", old.Name))
	if err != nil || len(got.Kvs) == 0 || holder(got.Kvs[0]).ID != id {
		return record, nil, err
	}
	return record, got.Kvs[0], nil
}

// holder is who has the name in kv; nobody we know, if that cannot be read.
func holder(kv *mvccpb.KeyValue) claim {
	var c claim
	if json.Unmarshal(kv.Value, &c) != nil {
		return claim{}
	}
	return c
}

// resume joins the registration that this boot has already: same lease, same
// token.
func (l *etcdLease) resume(ctx context.Context, record, name *mvccpb.KeyValue) (Registration, error) {
	l.id = clientv3.LeaseID(record.Lease)
	token := int64(0)
	if name != nil {
		token = name.ModRevision
	}
	err := l.put(ctx, l.node)
	if err == nil {
		l.ttl, err = l.keepAlive(ctx)
	}
	if errors.Is(err, ErrLost) { // it ended between the look and the write
		err = errConflict
	}
	if err != nil {
		l.id = 0
		return Registration{}, err
	}
	return l.registration(token), nil
}

// takeOver moves record and name of an earlier boot to a lease of our own. The
// name is never free in between. The former lease is left without keys, to
// end by itself, and its holder, should it still live, learns that it lost.
func (l *etcdLease) takeOver(ctx context.Context, record, name *mvccpb.KeyValue) (Registration, error) {
	return l.commit(ctx, unchanged(record, name))
}

// claim takes a free name, and the record's key, which was seen to be free.
func (l *etcdLease) claim(ctx context.Context, node Node) (Registration, error) {
	name := node.Name
	switch before, _, ordinal := strings.Cut(name, Ordinal); {
	case ordinal:
		taken, err := l.names(ctx, before)
		if err != nil {
			return Registration{}, err
		}
		name = lowestFree(node.Name, taken)
	case name != "":
		if err := l.free(ctx, node.ID, name); err != nil {
			return Registration{}, err
		}
	}
	l.node = node.withName(name)
	guards := []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(l.recordKey()), "=", 0)}
	if name != "" {
		guards = append(guards, clientv3.Compare(clientv3.CreateRevision(l.nameKey()), "=", 0))
	}
	return l.commit(ctx, guards)
}

// names lists the names that begin with prefix.
func (l *etcdLease) names(ctx context.Context, prefix string) ([]string, error) {
	root := l.etcd.key("names", "")
	got, err := l.client.Get(ctx, root+prefix, clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		return nil, err
	}
	var names []string
	for _, kv := range got.Kvs {
		names = append(names, strings.TrimPrefix(string(kv.Key), root))
	}
	return names, nil
}

// free sees that nobody has name. A claim of our own without a record (which
// somebody must have deleted) is removed.
func (l *etcdLease) free(ctx context.Context, id, name string) error {
	got, err := l.client.Get(ctx, l.etcd.key("names", name))
	if err != nil || len(got.Kvs) == 0 {
		return err
	}
	if c := holder(got.Kvs[0]); c.ID != id {
		return taken(name, c)
	}
	return l.drop(ctx, got.Kvs[0])
}

// commit writes record and name under a lease of our own, if guards hold.
func (l *etcdLease) commit(ctx context.Context, guards []clientv3.Cmp) (Registration, error) {
	if err := l.grant(ctx); err != nil {
		return Registration{}, err
	}
	data, err := l.node.encode()
	if err != nil {
		return Registration{}, err
	}
	puts := []clientv3.Op{clientv3.OpPut(l.recordKey(), string(data), clientv3.WithLease(l.id))}
	if l.node.Name != "" {
		value, err := json.Marshal(claim{ID: l.node.ID, BootID: l.node.BootID})
		if err != nil {
			return Registration{}, err
		}
		puts = append(puts, clientv3.OpPut(l.nameKey(), string(value), clientv3.WithLease(l.id)))
	}
	done, err := l.client.Txn(ctx).If(guards...).Then(puts...).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound): // the claim took longer than the TTL
		l.id = 0
		return Registration{}, errConflict
	case err != nil:
		return Registration{}, err
	case !done.Succeeded:
		return Registration{}, errConflict
	case l.node.Name == "":
		return l.registration(0), nil
	}
	return l.registration(done.Header.Revision), nil
}

// grant asks for a lease, once. One that comes to nothing ends by itself.
func (l *etcdLease) grant(ctx context.Context) error {
	if l.id != 0 {
		return nil
	}
	granted, err := l.client.Grant(ctx, l.etcd.seconds())
	if err != nil {
		return err
	}
	l.id, l.ttl = granted.ID, time.Duration(granted.TTL)*time.Second
	return nil
}

func (l *etcdLease) registration(token int64) Registration {
	return Registration{Node: l.node, Key: l.recordKey(), Token: token, TTL: l.ttl, Lease: l}
}

// drop removes what this identity holds and no longer wants, and asks to look
// again.
func (l *etcdLease) drop(ctx context.Context, kvs ...*mvccpb.KeyValue) error {
	var deletes []clientv3.Op
	for _, kv := range kvs {
		if kv != nil {
			deletes = append(deletes, clientv3.OpDelete(string(kv.Key)))
		}
	}
	if _, err := l.client.Txn(ctx).If(unchanged(kvs...)...).Then(deletes...).Commit(); err != nil {
		return err
	}
	return errConflict
}

// unchanged guards a write by what was read before it.
func unchanged(kvs ...*mvccpb.KeyValue) (guards []clientv3.Cmp) {
	for _, kv := range kvs {
		if kv != nil {
			guards = append(guards, clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision))
		}
	}
	return guards
}

// ours guards a write by the lease that the keys are attached to.
func (l *etcdLease) ours() []clientv3.Cmp {
	guards := []clientv3.Cmp{clientv3.Compare(clientv3.LeaseValue(l.recordKey()), "=", l.id)}
	if l.node.Name != "" {
		guards = append(guards, clientv3.Compare(clientv3.LeaseValue(l.nameKey()), "=", l.id))
	}
	return guards
}

// guarded does ops if we still hold the registration.
func (l *etcdLease) guarded(ctx context.Context, ops ...clientv3.Op) error {
	done, err := l.client.Txn(ctx).If(l.ours()...).Then(ops...).Commit()
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return ErrLost
	case err != nil:
		return err
	case !done.Succeeded:
		return ErrLost
	}
	return nil
}

func (l *etcdLease) put(ctx context.Context, node Node) error {
	data, err := node.encode()
	if err != nil {
		return err
	}
	return l.guarded(ctx, clientv3.OpPut(l.recordKey(), string(data), clientv3.WithLease(l.id)))
}

// Renew implements Lease. The second request is for what a lease that lives
// does not show: that its keys were deleted or taken over.
func (l *etcdLease) Renew(ctx context.Context) error {
	_, err := l.keepAlive(ctx)
	if err == nil {
		err = l.guarded(ctx)
	}
	return l.etcd.fail(ctx, err)
}

// Update implements Lease.
func (l *etcdLease) Update(ctx context.Context, node Node) error {
	node.ID, node.BootID, node.Name, node.Ordinal = l.node.ID, l.node.BootID, l.node.Name, l.node.Ordinal
	if err := node.validate(); err != nil {
		return l.etcd.fail(ctx, err)
	}
	return l.etcd.fail(ctx, l.put(ctx, node))
}

// Release implements Lease. Revoking the lease deletes the keys attached to
// it, which are ours by that alone, and no others.
func (l *etcdLease) Release(ctx context.Context) error {
	_, err := l.client.Revoke(ctx, l.id)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return l.etcd.fail(ctx, err)
}
