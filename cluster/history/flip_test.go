package history

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/draw"
)

// A flipped bit in the files never makes another event, and what cannot be read
// for it is said: each event is there as it was, or told to be missing.
func TestFlippedBitsAreNeverServed(t *testing.T) {
	const count = 6000
	flips, err := strconv.Atoi(os.Getenv("MESITA_FLIPS"))
	if err != nil {
		flips = 60
	}
	cfg := Config{Dir: t.TempDir(), Node: "oak", MaxBytes: 1 << 20, Now: time.Now, Log: slog.New(slog.DiscardHandler)}
	w := &writer{History: New(cfg)}
	w.open()
	want := make([]api.Event, count+1)
	begin := time.Now()
	for i := range uint64(count) {
		want[i+1] = testEvent(i+1, begin.Add(time.Duration(i)*time.Millisecond))
		w.put(&want[i+1])
		if i%300 == 299 {
			w.flush()
		}
	}
	w.close()
	files, err := filepath.Glob(filepath.Join(cfg.Dir, "*"+suffix))
	if err != nil || len(files) < 3 {
		t.Fatal(files, err)
	}
	seed := draw.Seed(t)
	random := rand.New(rand.NewPCG(seed, 1))
	lost := 0
	for range flips {
		dir := t.TempDir()
		if err := os.CopyFS(dir, os.DirFS(cfg.Dir)); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, filepath.Base(files[random.IntN(len(files)-1)])) // of the newest, the store still has what is lost
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		bit := random.IntN(8 * len(b))
		b[bit/8] ^= 1 << (bit % 8)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		damaged := cfg
		damaged.Dir = dir
		h := New(damaged)
		(&writer{History: h}).open()
		about := fmt.Sprintf("job%d", random.IntN(10))
		for _, f := range []api.EventFilter{{}, {For: about}} {
			told := make([]bool, count+1)
			err := h.Newest(context.Background(), f, func(e *api.Event) bool {
				var from, to uint64
				if e.Kind != api.EventsMissed {
					if told[e.Index] || !reflect.DeepEqual(*e, want[e.Index]) {
						t.Errorf("seed %d, bit %d of %s: event %d is %+v", seed, bit, filepath.Base(path), e.Index, e)
					}
					told[e.Index] = true
				} else if _, err := fmt.Sscanf(e.Message, "events %d to %d", &from, &to); err != nil || to > count {
					t.Errorf("seed %d, bit %d of %s: %s", seed, bit, filepath.Base(path), e.Message)
				} else {
					for i := from; i <= to; i++ {
						told[i] = true
						lost++
					}
				}
				return true
			})
			if err != nil {
				t.Fatal(err)
			}
			first := h.segments[0].first // what was the oldest file may be gone as a whole, as after its time
			for i := first; i <= count; i++ {
				if !told[i] && (f.For == "" || want[i].About(f.For)) {
					t.Fatalf("seed %d, bit %d of %s, for %q: nothing is said of event %d", seed, bit, filepath.Base(path), f.For, i)
				}
			}
		}
	}
	if lost == 0 {
		t.Error("nothing was ever lost")
	}
}
