package cli

import (
	"context"
	"io"
)

// readKeys sends each key that is typed, until ctx ends. One read may have several, or a
// part of one.
func readKeys(ctx context.Context, in io.Reader, keys chan<- string) {
	var typed []byte
	for b := make([]byte, 64); ; {
		n, err := in.Read(b)
		for typed = append(typed, b[:n]...); len(typed) > 0; {
			size := keySize(typed)
			if size == 0 {
				break
			}
			select {
			case keys <- string(typed[:size]):
			case <-ctx.Done():
				return
			}
			typed = typed[size:]
		}
		if err != nil {
			return
		}
	}
}

// maxKey bounds a sequence that never ends.
const maxKey = 16

// keySize is how many bytes the first key has, 0 if they are not all there: a key that
// moves the cursor is ESC [, parameters and a letter or ~, or ESC O and a letter. ESC
// before anything else is the key of that name.
func keySize(b []byte) int {
	if b[0] == '\x1b' && len(b) == 1 {
		return 0
	}
	if b[0] != '\x1b' || b[1] != '[' && b[1] != 'O' {
		return 1
	}
	for i, x := range b[2:] {
		switch {
		case x >= '@' && x <= '~':
			return i + 3
		case x < ' ' || x > '~' || i == maxKey: // no such sequence
			return i + 2
		}
	}
	return 0
}
