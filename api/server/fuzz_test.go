package server

import (
	"bytes"
	"encoding/json"
	"io"
	"syscall"
	"testing"

	"github.com/mesita/mesita/api"
)

// FuzzPeerBodies: whatever comes in place of what nodes and joiners send each
// other is read or refused, and what is read can be written again.
func FuzzPeerBodies(f *testing.F) {
	kinds := []func() any{
		func() any { return new(api.JoinRequest) },
		func() any { return new(api.JoinGrant) },
		func() any { return new(api.NodeHello) },
		func() any { return new([]api.TaskStatus) },
		func() any { return new(RenewRequest) },
		func() any { return new(AssignmentsDelta) },
		func() any { return new(api.Event) },
		func() any { return new(FeedRow) },
		func() any { return new(api.Removal) },
		func() any { return new(blobHeld) },
	}
	for kind, body := range map[byte]string{
		0: `{"token":"a.b","csr":"AAAA","name":"oak","cluster":"pine"}`,
		2: `{"addr":"1.2.3.4:5","version":"1","boot":"b","attrs":{"a":"b"},"resources":{"cpus":4,"mem":"1GiB","ports":"20000-20010"}}`,
		3: `[{"task":"a.0","attempt":1,"state":"TASK_FINISHED","exitCode":0,"time":"2026-01-01T00:00:00Z"}]`,
		6: `{"index":1,"kind":"task.running","task":{"id":"a.0"}}`,
	} {
		f.Add(kind, []byte(body))
	}
	f.Fuzz(func(t *testing.T, kind byte, body []byte) {
		v, lenient := kinds[int(kind)%len(kinds)](), kinds[int(kind)%len(kinds)]()
		_ = api.DecodeLenient(body, lenient) // as a newer node's; an error is an answer
		if api.DecodeStrict(bytes.NewReader(body), v) != nil {
			return
		}
		if h, ok := v.(*api.NodeHello); ok && h.Validate() != nil {
			return
		}
		if _, err := json.Marshal(v); err != nil {
			t.Fatalf("%T was read from %q, and cannot be written: %v", v, body, err)
		}
	})
}

// FuzzExecFrames: whatever a client sends in place of its input, the connection
// ends, and the command's input with it.
func FuzzExecFrames(f *testing.F) {
	f.Add([]byte{frameStdin, 0, 0, 0, 2, 'h', 'i', frameStdinEnd, 0, 0, 0, 0, frameResize, 0, 0, 0, 4, 0, 24, 0, 80})
	f.Add([]byte{frameStdin, 0xff, 0xff, 0xff, 0xff})
	f.Add([]byte{frameSignal, 0, 0, 0, 1, 15, frameSignal, 0, 0, 0, 1, 9})
	f.Add([]byte{frameResize, 0, 0, 0, 1, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r, w := io.Pipe()
		read := make(chan int64)
		go func() {
			n, _ := io.Copy(io.Discard, r) // until it is closed
			read <- n
		}()
		if err := receive(bytes.NewReader(b), w, make(chan Size, 1), make(chan syscall.Signal, 1)); err != nil {
			w.CloseWithError(err) // as who calls it does at the end of the command
		}
		if n := <-read; n > int64(len(b)) {
			t.Fatalf("%d bytes came, and the command read %d", len(b), n)
		}
	})
}
