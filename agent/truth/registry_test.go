package truth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// testContract holds every registry to what the interfaces promise. inventory
// makes an empty inventory, and open another agent's view of it.
func testContract(t *testing.T, inventory func(t *testing.T) (open func() Registry)) {
	cases := map[string]func(t *testing.T, open func() Registry){
		"register":                     contractRegister,
		"no name":                      contractNoName,
		"restart adopts":               contractRestart,
		"new boot takes over":          contractNewBoot,
		"new boot without a name":      contractNewBootNoName,
		"another name is wanted":       contractRename,
		"race for ordinals":            contractRace,
		"race of one identity":         contractSameIDRace,
		"lowest free ordinal":          contractLowest,
		"fixed name taken":             contractTaken,
		"update":                       contractUpdate,
		"release":                      contractRelease,
		"lost after another took over": contractLost,
		"wrong names":                  contractInvalid,
		"context has ended":            contractContext,
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(t, inventory(t)) })
	}
}

func testNode(id, boot, name string) Node {
	return Node{
		ID: id, BootID: boot, MachineID: "m-" + id, Name: name, Role: "web", Hostname: "host",
		Addresses: []string{"192.0.2.1", "2001:db8::1"}, ImageID: "img", ImageVersion: "42",
		State: StateReady, Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), AgentVersion: "1",
	}
}

func register(t *testing.T, r Registry, n Node) Registration {
	t.Helper()
	reg, err := r.Register(t.Context(), n)
	if err != nil {
		t.Fatalf("register %s: %v", n.ID, err)
	}
	return reg
}

func names(t *testing.T, r Registry) []string {
	t.Helper()
	nodes, err := r.Nodes(t.Context())
	if err != nil {
		t.Fatalf("nodes: %v", err)
	}
	var list []string
	for _, n := range nodes {
		list = append(list, n.ID+"="+n.Name)
	}
	return list
}

func wantNames(t *testing.T, r Registry, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, names(t, r)); diff != "" {
		t.Errorf("inventory (-want +got):\n%s", diff)
	}
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("error %v, want %v", err, want)
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

func contractRegister(t *testing.T, open func() Registry) {
	r := open()
	wantNames(t, r)
	reg := register(t, r, testNode("i-1", "b1", "web-${ordinal}"))
	want := testNode("i-1", "b1", "web-1")
	want.Ordinal = 1
	if diff := cmp.Diff(want, reg.Node); diff != "" {
		t.Errorf("registered (-want +got):\n%s", diff)
	}
	if reg.Token <= 0 || reg.Lease == nil || !strings.Contains(reg.Key, "i-1") {
		t.Errorf("registration %+v", reg)
	}
	nodes, err := open().Nodes(t.Context())
	if diff := cmp.Diff([]Node{want}, nodes); diff != "" || err != nil {
		t.Errorf("inventory (-want +got): %v\n%s", err, diff)
	}
	ok(t, reg.Renew(t.Context()))
}

func contractNoName(t *testing.T, open func() Registry) {
	reg := register(t, open(), testNode("i-1", "b1", ""))
	if reg.Node.Name != "" || reg.Node.Ordinal != 0 || reg.Token != 0 {
		t.Errorf("registration %+v", reg)
	}
	ok(t, reg.Renew(t.Context()))
	ok(t, reg.Update(t.Context(), reg.Node))
	wantNames(t, open(), "i-1=")
	ok(t, reg.Release(t.Context()))
	wantNames(t, open())
}

func contractRestart(t *testing.T, open func() Registry) {
	register(t, open(), testNode("i-0", "b0", "web-${ordinal}"))
	boot := register(t, open(), testNode("i-1", "b1", "web-${ordinal}"))
	for _, name := range []string{"web-${ordinal}", boot.Node.Name} {
		run := register(t, open(), testNode("i-1", "b1", name))
		if run.Node.Name != "web-2" || run.Node.Ordinal != 2 || run.Token != boot.Token || run.TTL != boot.TTL {
			t.Errorf("asked for %s: %+v, want what %+v has", name, run, boot)
		}
		ok(t, run.Renew(t.Context()))
		ok(t, boot.Renew(t.Context())) // one boot is one holder
	}
	wantNames(t, open(), "i-0=web-1", "i-1=web-2")
}

