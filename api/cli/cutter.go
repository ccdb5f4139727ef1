package cli

import (
	"bytes"
	"io"
	"os"
	"unicode/utf8"

	"golang.org/x/term"
)

// columnsOf is how wide a terminal is, 0 of what is none.
func columnsOf(w io.Writer) int {
	f, ok := w.(*os.File)
	if !ok || !isTerminal(f) {
		return 0
	}
	width, _, err := term.GetSize(int(f.Fd()))
	if err != nil {
		return 0
	}
	return width
}

// cutter cuts lines to the width of a terminal, where they would wrap: the rows of a
// table could not be told apart. -o wide and what is not a terminal have all.
type cutter struct {
	w     io.Writer
	width int // in characters
	line  bytes.Buffer
}

func (c *cutter) Write(b []byte) (int, error) {
	n := len(b)
	for {
		begin, rest, whole := bytes.Cut(b, []byte{'\n'})
		c.line.Write(begin)
		if !whole {
			return n, nil
		}
		if err := c.end("\n"); err != nil {
			return 0, err
		}
		b = rest
	}
}

func (c *cutter) end(with string) error {
	line := c.line.Bytes()
	if utf8.RuneCount(line) > c.width {
		at := 0
		for range c.width - 1 {
			_, size := utf8.DecodeRune(line[at:])
			at += size
		}
		line = append(line[:at], "…"...)
	}
	_, err := c.w.Write(append(line, with...))
	c.line.Reset()
	return err
}

// flush writes what no line end came after.
func (c *cutter) flush() {
	if c.line.Len() > 0 {
		_ = c.end("") // as of any output, nobody reads if it fails
	}
}
