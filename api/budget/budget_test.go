package budget

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mesita/mesita/api"
)

// TestNobodyTakesAnothersPart: each has its part of its class, a class its own
// pool, and what is given back is there for the next.
func TestNobodyTakesAnothersPart(t *testing.T) {
	b := New(Config{Of: "things", Log: slog.New(slog.DiscardHandler), Limits: [3]Limits{{4, 3}, {4, 3}, {4, 3}}})
	for class := range classes {
		one, two := Who{class, "one"}, Who{class, "two"}
		for _, c := range []struct {
			who Who
			n   int64
			why string
		}{{one, 3, ""}, {one, 1, "one holds 3 things"}, {two, 2, "hold 3 things"}, {two, 1, ""}, {Who{class, "three"}, 1, "together"}} {
			err := b.Take(c.who, c.n)
			if (err == nil) != (c.why == "") || err != nil && (!strings.Contains(err.Error(), c.why) || err.(*api.Error).Retry <= 0) {
				t.Errorf("%+v: %v", c, err)
			}
		}
		b.Give(one, 3)
		if err := b.Take(two, 2); err != nil {
			t.Error(err)
		}
		b.Give(two, 3)
	}
	if b.Held() != 0 || len(b.held) != 0 {
		t.Errorf("%d held, by %v", b.Held(), b.held)
	}
}

// TestTheLogNamesWhoFloods, and that once a minute.
func TestTheLogNamesWhoFloods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		b := New(Config{Of: "things", Log: slog.New(slog.NewTextHandler(&log, nil)), Limits: [3]Limits{{100, 99}, {100, 99}, {100, 99}}})
		if err := b.Take(Who{Stranger, "1.2.3.4"}, 99); err != nil {
			t.Fatal(err)
		}
		for i := range 240 {
			if b.Take(Who{Stranger, fmt.Sprint("10.0.0.", i)}, 2) == nil {
				t.Fatal("more was taken than there is")
			}
			time.Sleep(time.Second)
		}
		lines := strings.Split(strings.TrimSpace(log.String()), "\n")
		if len(lines) != 4 {
			t.Errorf("%d lines in four minutes", len(lines))
		}
		for _, l := range lines {
			if !strings.Contains(l, "who=1.2.3.4") || !strings.Contains(l, "holds=99") {
				t.Error(l)
			}
		}
		if !strings.Contains(log.String(), "refused=60") {
			t.Error("it does not say how often")
		}
	})
}

func TestSourceOf(t *testing.T) {
	for addr, want := range map[string]string{"1.2.3.4:5": "1.2.3.4", "[::ffff:1.2.3.4]:5": "1.2.3.4", "[2001:db8::1]:5": "2001:db8::/64", "[fe80::1%lo]:5": "fe80::/64", "@": "@"} {
		if got := SourceOf(addr); got != want {
			t.Errorf("%s: %s, want %s", addr, got, want)
		}
	}
}
