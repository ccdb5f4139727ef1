package history

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

var _ Source = (*fsm.Store)(nil)

// fakeSource keeps the newest of its events, as a store does.
type fakeSource struct {
	mu     sync.Mutex
	events []api.Event
	newest uint64
	keep   int
	ready  chan struct{}
}

func newSource(keep int) *fakeSource { return &fakeSource{keep: keep, ready: make(chan struct{})} }

// happen adds n events, one each millisecond, about one job in ten.
func (s *fakeSource) happen(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for range n {
		s.newest++
		s.events = append(s.events, testEvent(s.newest, time.Now().Add(time.Duration(s.newest)*time.Millisecond)))
	}
	s.events = slices.Clone(s.events[max(0, len(s.events)-s.keep):])
	close(s.ready)
	s.ready = make(chan struct{})
}

func testEvent(i uint64, at time.Time) api.Event {
	code := 3
	e := api.Event{Index: i, Time: at.UTC(), Kind: api.EventTaskState, Job: fmt.Sprintf("job%d", i%10), Node: "oak", Actor: "token:ci", Message: "it ended"}
	e.Object = fmt.Sprintf("%s.%d", e.Job, i)
	e.Task = &api.Task{ID: e.Object, Job: e.Job, Index: int(i), State: api.TaskFailed, Node: "oak", NodeID: "n1", Attempt: 2, Ports: map[string]int{"http": 20000},
		Resources: api.Resources{CPUs: 500, Mem: 1 << 28, Ports: api.Ranges{{First: 20000, Last: 20001}}}, Created: at.UTC(), ExitCode: &code}
	return e
}

func (s *fakeSource) EventBounds() (uint64, uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.events) == 0 {
		return 0, s.newest
	}
	return s.events[0].Index, s.newest
}

func (s *fakeSource) EventsBefore(index uint64, n int) []api.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := len(s.events) - 1; i >= 0; i-- {
		if s.events[i].Index < index {
			return slices.Clone(s.events[max(0, i+1-n) : i+1])
		}
	}
	return nil
}

func (s *fakeSource) Events(ctx context.Context, after uint64, limit int) ([]api.Event, error) {
	for {
		s.mu.Lock()
		ready := s.ready
		out := s.events
		gap := after > s.newest || after < s.newest && (len(out) == 0 || out[0].Index > after+1)
		s.mu.Unlock()
		if gap {
			return nil, api.Errorf(api.CodeConflict, "no longer kept")
		}
		out = slices.DeleteFunc(slices.Clone(out), func(e api.Event) bool { return e.Index <= after })
		if len(out) > 0 {
			return out[:min(limit, len(out))], nil
		}
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-ready:
		}
	}
}

// session runs a history while f lasts.
func session(t *testing.T, cfg Config, f func(h *History)) {
	t.Helper()
	h := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	synctest.Wait()
	f(h)
	cancel()
	if err := <-done; err != context.Canceled {
		t.Errorf("Run: %v", err)
	}
}

func testConfig(t *testing.T, s Source) Config {
	return Config{Dir: filepath.Join(t.TempDir(), "events"), Node: "oak", Source: s, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
}

// find lists what a filter lets through, newest first.
func find(t *testing.T, h *History, f api.EventFilter, limit int) []api.Event {
	t.Helper()
	synctest.Wait()
	var out []api.Event
	if err := h.Newest(context.Background(), f, func(e *api.Event) bool {
		out = append(out, *e)
		return len(out) < limit
	}); err != nil {
		t.Fatal(err)
	}
	return out
}

func indexes(events []api.Event) (out []uint64) {
	for i := range events {
		out = append(out, events[i].Index)
	}
	return out
}

func span(from, to uint64) (out []uint64) {
	for ; from >= to; from-- {
		out = append(out, from)
	}
	return out
}

const all = 1 << 30

func want(t *testing.T, what string, got []api.Event, want []uint64) {
	t.Helper()
	if !slices.Equal(indexes(got), want) {
		t.Errorf("%s: %v, want %v", what, indexes(got), want)
	}
}

func TestEventsComeBackAsTheyWere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(5000)
		begin := time.Now()
		session(t, testConfig(t, src), func(h *History) {
			if entries, err := os.ReadDir(h.cfg.Dir); err == nil {
				t.Errorf("written without an event: %v", entries)
			}
			src.happen(1000)
			time.Sleep(1500 * time.Millisecond)
			src.happen(2000)
			time.Sleep(1500 * time.Millisecond)
			got := find(t, h, api.EventFilter{}, all)
			slices.Reverse(got)
			a, _ := json.Marshal(got)
			b, _ := json.Marshal(src.events)
			if !bytes.Equal(a, b) {
				t.Errorf("%d events differ: first %+v, not %+v", len(got), got[0], src.events[0])
			}
			want(t, "limit", find(t, h, api.EventFilter{}, 5), span(3000, 2996))
			want(t, "page", find(t, h, api.EventFilter{Before: 1003}, 5), span(1002, 998))
			want(t, "after", find(t, h, api.EventFilter{After: 2997}, all), span(3000, 2998))
			want(t, "task", find(t, h, api.EventFilter{For: "job7.17"}, all), []uint64{17})
			want(t, "user", find(t, h, api.EventFilter{For: "token:ci"}, 2), span(3000, 2999))
			want(t, "nobody", find(t, h, api.EventFilter{For: "fir"}, all), nil)
			if got := find(t, h, api.EventFilter{For: "job3"}, all); len(got) != 300 || got[0].Index != 2993 || got[299].Index != 3 {
				t.Errorf("of job3: %v", indexes(got))
			}
			at := func(ms int) time.Time { return begin.Add(time.Duration(ms) * time.Millisecond) }
			want(t, "between", find(t, h, api.EventFilter{Since: at(100), Until: at(105)}, all), span(105, 100))
		})
	})
}

func TestHistoryGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(100)
		cfg := testConfig(t, src)
		session(t, cfg, func(h *History) { src.happen(50) }) // what was not written is written at the end
		src.happen(30)
		replayed := newSource(100) // a store that begins empty and replays its log
		cfg.Source = replayed
		session(t, cfg, func(h *History) {
			for range 80 {
				replayed.happen(1)
				synctest.Wait()
			}
			time.Sleep(2 * time.Second)
			want(t, "all", find(t, h, api.EventFilter{}, all), span(80, 1))
			if n := len(h.segments); n != 1 {
				t.Errorf("%d files for two short sessions", n)
			}
		})
	})
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(10)
		cfg := testConfig(t, src)
		session(t, cfg, func(h *History) { src.happen(5) })
		src.happen(20) // 6 to 15 are gone
		session(t, cfg, func(h *History) {
			time.Sleep(2 * time.Second)
			got := find(t, h, api.EventFilter{}, all)
			want(t, "all", got, append(span(25, 15), span(5, 1)...))
			if e := got[10]; e.Kind != api.EventsMissed || e.Message != "events 6 to 15 are not in the history of this node" || e.Actor != "node:oak" {
				t.Errorf("%+v", e)
			}
			want(t, "of a job", find(t, h, api.EventFilter{For: "job3"}, all), []uint64{23, 15, 3})
		})
	})
}

func TestHistoryOfAnotherLogIsHidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(10)
		cfg := testConfig(t, src)
		session(t, cfg, func(h *History) { src.happen(8) })
		time.Sleep(time.Hour)
		other := newSource(10) // 1 to 8 happened otherwise
		other.happen(3)
		cfg.Source = other
		session(t, cfg, func(h *History) {
			other.happen(7)
			time.Sleep(2 * time.Second)
			got := find(t, h, api.EventFilter{}, all)
			want(t, "all", got, span(10, 1))
			for _, e := range got {
				if e.Time.Sub(other.events[0].Time) < 0 {
					t.Errorf("event %d is of the other log", e.Index)
				}
			}
		})
	})
}

func TestHistoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(20000)
		cfg := testConfig(t, src)
		cfg.MaxBytes, cfg.MaxAge = 64<<10, 10*24*time.Hour
		session(t, cfg, func(h *History) {
			for range 100 {
				src.happen(200)
				time.Sleep(2 * time.Second)
			}
			if size := folderSize(t, cfg.Dir); size > cfg.MaxBytes || size < cfg.MaxBytes/2 {
				t.Errorf("%d bytes, of %d", size, cfg.MaxBytes)
			}
			got := find(t, h, api.EventFilter{}, all)
			want(t, "the newest", got, span(20000, 20001-uint64(len(got))))
			time.Sleep(5 * 24 * time.Hour)
			src.happen(1)
			time.Sleep(6 * 24 * time.Hour)
			want(t, "after 11 days", find(t, h, api.EventFilter{}, all), []uint64{20001})
			time.Sleep(5 * 24 * time.Hour)
			if size := folderSize(t, cfg.Dir); size != 0 {
				t.Errorf("%d bytes after 16 days", size)
			}
			src.happen(1)
			time.Sleep(2 * time.Second)
			want(t, "and on", find(t, h, api.EventFilter{}, all), []uint64{20002})
		})
	})
}

func folderSize(t *testing.T, dir string) (n int64) {
	t.Helper()
	synctest.Wait()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		n += st.Size()
	}
	return n
}

