package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/bootagent/bootagent/agent/output"
	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"bootagent": main})
}

// TestScripts runs the program as users do, a scenario for each file. $WORK is
// on tmpfs, as all must be that the program writes; $CONFIG is bootagent.yaml in it.
func TestScripts(t *testing.T) {
	folder, err := os.MkdirTemp("/dev/shm", "bootagent-scripts-")
	if err != nil || output.Volatile(folder) != nil {
		t.Skipf("NOT TESTED: /dev/shm is no tmpfs that can be written to: %v", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(folder) })
	testscript.Run(t, testscript.Params{
		Dir: "testdata", WorkdirRoot: folder, RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			env.Setenv("CONFIG", filepath.Join(env.WorkDir, "bootagent.yaml"))
			return expand(env.WorkDir)
		},
		Condition: func(condition string) (bool, error) {
			if condition == "root" {
				return os.Getuid() == 0, nil
			}
			return false, errors.New("unknown condition")
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"exits": exits, "gone": gone, "deaf": deaf, "nobody": nobody,
		},
	})
}

// expand replaces WORK by the scenario's folder in all of its files.
func expand(folder string) error {
	files, err := filepath.Glob(filepath.Join(folder, "*.*"))
	for _, file := range files {
		content, readErr := os.ReadFile(file)
		if readErr != nil {
			continue // a folder
		}
		err = errors.Join(err, os.WriteFile(file, []byte(strings.ReplaceAll(string(content), "WORK", folder)), 0o644))
	}
	return err
}

// exits runs a program and wants that exit code within some seconds: exits N PROGRAM ARGUMENT...
func exits(ts *testscript.TestScript, _ bool, args []string) {
	start := time.Now()
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit code %d, want %s", got, args[0])
	}
	if took := time.Since(start); took > 20*time.Second {
		ts.Fatalf("took %v", took)
	}
}

// gone wants the folders in /dev/shm of which the last program spoke not to be
// there any more, and wants it to have spoken of one.
func gone(ts *testscript.TestScript, _ bool, _ []string) {
	folders := regexp.MustCompile(`/dev/shm/bootagent-[0-9]+`).FindAllString(ts.ReadFile("stdout"), -1)
	if len(folders) == 0 {
		ts.Fatalf("no folder is named")
	}
	for _, folder := range folders {
		if _, err := os.Lstat(folder); err == nil {
			ts.Fatalf("%s is there", folder)
		}
	}
}

// deaf listens on a socket, accepts, and never answers.
func deaf(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("unix", ts.MkAbs(args[0]))
	ts.Check(err)
	ended := make(chan []net.Conn)
	go func() {
		var held []net.Conn // or the collector of garbage would close them
		for {
			conn, err := l.Accept()
			if err != nil {
				ended <- held
				return
			}
			held = append(held, conn)
		}
	}()
	ts.Defer(func() {
		_ = l.Close()
		for _, conn := range <-ended {
			_ = conn.Close()
		}
	})
}

// nobody runs this program without root's powers, and wants that exit code.
func nobody(ts *testscript.TestScript, _ bool, args []string) {
	command := exec.Command("/proc/self/exe")
	command.Args = append([]string{"bootagent"}, args[1:]...)
	command.Env = []string{"HOME=/"}
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, _ := command.CombinedOutput()
	ts.Logf("%s", out)
	ts.Check(os.WriteFile(ts.MkAbs("out"), out, 0o644))
	if got := strconv.Itoa(command.ProcessState.ExitCode()); got != args[0] {
		ts.Fatalf("exit code %s, want %s", got, args[0])
	}
}
