package main

import "errors"

// lz4BlockMax is the most one block of the kernel's (legacy) LZ4 format holds, unpacked.
const lz4BlockMax = 8 << 20

var errLZ4 = errors.New("corrupt LZ4 block")

// lz4Block decodes one LZ4 block. It refuses a block that reads or refers
// outside itself or unpacks to more than lz4BlockMax bytes.
func lz4Block(in []byte) ([]byte, error) {
	var out []byte
	for i := 0; i < len(in); {
		token := int(in[i])
		n, i2, ok := lz4Length(in, token>>4, i+1)
		if !ok || n > len(in)-i2 || len(out)+n > lz4BlockMax {
			return nil, errLZ4
		}
		out = append(out, in[i2:i2+n]...)
		if i = i2 + n; i == len(in) {
			return out, nil // the last sequence has literals only
		}
		if len(in)-i < 2 {
			return nil, errLZ4
		}
		distance := int(in[i]) | int(in[i+1])<<8
		n, i, ok = lz4Length(in, token&15, i+2)
		n += 4
		from := len(out) - distance
		if !ok || distance == 0 || from < 0 || len(out)+n > lz4BlockMax {
			return nil, errLZ4
		}
		for ; n > 0; n-- { // byte by byte: source and target may overlap
			out = append(out, out[from])
			from++
		}
	}
	return nil, errLZ4
}

// lz4Length extends the 4-bit length n by the bytes at in[i:] and returns it
// with the index after them.
func lz4Length(in []byte, n, i int) (length, next int, ok bool) {
	if n < 15 {
		return n, i, true
	}
	for ; i < len(in); i++ {
		n += int(in[i])
		if in[i] != 255 {
			return n, i + 1, true
		}
	}
	return 0, 0, false
}
