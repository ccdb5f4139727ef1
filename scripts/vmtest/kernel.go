package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
)

// unpackKernel takes the ELF vmlinux out of an LZ4-compressed bzImage: booted
// so (PVH), an emulated CPU need not decompress it at each start.
func unpackKernel(src, dst string) error {
	image, err := os.ReadFile(src)
	if err != nil {
		return err
	}
	elf, err := vmlinux(image)
	if err != nil {
		return fmt.Errorf("%s: %w", src, err)
	}
	return os.WriteFile(dst, elf, 0o644)
}

// vmlinux finds the payload by the boot protocol's header and unpacks it. The
// payload ends with its own unpacked size.
func vmlinux(image []byte) ([]byte, error) {
	const magic = 0x184c2102 // LZ4, legacy frame
	le := binary.LittleEndian
	if len(image) < 0x260 || string(image[0x202:0x206]) != "HdrS" {
		return nil, errors.New("not a bzImage")
	}
	start := (int(image[0x1f1])+1)*512 + int(le.Uint32(image[0x248:]))
	end := start + int(le.Uint32(image[0x24c:]))
	if end > len(image) || end-start < 8 {
		return nil, errors.New("bzImage is cut short")
	}
	p, size := image[start:end-4], int(le.Uint32(image[end-4:]))
	if le.Uint32(p) != magic {
		return nil, errors.New("payload is not LZ4; this tool knows no other")
	}
	var out []byte
	for p = p[4:]; len(p) >= 4; {
		n := int(le.Uint32(p))
		if n == 0 || n > len(p)-4 {
			break
		}
		block, err := lz4Block(p[4 : 4+n])
		if err != nil {
			return nil, err
		}
		out, p = append(out, block...), p[4+n:]
	}
	if len(out) != size || len(out) < 4 || string(out[:4]) != "\x7fELF" {
		return nil, fmt.Errorf("unpacked %d bytes, want an ELF file of %d", len(out), size)
	}
	return out, nil
}
