//go:build unix

package cli

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/mesita/mesita/api/client"
)

// watchSize passes on changes of the terminal's size until ctx ends.
func watchSize(ctx context.Context, f *os.File) <-chan client.Size {
	changed := make(chan os.Signal, 1)
	signal.Notify(changed, syscall.SIGWINCH)
	out := make(chan client.Size)
	go func() {
		defer signal.Stop(changed)
		for {
			select {
			case <-ctx.Done():
				return
			case <-changed:
				select {
				case out <- terminalSize(f):
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	return out
}