// A file that was cut off or changed anywhere loses what is behind, never what
// is before, and new events are kept.
func TestDamagedFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(10)
		cfg := testConfig(t, src)
		session(t, cfg, func(h *History) {
			for range 8 {
				src.happen(5)
				time.Sleep(2 * time.Second)
			}
		})
		path := filepath.Join(cfg.Dir, "0000000001.events")
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for at := 0; at < len(whole); at += 61 {
			garbled := slices.Clone(whole)
			garbled[at] ^= 0x55
			for what, b := range map[string][]byte{"cut": whole[:at], "garbled": garbled, "zeros": append(slices.Clone(whole[:at]), make([]byte, 100)...)} {
				if err := os.RemoveAll(cfg.Dir); err != nil {
					t.Fatal(err)
				}
				if err := os.Mkdir(cfg.Dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Fatal(err)
				}
				again := newSource(10)
				again.events, again.newest = slices.Clone(src.events), src.newest
				cfg.Source = again
				var log strings.Builder
				cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
				session(t, cfg, func(h *History) {
					again.happen(1)
					time.Sleep(2 * time.Second)
					got := indexes(find(t, h, api.EventFilter{}, all))
					if !slices.IsSortedFunc(got, func(a, b uint64) int { return int(b) - int(a) }) || !slices.Equal(got[:10], span(41, 32)) {
						t.Fatalf("%s at %d: %v", what, at, got)
					}
				})
				if what == "garbled" && !strings.Contains(log.String(), path) {
					t.Errorf("%s at %d is not told: %s", what, at, log.String())
				}
			}
		}
	})
}

// A disk that takes nothing is told once, and costs what happened meanwhile.
func TestDiskThatTakesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(10)
		cfg := testConfig(t, src)
		var log logText
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		if err := os.WriteFile(cfg.Dir, nil, 0o600); err != nil { // as good as full, for who may write everywhere
			t.Fatal(err)
		}
		session(t, cfg, func(h *History) {
			for range 50 {
				src.happen(3)
				time.Sleep(5 * time.Second)
			}
			want(t, "meanwhile", find(t, h, api.EventFilter{}, all), nil)
			if n := strings.Count(log.String(), "write failed"); n != 1 || !strings.Contains(log.String(), cfg.Dir) {
				t.Errorf("told %d times: %s", n, log.String())
			}
			if err := os.Remove(cfg.Dir); err != nil {
				t.Fatal(err)
			}
			time.Sleep(30 * time.Second)
			got := find(t, h, api.EventFilter{}, all)
			want(t, "then", got, append(span(150, 140), 3, 2, 1))
			if got[10].Kind != api.EventsMissed {
				t.Errorf("%+v", got[10])
			}
		})
	})
}

// A disk that gets full in the middle of a write: what is there can be read, is
// not taken for damage, and continues without a gap once there is room.
func TestDiskThatGetsFull(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("mounts a small disk of its own: run it as root")
	}
	disk := t.TempDir()
	if err := syscall.Mount("mesita-test", disk, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("mounts a small disk of its own: %v", err)
	}
	defer syscall.Unmount(disk, syscall.MNT_DETACH)
	ballast := filepath.Join(disk, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 192<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		src := newSource(100_000)
		cfg := testConfig(t, src)
		cfg.Dir = filepath.Join(disk, "events")
		var log logText
		cfg.Log = slog.New(slog.NewTextHandler(&log, nil))
		last := uint64(0)
		session(t, cfg, func(h *History) {
			for i := 0; !strings.Contains(log.String(), "no space left"); i++ {
				if src.happen(500); i > 100 {
					t.Fatal("the disk does not get full")
				}
				time.Sleep(5 * time.Second)
			}
			got := find(t, h, api.EventFilter{}, all)
			if len(got) == 0 {
				t.Fatal("nothing was written before the disk was full")
			}
			want(t, "with a full disk", got, span(got[0].Index, 1))
			last = got[0].Index
		})
		session(t, cfg, func(h *History) { // as after a restart, still full
			time.Sleep(time.Minute)
			if got := find(t, h, api.EventFilter{}, all); len(got) == 0 || got[0].Index < last {
				t.Errorf("after a restart %d events are left of %d", len(got), last)
			}
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Minute)
			_, newest := src.EventBounds()
			want(t, "once there is room", find(t, h, api.EventFilter{}, all), span(newest, 1))
		})
		for _, word := range []string{"damage", "aside", "cannot be read"} {
			if strings.Contains(log.String(), word) {
				t.Errorf("a full disk is told as %q: %s", word, log.String())
			}
		}
	})
}

// Queries and writes at a time, for the race detector.
func TestReadersDoNotDisturb(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newSource(20000)
		cfg := testConfig(t, src)
		cfg.MaxBytes = 128 << 10
		session(t, cfg, func(h *History) {
			var g sync.WaitGroup
			for range 6 {
				g.Go(func() {
					for range 100 {
						var got []uint64
						if err := h.Newest(context.Background(), api.EventFilter{For: "job1"}, func(e *api.Event) bool { got = append(got, e.Index); return len(got) < 20 }); err != nil {
							t.Error(err)
						}
						if !slices.IsSortedFunc(got, func(a, b uint64) int { return int(b) - int(a) }) {
							t.Errorf("%v", got)
						}
						time.Sleep(50 * time.Millisecond)
					}
				})
			}
			for range 20 {
				src.happen(500)
				time.Sleep(300 * time.Millisecond)
			}
			g.Wait()
		})
	})
}

// logText is a log that may be read while it is written.
type logText struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
