package client

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"
)

// A client sends no more input than it was granted, and all of it in the end;
// signals go besides. A server that grants nothing by name takes all.
func TestInputKeepsToTheWindow(t *testing.T) {
	const window, all = 1000, 10_500
	for _, granted := range []string{"1000", ""} {
		in, out := io.Pipe()
		f := newFrames(out, granted)
		go f.copyStdin(strings.NewReader(strings.Repeat("x", all)))
		r := bufio.NewReader(in)
		got, ended := 0, false
		for !ended {
			if got > 0 && got%window == 0 && granted != "" {
				sent := make(chan error, 1)
				go func() { sent <- f.send(frameSignal, []byte{2}) }()
				if kind, _ := readFrame(t, r); kind != frameSignal { // the input waits, and nothing else
					t.Fatalf("after %d bytes comes a frame of type %d", got, kind)
				}
				if err := <-sent; err != nil {
					t.Fatal(err)
				}
				more := bytes.NewReader(append([]byte{frameWindow, 0, 0, 0, 4}, binary.BigEndian.AppendUint32(nil, window)...))
				if _, err := receive(more, io.Discard, io.Discard, f.grant); err == nil {
					t.Fatal("there is an exit code")
				}
			}
			kind, p := readFrame(t, r)
			got, ended = got+len(p), kind == frameStdinEnd
		}
		if got != all {
			t.Errorf("%d bytes came", got)
		}
	}
}