func contractNewBoot(t *testing.T, open func() Registry) {
	register(t, open(), testNode("i-0", "b0", "web-${ordinal}"))
	first := register(t, open(), testNode("i-1", "b1", "web-${ordinal}"))
	second := register(t, open(), testNode("i-1", "b2", "web-${ordinal}"))
	if second.Node.Name != "web-2" || second.Node.Ordinal != 2 || second.Token <= first.Token {
		t.Errorf("second boot %+v, first %+v", second, first)
	}
	nodes, err := open().Nodes(t.Context())
	if err != nil || len(nodes) != 2 || nodes[1].BootID != "b2" {
		t.Errorf("nodes %+v, %v", nodes, err)
	}
	ok(t, second.Renew(t.Context()))
}

func contractNewBootNoName(t *testing.T, open func() Registry) {
	first := register(t, open(), testNode("i-1", "b1", ""))
	second := register(t, open(), testNode("i-1", "b2", ""))
	wantErr(t, first.Renew(t.Context()), ErrLost)
	ok(t, first.Release(t.Context()))
	ok(t, second.Renew(t.Context()))
	wantNames(t, open(), "i-1=")
}

func contractRename(t *testing.T, open func() Registry) {
	web := register(t, open(), testNode("i-1", "b1", "web-${ordinal}"))
	db := register(t, open(), testNode("i-1", "b2", "db-${ordinal}"))
	wantNames(t, open(), "i-1=db-1")
	wantErr(t, web.Renew(t.Context()), ErrLost)
	register(t, open(), testNode("i-2", "b2", "web-1")) // given back
	register(t, open(), testNode("i-1", "b3", ""))
	wantErr(t, db.Renew(t.Context()), ErrLost)
	wantNames(t, open(), "i-1=", "i-2=web-1")
}

func contractRace(t *testing.T, open func() Registry) {
	const n = 20
	var mu sync.Mutex
	var got, tokens []int
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			reg, err := open().Register(t.Context(), testNode(fmt.Sprintf("i-%d", i), "b", "web-${ordinal}"))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			got, tokens = append(got, reg.Node.Ordinal), append(tokens, int(reg.Token))
		})
	}
	wg.Wait()
	slices.Sort(got)
	for i := range n {
		if got[i] != i+1 {
			t.Fatalf("ordinals %v, want 1 to %d", got, n)
		}
	}
	slices.Sort(tokens)
	if len(slices.Compact(tokens)) != n {
		t.Errorf("tokens not unique: %v", tokens)
	}
	if len(names(t, open())) != n {
		t.Errorf("inventory %v", names(t, open()))
	}
}

// contractSameIDRace: an agent started twice must not hold two names.
func contractSameIDRace(t *testing.T, open func() Registry) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			_, err := open().Register(t.Context(), testNode("i-1", fmt.Sprint("b", i%2), "web-${ordinal}"))
			ok(t, err)
		})
	}
	wg.Wait()
	wantNames(t, open(), "i-1=web-1")
	if reg := register(t, open(), testNode("i-2", "b", "web-${ordinal}")); reg.Node.Ordinal != 2 {
		t.Errorf("next ordinal %d, want 2", reg.Node.Ordinal)
	}
}

func contractLowest(t *testing.T, open func() Registry) {
	r := open()
	for i, name := range []string{"web-2", "web-02", "web-db-1", "web-x", "xweb-1", "web-1-b"} {
		register(t, r, testNode(fmt.Sprint("i-", i), "b", name))
	}
	for i, want := range []int{1, 3, 4} {
		if reg := register(t, r, testNode(fmt.Sprint("j-", i), "b", "web-${ordinal}")); reg.Node.Ordinal != want {
			t.Errorf("ordinal %d, want %d", reg.Node.Ordinal, want)
		}
	}
	if reg := register(t, r, testNode("k", "b", "${ordinal}.web")); reg.Node.Name != "1.web" {
		t.Errorf("name %q", reg.Node.Name)
	}
}

