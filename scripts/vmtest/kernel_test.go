package main

import (
	"encoding/binary"
	"slices"
	"strings"
	"testing"
)

// bzImage is a boot header with payload right after one setup sector.
func bzImage(payload []byte) []byte {
	const start = 1024
	b := make([]byte, start, start+len(payload))
	b[0x1f1] = 1
	copy(b[0x202:], "HdrS")
	binary.LittleEndian.PutUint32(b[0x248:], 0)
	binary.LittleEndian.PutUint32(b[0x24c:], uint32(len(payload)))
	return append(b, payload...)
}

// lz4Payload is a legacy LZ4 frame of two blocks, "\x7fELF" and "rest", and the size.
func lz4Payload(size uint32) []byte {
	le := binary.LittleEndian
	p := le.AppendUint32(nil, 0x184c2102)
	for _, s := range []string{"\x7fELF", "rest"} {
		p = le.AppendUint32(p, uint32(1+len(s)))
		p = append(append(p, byte(len(s)<<4)), s...)
	}
	return le.AppendUint32(p, size)
}

func TestVmlinux(t *testing.T) {
	got, err := vmlinux(bzImage(lz4Payload(8)))
	if err != nil || string(got) != "\x7fELFrest" {
		t.Fatalf("vmlinux = %q, %v", got, err)
	}
	whole := bzImage(lz4Payload(8))
	gzip := bzImage(slices.Concat([]byte{0x1f, 0x8b, 8, 0}, make([]byte, 16)))
	for want, image := range map[string][]byte{
		"not a bzImage":  []byte("\x7fELF"),
		"cut short":      whole[:len(whole)-1],
		"not LZ4":        gzip,
		"unpacked 8":     bzImage(lz4Payload(9)),
		"cut short ":     bzImage(nil),
		"corrupt LZ4 bl": func() []byte { b := bzImage(lz4Payload(8)); b[1024+8] = 0xf0; return b }(),
	} {
		if _, err := vmlinux(image); err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) {
			t.Errorf("error %v, want %q", err, want)
		}
	}
}
