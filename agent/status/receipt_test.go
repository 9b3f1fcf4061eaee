package status

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/check"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

const bootKey = "1a2b3c4d5e6f708192a3b4c5d6e7f809-1234567"

// testReceipt is a receipt in which every field has a value.
func testReceipt() *Receipt {
	started := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	return &Receipt{
		Version: 1, Agent: "1.2.3", Key: bootKey, State: Done, Started: started, Duration: 1.5,
		Node: testNode(),
		Steps: []Step{
			{Name: "identify", State: StepDone, Started: started, Duration: 0.0021},
			{Name: "fetch", State: StepDone, Started: started.Add(3 * time.Millisecond), Duration: 1.4},
		},
		Checks: []check.Finding{{Name: "root", Verdict: check.Pass, Message: "read-only", Evidence: "/dev/dm-0 / ext4 ro"}},
		Config: &Config{Digest: "sha256:" + strings.Repeat("0123456789abcdef", 4), Sources: []Source{
			{Source: "file /usr/share/bootagent", Keys: 3, Duration: 0.0004},
			{Source: "http https://truth.internal/web", Duration: 10, Missing: "no answer within 10s"},
		}},
		Keys:        map[string]string{"env/LOG_LEVEL": "file /usr/share/bootagent"},
		Credentials: []string{"db-password"},
		Registry:    &Registry{Backend: "etcd https://etcd1:2379", State: "claimed", Key: "/bootagent/nodes/i-0abc", Token: 42, Renewed: started},
	}
}

func testNode() Node {
	return Node{
		ID: "i-0abc", Name: "web-7", Ordinal: 7, Role: "web", MachineID: "0123456789abcdef0123456789abcdef",
		BootID: bootKey[:32], Hostname: "web-7.internal", ImageID: "node", ImageVersion: "2026.03.1", Addresses: []string{"192.0.2.7", "2001:db8::7"},
	}
}

func write(t *testing.T, r *Receipt, directory string) {
	t.Helper()
	if err := r.Write(directory); err != nil {
		t.Fatal(err)
	}
}

func TestReceiptRoundTrip(t *testing.T) {
	directory := t.TempDir()
	defer unix.Umask(unix.Umask(0o077))
	for _, want := range []*Receipt{testReceipt(), {}, {State: Failed, Error: "fetch: \x1b <&> \u2028 …"}} {
		write(t, want, directory)
		got, err := ReadReceipt(directory)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("read (-written +read): %v\n%s", err, diff)
		}
	}
	entries, err := os.ReadDir(directory)
	if err != nil || len(entries) != 1 {
		t.Fatalf("left in the folder: %v, %v", entries, err)
	}
	if info, err := entries[0].Info(); err != nil || info.Mode() != 0o644 {
		t.Errorf("mode %v, %v; want that all may read it, whatever the umask", info.Mode(), err)
	}
}

func TestReceiptStep(t *testing.T) {
	r := testReceipt()
	if s := r.Step("fetch"); s != &r.Steps[1] {
		t.Errorf("step %+v", s)
	}
	if s := r.Step("claim"); s != nil {
		t.Errorf("step %+v", s)
	}
}

