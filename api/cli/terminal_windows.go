package cli

import (
	"io"

	"golang.org/x/sys/windows"
)

// understandColours has consoles take what colours and redraws are written with, which
// old ones show as it is until they are told.
func understandColours(outputs ...io.Writer) {
	for _, w := range outputs {
		f := fileOf(w)
		if f == nil {
			continue
		}
		var mode uint32
		console := windows.Handle(f.Fd())
		if windows.GetConsoleMode(console, &mode) == nil { // else it is a file or a pipe
			_ = windows.SetConsoleMode(console, mode|windows.ENABLE_VIRTUAL_TERMINAL_PROCESSING) // one too old for it stays as it is
		}
	}
}
