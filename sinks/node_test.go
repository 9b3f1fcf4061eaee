package sinks

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	native "github.com/coreos/go-systemd/v22/journal"

	"github.com/bootagent/bootagent/systemd/journal"
	"github.com/bootagent/bootagent/systemd/journal/journaltest"
)

// From a real journald to a real receiver, with a restart of the agent in
// between: each entry is there once.
func TestNode(t *testing.T) {
	if !journaltest.Own(t, "RuntimeMaxFileSize=4M\nRuntimeMaxUse=128M\n") {
		return
	}
	url, dir := startRemote(t)
	const total = 20000
	path := filepath.Join(t.TempDir(), "cursor.remote")
	for part := range 2 {
		go func() {
			for n := range total / 2 {
				number := fmt.Sprint(part*total/2 + n)
				if err := native.Send("entry "+number, native.PriInfo, map[string]string{"NUMBER": number}); err != nil {
					t.Error(err)
				}
			}
		}()
		shipNode(t, url, path)
	}
	want := 0
	for _, entry := range stored(t, dir) {
		number := entry.Get("NUMBER")
		if number == "" {
			continue // journald's own
		}
		if number != fmt.Sprint(want) {
			t.Fatalf("got entry %s, want %d", number, want)
		}
		want++
	}
	if want != total {
		t.Errorf("%d entries stored, want %d", want, total)
	}
}

// shipNode ships until the journal runs dry.
func shipNode(t *testing.T, url, cursorFile string) {
	t.Helper()
	s := &Shipper{
		Sink: &JournalUpload{URL: url}, CursorFile: cursorFile,
		Open: func(ctx context.Context, after string) (Reader, error) {
			return journal.Follow(ctx, journal.FollowOptions{After: after})
		},
	}
	stop := run(t, s)
	defer stop()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := s.Drain(ctx, time.Second); err != nil {
		t.Fatalf("%v: %+v", err, s.Stats())
	}
	if stats := s.Stats(); stats.Lost+stats.Rejected != 0 || stats.Lag != 0 {
		t.Errorf("%+v", stats)
	}
}