// TestReceiptAtomic reads while receipts are written, of different lengths: a
// reader never sees half of one, nor none.
func TestReceiptAtomic(t *testing.T) {
	directory := t.TempDir()
	short, long := &Receipt{Key: bootKey}, testReceipt()
	long.Credentials = make([]string, 2000)
	write(t, short, directory)
	var writing sync.WaitGroup
	stop := make(chan struct{})
	writing.Go(func() {
		for {
			for _, r := range []*Receipt{long, short} {
				if err := r.Write(directory); err != nil {
					t.Error(err)
				}
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	seen := map[int]int{}
	for end := time.Now().Add(time.Minute); len(seen) < 2 || seen[0] < 200 || seen[2000] < 200; {
		r, err := ReadReceipt(directory)
		if time.Now().After(end) {
			err = errors.New("out of time")
		}
		if err != nil {
			t.Error(err)
			break
		}
		seen[len(r.Credentials)]++
	}
	close(stop)
	writing.Wait()
	if len(seen) != 2 {
		t.Errorf("receipts seen, by the number of their credentials: %v", seen)
	}
}

// TestReceiptLinks sees that nobody who can make a link in the folder can make
// root write elsewhere, nor tell something else as the receipt.
func TestReceiptLinks(t *testing.T) {
	for _, name := range []string{receiptFile, "." + receiptFile + ".new"} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			target := filepath.Join(directory, "target") // inside, where an os.Root would follow
			content := `{"version": 1, "key": "forged", "state": "done"}`
			if err := errors.Join(os.WriteFile(target, []byte(content), 0o600), os.Symlink("target", filepath.Join(directory, name))); err != nil {
				t.Fatal(err)
			}
			if r, err := ReadReceipt(directory); err == nil {
				t.Errorf("read through a link: %+v", r)
			}
			write(t, testReceipt(), directory)
			if r, err := ReadReceipt(directory); err != nil || r.Key != bootKey {
				t.Errorf("read %+v, %v", r, err)
			}
			if text, err := os.ReadFile(target); err != nil || string(text) != content {
				t.Errorf("written through a link: %s, %v", text, err)
			}
			if info, err := os.Stat(target); err != nil || info.Mode() != 0o600 {
				t.Errorf("mode changed through a link: %v, %v", info.Mode(), err)
			}
		})
	}
}

// TestReceiptWrong makes something in the receipt's place.
func TestReceiptWrong(t *testing.T) {
	text := func(content string) func(string) error {
		return func(path string) error { return os.WriteFile(path, []byte(content), 0o644) }
	}
	huge := func(path string) error {
		return errors.Join(os.WriteFile(path, []byte(`{"error": "`), 0o644), os.Truncate(path, 1<<40))
	}
	spaces := func(path string) error { // all of JSON's form, and without end
		return os.WriteFile(path, append([]byte(strings.Repeat(" ", maxReceipt)), "{}"...), 0o644)
	}
	for name, test := range map[string]struct {
		make func(path string) error
		none bool
		text string
	}{
		"none":    {func(string) error { return nil }, true, "no receipt of a boot in DIR"},
		"empty":   {text(""), false, "receipt: unexpected end of JSON input"},
		"half":    {text(`{"version": 1, "key": `), false, "receipt: unexpected end of JSON input"},
		"garbage": {text("\x00\x01"), false, `receipt: invalid character '\x00' looking for beginning of value`},
		"a list":  {text("[]"), false, "receipt: json: cannot unmarshal array into Go value of type status.Receipt"},
		"huge":    {huge, false, "receipt: larger than 67108864 bytes"},
		"endless": {spaces, false, "receipt: larger than 67108864 bytes"},
		"fifo":    {func(path string) error { return unix.Mkfifo(path, 0o644) }, false, "receipt: not a regular file"},
		"folder":  {func(path string) error { return os.Mkdir(path, 0o755) }, false, "receipt: not a regular file"},
	} {
		t.Run(name, func(t *testing.T) {
			directory := t.TempDir()
			if err := test.make(filepath.Join(directory, receiptFile)); err != nil {
				t.Fatal(err)
			}
			_, err := ReadReceipt(directory)
			if err == nil || strings.ReplaceAll(err.Error(), directory, "DIR") != test.text {
				t.Errorf("error %v, want %s", err, test.text)
			}
			if errors.Is(err, ErrNoReceipt) != test.none {
				t.Errorf("error %v, is it ErrNoReceipt: want %v", err, test.none)
			}
		})
	}
	for _, directory := range []string{"", filepath.Join(t.TempDir(), "missing")} {
		if _, err := ReadReceipt(directory); !errors.Is(err, ErrNoReceipt) {
			t.Errorf("%q: error %v", directory, err)
		}
	}
}

func TestReceiptUnwritable(t *testing.T) {
	directory := t.TempDir()
	if err := os.MkdirAll(filepath.Join(directory, "."+receiptFile+".new", "full"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, directory := range []string{directory, filepath.Join(directory, "missing"), ""} {
		if err := testReceipt().Write(directory); err == nil || !strings.HasPrefix(err.Error(), "receipt: ") {
			t.Errorf("%q: error %v", directory, err)
		}
	}
}

// TestReceiptStatus is what a receipt alone tells, in each of its states.
func TestReceiptStatus(t *testing.T) {
	ended := time.Date(2026, 3, 1, 12, 0, 1, 500_000_000, time.UTC)
	for state, want := range map[State]Condition{
		Booting: {Type: "BootDone", Reason: "Running", Message: "the boot is running", Since: ended},
		Failed:  {Type: "BootDone", Reason: "Failed", Message: "fetch: no answer", Since: ended},
		Done:    {Type: "BootDone", Status: true, Reason: "Done", Message: "the configuration is published", Since: ended},
		"":      {Type: "BootDone", Reason: "Unknown", Message: "the receipt does not say", Since: ended},
	} {
		r := testReceipt()
		if r.State = state; state == Failed {
			r.Error = "fetch: no answer"
		}
		s := r.Status()
		if diff := cmp.Diff([]Condition{want}, s.Conditions); diff != "" {
			t.Errorf("%s: conditions (-want +got):\n%s", state, diff)
		}
		if s.Version != 1 || s.State != state || s.Error != r.Error || s.Registry.Token != 42 || s.Config == nil {
			t.Errorf("%s: %+v", state, s)
		}
	}
}
