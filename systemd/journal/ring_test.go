package journal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
)

func message(text string) Entry { return Entry{Fields: []Field{{"MESSAGE", []byte(text)}}} }

func TestRing(t *testing.T) {
	ring := &Ring{MaxEntries: 3, BootID: "e0dc3894ed2041b084e41e9447002170"}
	for n := range 5 {
		ring.Add(message(fmt.Sprint(n)))
	}
	reader := ring.Follow("")
	var entries []Entry
	for range 3 {
		entry, err := reader.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, entry)
	}
	if got := entries[0].Get("MESSAGE") + entries[2].Get("MESSAGE"); got != "24" || reader.Lost() != 2 {
		t.Errorf("messages %s, %d lost; want 24, 2", got, reader.Lost())
	}
	if entries[0].BootID != ring.BootID || entries[0].Realtime.IsZero() {
		t.Errorf("incomplete: %+v", entries[0])
	}
	p, err := ParseCursor(entries[0].Cursor)
	if err != nil || p.Seqnum != 3 || p.BootID != ring.BootID {
		t.Errorf("position %+v, %v", p, err)
	}

	again := ring.Follow(entries[1].Cursor)
	if entry, err := again.Next(t.Context()); err != nil || entry.Get("MESSAGE") != "4" || again.Lost() != 0 {
		t.Errorf("after a cursor: %v, %v, %d lost", entry, err, again.Lost())
	}
	if entry, err := ring.Follow(testCursor).Next(t.Context()); err != nil || entry.Get("MESSAGE") != "2" {
		t.Errorf("after a foreign cursor: %v, %v", entry, err)
	}
}

func TestRingBytes(t *testing.T) {
	ring := &Ring{MaxBytes: 1000}
	ring.Add(message("small"))
	ring.Add(message(strings.Repeat("x", 2000)))
	reader := ring.Follow("")
	ring.Add(message("last"))
	if entry, err := reader.Next(t.Context()); err != nil || entry.Get("MESSAGE") != "last" || reader.Lost() != 2 {
		t.Errorf("%v, %v, %d lost; want the last entry, 2 lost", entry, err, reader.Lost())
	}
}

func TestRingWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ring Ring
		reader := ring.Follow("")
		var group sync.WaitGroup
		group.Go(func() {
			entry, err := reader.Next(t.Context())
			if err != nil || entry.Get("MESSAGE") != "x" {
				t.Errorf("%v, %v", entry, err)
			}
		})
		synctest.Wait()
		ring.Add(message("x"))
		group.Wait()

		ctx, cancel := context.WithCancel(t.Context())
		group.Go(func() {
			if _, err := reader.Next(ctx); err != context.Canceled {
				t.Errorf("cancelled: %v", err)
			}
		})
		synctest.Wait()
		cancel()
		group.Wait()
		group.Go(func() {
			if _, err := reader.Next(t.Context()); !errors.Is(err, os.ErrClosed) {
				t.Errorf("closed: %v", err)
			}
		})
		synctest.Wait()
		reader.Close()
		reader.Close()
		group.Wait()
	})
}