func contractTaken(t *testing.T, open func() Registry) {
	fixed := testNode("i-1", "b1", "db")
	fixed.Ordinal = 7 // as it was told at boot
	if reg := register(t, open(), fixed); reg.Node.Ordinal != 7 {
		t.Errorf("ordinal %d, want 7", reg.Node.Ordinal)
	}
	_, err := open().Register(t.Context(), testNode("i-2", "b1", "db"))
	wantErr(t, err, ErrTaken)
	if err == nil || !strings.Contains(err.Error(), "db is held by node i-1") {
		t.Errorf("error %v does not say who holds it", err)
	}
	wantNames(t, open(), "i-1=db")
	if reg := register(t, open(), testNode("i-1", "b2", "db")); reg.Node.Ordinal != 7 {
		t.Errorf("adopted ordinal %d, want 7", reg.Node.Ordinal)
	}
}

func contractUpdate(t *testing.T, open func() Registry) {
	reg := register(t, open(), testNode("i-1", "b1", "web-${ordinal}"))
	next := testNode("i-2", "b9", "db-1") // none of which an update changes
	next.State, next.ConfigDigest = StateLeaving, "d1"
	ok(t, reg.Update(t.Context(), next))
	nodes, err := open().Nodes(t.Context())
	if err != nil || len(nodes) != 1 {
		t.Fatalf("nodes %+v, %v", nodes, err)
	}
	next.ID, next.BootID, next.Name, next.Ordinal = "i-1", "b1", "web-1", 1
	if diff := cmp.Diff(next, nodes[0]); diff != "" {
		t.Errorf("record (-want +got):\n%s", diff)
	}
	next.Hostname = strings.Repeat("x", maxRecord)
	wantErr(t, reg.Update(t.Context(), next), ErrFinal) // too large
	ok(t, reg.Renew(t.Context()))
}

func contractRelease(t *testing.T, open func() Registry) {
	first := register(t, open(), testNode("i-1", "b1", "web-${ordinal}"))
	register(t, open(), testNode("i-2", "b2", "web-${ordinal}"))
	ok(t, first.Release(t.Context()))
	wantNames(t, open(), "i-2=web-2")
	wantErr(t, first.Renew(t.Context()), ErrLost)
	wantErr(t, first.Update(t.Context(), first.Node), ErrLost)
	third := register(t, open(), testNode("i-3", "b3", "web-${ordinal}"))
	if third.Node.Name != "web-1" || third.Token <= first.Token {
		t.Errorf("third %+v, first %+v", third, first)
	}
	ok(t, first.Release(t.Context()))
	wantNames(t, open(), "i-2=web-2", "i-3=web-1")
	ok(t, third.Renew(t.Context()))
}

func contractLost(t *testing.T, open func() Registry) {
	old := register(t, open(), testNode("i-1", "b1", "web-${ordinal}"))
	now := register(t, open(), testNode("i-1", "b2", "web-${ordinal}"))
	wantErr(t, old.Renew(t.Context()), ErrLost)
	wantErr(t, old.Update(t.Context(), old.Node), ErrLost)
	ok(t, old.Release(t.Context()))
	ok(t, now.Renew(t.Context()))
	wantNames(t, open(), "i-1=web-1")
	ok(t, now.Release(t.Context()))
	other := register(t, open(), testNode("i-2", "b1", "web-${ordinal}"))
	wantErr(t, now.Renew(t.Context()), ErrLost)
	ok(t, now.Release(t.Context()))
	ok(t, other.Renew(t.Context()))
}

func contractInvalid(t *testing.T, open func() Registry) {
	long := strings.Repeat("x", maxKey+1)
	for _, id := range []string{"", "a/b", "..", ".x", long, "a b", "a\x00b", "é", "${instance_id}"} {
		_, err := open().Register(t.Context(), testNode(id, "b", ""))
		wantErr(t, err, ErrFinal)
	}
	for _, name := range []string{"a/b", "../i-1", ".x", long, "web-${ordinal}-${ordinal}", "${role}-1", "\x1b[2J"} {
		_, err := open().Register(t.Context(), testNode("i-1", "b", name))
		wantErr(t, err, ErrFinal)
	}
	wantNames(t, open())
}

