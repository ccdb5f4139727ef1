package main

import (
	"bytes"
	"strings"
	"testing"
)

// block is one LZ4 block: "abcd" and 19+4 bytes of overlapping copy from 4
// back, then the literals "end".
func block() []byte {
	return []byte{0x4f, 'a', 'b', 'c', 'd', 4, 0, 4, 0x30, 'e', 'n', 'd'}
}

func TestLZ4Block(t *testing.T) {
	long := append([]byte{0xf0, 255, 30}, bytes.Repeat([]byte{'x'}, 300)...) // 15+255+30 literals
	for name, c := range map[string]struct {
		in   []byte
		want string
	}{
		"overlapping copy": {block(), strings.Repeat("abcd", 7)[:4+23] + "end"},
		"long literals":    {long, strings.Repeat("x", 300)},
		"no literals":      {[]byte{0x00}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := lz4Block(c.in)
			if err != nil || string(got) != c.want {
				t.Errorf("lz4Block = %q, %v; want %q", got, err, c.want)
			}
		})
	}
}

func TestLZ4BlockCorrupt(t *testing.T) {
	good := block()
	for n := range len(good) {
		if n == 5 { // literals and no more are a whole block
			continue
		}
		if out, err := lz4Block(good[:n]); err == nil {
			t.Errorf("the first %d bytes were taken for a whole block: %q", n, out)
		}
	}
	bomb := append([]byte{0x1f, 'a', 1, 0}, bytes.Repeat([]byte{255}, lz4BlockMax/255+1)...)
	for name, in := range map[string][]byte{
		"distance 0":           {0x40, 'a', 'b', 'c', 'd', 0, 0, 0},
		"distance before":      {0x40, 'a', 'b', 'c', 'd', 5, 0, 0},
		"literals beyond":      {0x50, 'a'},
		"length without end":   {0xf0, 255, 255},
		"ends with a copy":     {0x40, 'a', 'b', 'c', 'd', 4, 0},
		"larger than a block":  append(bomb, 0, 0x10, 'z'),
		"literal length bytes": {0xf0},
	} {
		if out, err := lz4Block(in); err == nil {
			t.Errorf("%s: no error, %d bytes", name, len(out))
		}
	}
}

func FuzzLZ4Block(f *testing.F) {
	f.Add(block())
	f.Fuzz(func(t *testing.T, in []byte) {
		if out, _ := lz4Block(in); len(out) > lz4BlockMax {
			t.Fatalf("%d bytes out of %d", len(out), len(in))
		}
	})
}
