package client

import (
	"bytes"
	"testing"
)

// FuzzExecFrames: whatever a node sends in place of a command's output, the
// client ends with an exit code or an error.
func FuzzExecFrames(f *testing.F) {
	f.Add([]byte{frameStdout, 0, 0, 0, 2, 'h', 'i', frameExit, 0, 0, 0, 4, 0, 0, 0, 7})
	f.Add([]byte{frameStderr, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{frameExit, 0, 0, 0, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var out, errs bytes.Buffer
		if _, err := receive(bytes.NewReader(b), &out, &errs, func(int) {}); err == nil && out.Len()+errs.Len() > len(b) {
			t.Fatalf("%d bytes came, and %d were written", len(b), out.Len()+errs.Len())
		}
	})
}
