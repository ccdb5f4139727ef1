package logs

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// The end of a log, and what comes after a place, are found without what is long before.
func TestLongBeforeIsNotRead(t *testing.T) {
	dir := t.TempDir()
	w, err := Create(dir, 200<<10)
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	for i := range 180 {
		p := bytes.Repeat([]byte{byte('a' + i%26)}, 1000)
		said.Write(p)
		if err := w.Write(Stdout, time.Unix(int64(i), 0), p); err != nil {
			t.Fatal(err)
		}
	}
	seqs, err := segments(dir)
	if err != nil || len(seqs) < 4 {
		t.Fatal(seqs, err)
	}
	for _, seq := range seqs[:2] { // whoever reads these fails
		path := segmentPath(dir, seq)
		if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
			t.Fatal(err)
		}
	}
	at, _, err := End(dir)
	if err != nil || at != (Position{180_000, 0}) {
		t.Errorf("%v %v", at, err)
	}
	for _, after := range []int64{179_500, 150_000} {
		r, err := Open(dir, Options{After: Position{after, 0}, Stdout: true})
		if err != nil {
			t.Fatal(err)
		}
		var got []byte
		for {
			e, err := r.Next(context.Background())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil || e.Missing != 0 {
				t.Fatalf("%+v %v", e, err)
			}
			got = append(got, e.Data...)
		}
		r.Close()
		if !bytes.Equal(got, said.Bytes()[after:]) {
			t.Errorf("after %d: %d bytes", after, len(got))
		}
	}
}
