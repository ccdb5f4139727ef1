//go:build unix

package cli

import (
	"io"
	"os"
	"syscall"
)

// duplicate is another descriptor of an open file, which may be closed.
func duplicate(fd int, name string) (io.WriteCloser, error) {
	own, err := syscall.Dup(fd)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(own), name), nil
}
