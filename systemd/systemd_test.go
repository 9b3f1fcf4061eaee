package systemd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestNotifier speaks to a socket as the manager has one.
func TestNotifier(t *testing.T) {
	for _, name := range []string{filepath.Join(t.TempDir(), "notify"), fmt.Sprintf("@bootagent-test-%d", os.Getpid())} {
		manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: name, Net: "unixgram"})
		if err != nil {
			t.Fatal(err)
		}
		t.Setenv("NOTIFY_SOCKET", name)
		var n Notifier
		for want, tell := range map[string]func(){
			"READY=1":                          n.Ready,
			"STOPPING=1":                       n.Stopping,
			"STATUS=ready: web-7":              func() { n.Status("ready: web-7") },
			"STATUS=one line READY=1 another ": func() { n.Status("one line\nREADY=1\nanother\n") },
			"STATUS=":                          func() { n.Status("") },
			"EXTEND_TIMEOUT_USEC=1500000":      func() { n.Extend(1500 * time.Millisecond) },
		} {
			tell()
			message := make([]byte, 4096)
			if err := manager.SetReadDeadline(time.Now().Add(5 * time.Second)); err != nil {
				t.Fatal(err)
			}
			size, err := manager.Read(message)
			if got := string(message[:size]); got != want || err != nil {
				t.Errorf("the manager was told %q, want %q: %v", got, want, err)
			}
		}
		_ = manager.Close()
		n.Ready() // to nobody
	}
	t.Setenv("NOTIFY_SOCKET", "")
	Notifier{}.Ready()
}

// socketsOfTest tells a child of this test that it was passed sockets.
const socketsOfTest = "SYSTEMD_TEST_SOCKETS"

// TestSockets passes a stream socket, and two that are not, as the manager
// does: from the third descriptor on, with the number of the process itself.
func TestSockets(t *testing.T) {
	if os.Getenv(socketsOfTest) != "" {
		for _, l := range Sockets() {
			fmt.Println("socket", l.Addr().Network(), l.Addr())
		}
		fmt.Println("left to a child:", os.Getenv("LISTEN_FDS"))
		return
	}
	if sockets := Sockets(); len(sockets) != 0 {
		t.Errorf("sockets %v without a manager", sockets)
	}
	directory := t.TempDir()
	stream, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(directory, "stream")})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	datagram, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(directory, "datagram")})
	if err != nil {
		t.Fatal(err)
	}
	defer datagram.Close()
	streamFile, err1 := stream.File()
	datagramFile, err2 := datagram.File()
	regularFile, err3 := os.Create(filepath.Join(directory, "regular"))
	if err := errors.Join(err1, err2, err3); err != nil {
		t.Fatal(err)
	}
	child := exec.CommandContext(t.Context(), "sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=3 exec "$0" -test.run='^TestSockets$'`, os.Args[0])
	child.Env = append(os.Environ(), socketsOfTest+"=1")
	child.ExtraFiles = []*os.File{datagramFile, streamFile, regularFile}
	output, err := child.CombinedOutput()
	got, _, _ := strings.Cut(string(output), "PASS")
	if want := "socket unix " + stream.Addr().String() + "\nleft to a child: \n"; got != want || err != nil {
		t.Errorf("%v: %s\nwant %s", err, output, want)
	}
}

func TestCommandLine(t *testing.T) {
	for name, test := range map[string]struct {
		files map[string]string
		want  []string
	}{
		"nothing": {nil, nil},
		"machine": {
			map[string]string{"proc/cmdline": "BOOT_IMAGE=/vmlinuz  ro quiet\tbootagent.role=web\n", "proc/1/cmdline": "/sbin/init\x00splash\x00"},
			[]string{"BOOT_IMAGE=/vmlinuz", "ro", "quiet", "bootagent.role=web"},
		},
		"container": {
			map[string]string{"run/systemd/container": "docker", "proc/cmdline": "ro bootagent.role=host", "proc/1/cmdline": "/sbin/init\x00--unit=x\x00\x00bootagent.role=a b\x00"},
			[]string{"--unit=x", "bootagent.role=a b"},
		},
		"container, no arguments": {
			map[string]string{"run/systemd/container": "docker", "proc/cmdline": "ro bootagent.role=host", "proc/1/cmdline": "/sbin/init\x00"}, nil,
		},
		"container, PID 1 hidden": {
			map[string]string{"run/systemd/container": "docker", "proc/cmdline": "ro bootagent.role=host"}, nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for path, content := range test.files {
				path = filepath.Join(root, path)
				if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(content), 0o644)); err != nil {
					t.Fatal(err)
				}
			}
			got := commandLine(root)
			if len(got)+len(test.want) > 0 && !cmp.Equal(test.want, got) {
				t.Errorf("command line (-want +got):\n%s", cmp.Diff(test.want, got))
			}
		})
	}
	if len(CommandLine()) == 0 && !inContainer("/") {
		t.Error("this machine has no command line")
	}
}

func TestParseMicroseconds(t *testing.T) {
	for text, want := range map[string]string{"@t 3456789": "3456789", "3456789": "3456789", "@t 0": "0", "@t 18446744073709551615": "18446744073709551615"} {
		if got, err := parseMicroseconds(text); got != want || err != nil {
			t.Errorf("%q is %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "@t ", "@t -1", "@s 1", `"1"`, "@t 18446744073709551616", "@t 1\n", "@t 1 2"} {
		if got, err := parseMicroseconds(text); err == nil || got != "" {
			t.Errorf("%q is %q", text, got)
		}
	}
}

// TestUserspaceStart asks the real manager, if there is one.
func TestUserspaceStart(t *testing.T) {
	usec, err := UserspaceStart(t.Context())
	if err != nil && os.Geteuid() == 0 || (usec == "") != (!Booted() || err != nil) {
		t.Errorf("%q, %v; systemd is here: %v", usec, err, Booted())
	}
}
