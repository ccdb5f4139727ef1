//go:build unix

package cli

import (
	"context"
	"io"
	"path/filepath"
	"syscall"
	"testing"
)

// onWrite calls itself with what is written.
type onWrite func([]byte)

func (f onWrite) Write(p []byte) (int, error) { f(p); return len(p), nil }

// Ctrl-C and TERM are the command's, which decides what comes of them.
func TestExecPassesSignalsOn(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	f, err := newFake(socket)
	if err != nil {
		t.Fatal(err)
	}
	defer f.http.Close()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		in, feed := io.Pipe()
		go feed.Write([]byte("ready")) //nolint:errcheck // it is read until the end
		out := onWrite(func([]byte) {
			if err := syscall.Kill(syscall.Getpid(), sig); err != nil {
				t.Error(err)
			}
		})
		code := Main(context.Background(), []string{"mesita", "exec", "--socket", socket, "-T", "web.0", "--", "sleep", "9"}, in, out, io.Discard)
		if want := 128 + int(sig); code != want {
			t.Errorf("%v: code %d, want %d", sig, code, want)
		}
		feed.Close()
	}
}
