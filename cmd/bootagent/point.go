//go:build !killpoints

package main

// point is for builds that are to be killed at a certain point of a boot, see
// point_kill.go.
func point() func(string) { return nil }
