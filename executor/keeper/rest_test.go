package keeper

import (
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// With a daemon or without: a keeper does not end while it alone can tell of an
// end, for a day at most, and ends soon once it is told that others can.
func TestAKeeperWithEndsToTellStays(t *testing.T) {
	for name, daemon := range map[string]bool{"daemon": true, "none": false} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ledger")
			if err := os.WriteFile(path, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			begin := func() *server {
				s := &server{cfg: Config{Orphaned: 30 * time.Second, Idle: 5 * time.Minute, Unclaimed: 24 * time.Hour}, ledger: &ledger{path: path},
					known: map[string]*task{"a.0/1": pastTask(Status{ID: "a.0/1", State: Ended})}, open: map[*conn]chan struct{}{}, end: make(chan struct{})}
				if daemon {
					s.open[newConn(nil)] = make(chan struct{})
				}
				s.touch()
				return s
			}
			ended := func(s *server, after time.Duration) bool {
				time.Sleep(after)
				synctest.Wait()
				select {
				case <-s.end:
					return true
				default:
					return false
				}
			}
			synctest.Test(t, func(t *testing.T) {
				s := begin()
				if ended(s, 23*time.Hour) {
					t.Error("it ended with an end that nobody was told of")
				}
				s.mu.Lock()
				delete(s.known, "a.0/1")
				s.mu.Unlock()
				if !ended(s, 10*time.Minute) {
					t.Error("it did not end with nothing left to tell")
				}
				if !ended(begin(), 25*time.Hour) {
					t.Error("it did not end after a day")
				}
			})
		})
	}
}
