package cli

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/client"
)

// TestAPrefixBeginsALine: however the pieces of several tasks come in between
// each other, each line of theirs is whole behind its head.
func TestAPrefixBeginsALine(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var out, errs bytes.Buffer
	w := &lineWriter{app: &app{out: &out, err: &errs}, prefix: true}
	want, left := map[string]string{}, map[string]string{}
	for i := range 5 {
		task := fmt.Sprintf("web.%d", i)
		for line := range 200 {
			left[task] += fmt.Sprintf("%s line %d caf\xe9 →\n", task, line)
		}
		left[task] += task + " without an end"
		want[task] = left[task] + "\n"
	}
	for len(left) > 0 {
		for task, text := range left {
			n := min(1+r.IntN(40), len(text))
			if err := w.write(client.LogLine{Task: task, Stream: "stdout", Data: []byte(text[:n])}); err != nil {
				t.Fatal(err)
			}
			if left[task] = text[n:]; left[task] == "" {
				delete(left, task)
			}
			if r.IntN(100) == 0 {
				missing := &api.LogMissing{Stream: "stdout", Bytes: 12, Why: "the log was rotated"}
				if err := w.write(client.LogLine{Task: task, Stream: "stdout", Data: []byte{}, Missing: missing}); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	w.end()
	got := map[string]string{}
	for line := range strings.Lines(out.String()) {
		task, text, ok := strings.Cut(line, "  ")
		if !ok || !strings.HasPrefix(text, task) {
			t.Fatalf("line %q", line)
		}
		got[task] += text
	}
	for task := range want {
		if got[task] != want[task] {
			t.Errorf("%s: %q", task, got[task])
		}
	}
	for line := range strings.Lines(errs.String()) {
		if !strings.HasPrefix(line, "mesita: web.") || !strings.HasSuffix(line, ": 12 bytes of stdout are missing here: the log was rotated\n") {
			t.Fatalf("line %q", line)
		}
	}
	if errs.Len() == 0 {
		t.Error("nothing was told missing")
	}
}

// TestWithoutAHeadNothingIsAdded: the bytes, and nothing else, in either stream.
func TestWithoutAHeadNothingIsAdded(t *testing.T) {
	var out, errs bytes.Buffer
	w := &lineWriter{app: &app{out: &out, err: &errs}}
	for _, p := range []client.LogLine{{Stream: "stdout", Data: []byte("\xff\x00half")}, {Stream: "stderr", Data: []byte("\xe9")}, {Stream: "stdout", Data: []byte(" a line")}} {
		if err := w.write(p); err != nil {
			t.Fatal(err)
		}
	}
	w.end()
	if out.String() != "\xff\x00half a line" || errs.String() != "\xe9" {
		t.Errorf("%q, %q", out.String(), errs.String())
	}
}
