package cli

import (
	"context"
	"os"
	"time"

	"github.com/mesita/mesita/api/client"
)

// sizeLook is how often it is looked whether a console has another size: Windows says so
// only among what is typed, which is the command's.
const sizeLook = 250 * time.Millisecond

// watchSize passes on changes of the terminal's size until ctx ends.
func watchSize(ctx context.Context, f *os.File) <-chan client.Size {
	out := make(chan client.Size)
	go func() {
		look := time.NewTicker(sizeLook)
		defer look.Stop()
		for last := terminalSize(f); ; {
			select {
			case <-ctx.Done():
				return
			case <-look.C:
			}
			now := terminalSize(f)
			if now == last {
				continue
			}
			select {
			case out <- now:
				last = now
			case <-ctx.Done():
				return
			}
		}
	}()
	return out
}
