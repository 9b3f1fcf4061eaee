//go:build killpoints

package main

import (
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// point kills this process, as a power cut would, at the point of the boot
// whose number is in BOOTAGENT_KILL, counted from 1. It is in no build that is
// shipped.
func point() func(string) {
	at, _ := strconv.Atoi(os.Getenv("BOOTAGENT_KILL"))
	n := 0
	return func(name string) {
		if n++; n == at {
			fmt.Fprintln(os.Stderr, "killed at point", n, name)
			_ = unix.Kill(os.Getpid(), unix.SIGKILL)
			select {}
		}
	}
}
