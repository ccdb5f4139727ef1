package keeper

import (
	"bytes"
	"errors"
	"os"
	"testing"
	"time"
)

// TestOutputIsReadToItsEnd: what was written before the time for it was up is
// not lost to a slow reader, and a process that holds the output open, or continues
// writing, keeps nobody waiting.
func TestOutputIsReadToItsEnd(t *testing.T) {
	r, w, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	defer r.Close()
	want := bytes.Repeat([]byte("0123456789abcdef"), 4<<10) // as much as it holds
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	if err := r.SetReadDeadline(time.Unix(1, 0)); err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	copyAll(&got, r)
	if !bytes.Equal(got.Bytes(), want) {
		t.Fatalf("%d bytes of %d", got.Len(), len(want))
	}
	// Each part that is read makes room, which is filled again.
	if _, err := w.Write(want); err != nil {
		t.Fatal(err)
	}
	n := 0
	err = readAll(r, func(p []byte) error {
		n += len(p)
		_, err := w.Write(p)
		return err
	})
	if err != nil || n < len(want) || n > 2*len(want) {
		t.Fatalf("%d bytes of a pipe that holds %d, %v", n, len(want), err)
	}
}

// TestOutputNobodyTakes: a reader that fails ends the reading, and the file can
// be closed while it takes its time.
func TestOutputNobodyTakes(t *testing.T) {
	r, w, err := pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	enough := errors.New("enough")
	err = readAll(r, func([]byte) error {
		if err := r.Close(); err != nil { // would wait for a read that continues
			t.Error(err)
		}
		return enough
	})
	if !errors.Is(err, enough) {
		t.Fatal(err)
	}
	if err := readAll(r, func([]byte) error { return nil }); err != nil && !errors.Is(err, os.ErrClosed) {
		t.Fatal(err)
	}
}