func contractContext(t *testing.T, open func() Registry) {
	ctx, cancel := context.WithCancel(t.Context())
	reg := register(t, open(), testNode("i-1", "b", "web-1"))
	cancel()
	_, err := open().Register(ctx, testNode("i-2", "b", "web-2"))
	wantErr(t, err, context.Canceled)
	wantErr(t, reg.Renew(ctx), context.Canceled) // and not ErrLost
	wantErr(t, reg.Update(ctx, reg.Node), context.Canceled)
	wantErr(t, reg.Release(ctx), context.Canceled)
	wantNames(t, open(), "i-1=web-1")
}

func TestOrdinal(t *testing.T) {
	cases := []struct {
		pattern, name string
		want          int
	}{
		{"web-${ordinal}", "web-1", 1},
		{"web-${ordinal}", "web-10", 10},
		{"web-${ordinal}.eu", "web-3.eu", 3},
		{"${ordinal}", "12", 12},
		{"a${ordinal}a", "a", 0},
		{"web-${ordinal}", "web-", 0},
		{"web-${ordinal}", "web-0", 0},
		{"web-${ordinal}", "web-07", 0},
		{"web-${ordinal}", "web-+7", 0},
		{"web-${ordinal}", "web--7", 0},
		{"web-${ordinal}", "web-99999999999999999999", 0},
		{"web-1", "web-1", 0},
	}
	for _, c := range cases {
		if got, found := ordinalOf(c.pattern, c.name); found != (c.want > 0) || found && got != c.want {
			t.Errorf("ordinalOf(%q, %q) = %d, %v, want %d", c.pattern, c.name, got, found, c.want)
		}
	}
	if got := lowestFree("n${ordinal}", []string{"n3", "n1", "n1", "n2", "n5", "m4"}); got != "n4" {
		t.Errorf("lowest free %q, want n4", got)
	}
}

// TestSpread: the wait of a crowd grows, is bounded whatever the number of
// tries, and ends with the context.
func TestSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for try, bound := range map[int]time.Duration{0: 20 * time.Millisecond, 3: 160 * time.Millisecond, 1 << 30: time.Second} {
			for range 100 {
				start := time.Now()
				if !spread(t.Context(), try) || time.Since(start) > bound {
					t.Fatalf("try %d: waited %v, want up to %v", try, time.Since(start), bound)
				}
			}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Nanosecond)
		defer cancel()
		if spread(ctx, 10) {
			t.Error("waited beyond the context")
		}
	})
}

func TestNodeJSON(t *testing.T) {
	n := Node{ID: "i-1", Started: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	ok(t, n.validate())
	data, err := n.encode()
	want := `{"id":"i-1","boot_id":"","machine_id":"","role":"","hostname":"","addresses":[],"image_id":"","image_version":"","state":"booting","started":"2026-01-02T03:04:05Z","agent_version":""}`
	if string(data) != want || err != nil {
		t.Errorf("got  %s\nwant %s (%v)", data, want, err)
	}
}

func FuzzDecodeNode(f *testing.F) {
	f.Add("i-1", []byte(`{"id":"i-1","name":"web-1","ordinal":1,"future":[{}]}`))
	f.Add("i-1", []byte(`{"id":"i-2"}`))
	f.Add("i-1", []byte(`[`))
	f.Fuzz(func(t *testing.T, id string, data []byte) {
		n, err := decodeNode(id, data)
		if err != nil {
			return
		}
		if n.ID != id {
			t.Fatalf("id %q, want %q", n.ID, id)
		}
		if _, err := json.Marshal(n); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzOrdinal(f *testing.F) {
	f.Add("web-${ordinal}", "web-7")
	f.Add("${ordinal}", "07")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		n, found := ordinalOf(pattern, name)
		if found && (n < 1 || nameAt(pattern, n) != name) {
			t.Fatalf("%q has ordinal %d of %q, which is %q", name, n, pattern, nameAt(pattern, n))
		}
		if free := lowestFree(pattern, []string{name}); strings.Contains(pattern, Ordinal) && free == name {
			t.Fatalf("%q is not free", name)
		}
	})
}
