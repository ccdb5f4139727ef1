// Package sealed gives JSON objects on disk a checksum: a last field with the
// CRC-32C of what is before it, which a program that does not know of it
// ignores. So an object has one or is an older program's, and a flipped bit in it
// is found. It does not own the files, nor what to do about damage.
package sealed

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"math/bits"
)

const (
	field = `"crc":"`
	end   = `"}`
	tail  = 1 + len(field) + 8 + len(end) // what is before is the comma, or the brace of an empty object
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// between ends each of what an object is about: no name and no id has it.
var between = []byte{0}

// ErrDamaged says that an object is not what was written.
var ErrDamaged = errors.New("the checksum is wrong")

// Sum is the CRC-32C of b and of what it is about, such as the key that it is
// stored under.
func Sum(b []byte, about ...[]byte) uint32 {
	var sum uint32
	for _, a := range about {
		sum = crc32.Update(crc32.Update(sum, castagnoli, a), castagnoli, between)
	}
	return crc32.Update(sum, castagnoli, b)
}

// Add puts the sum of a JSON object and of what it is about into it.
func Add(object []byte, about ...[]byte) (out []byte, sum uint32) {
	head := bytes.TrimRight(object[:len(object)-1], " \n") // the brace comes last
	sum = Sum(head, about...)
	out = append(make([]byte, 0, len(head)+tail), head...)
	if len(head) > 1 {
		out = append(out, ',')
	}
	out = append(out, field...)
	var digits [4]byte
	binary.BigEndian.PutUint32(digits[:], sum)
	out = hex.AppendEncode(out, digits[:])
	return append(out, end...), sum
}

// Check returns the sum in an object. It is not sealed if it has none, as an
// older program writes it; the sum is that of all of it then. What is but a bit
// or two from having one is damaged.
func Check(object []byte, about ...[]byte) (sum uint32, isSealed bool, err error) {
	at := len(object) - tail
	if at < 0 {
		return Sum(object, about...), false, nil
	}
	off := bitsOff(object[at+1:], field) + bitsOff(object[len(object)-len(end):], end)
	head := object[:at]
	if at == 0 { // the object was empty
		head = object[:1]
		off += bitsOff(head, "{")
	} else {
		off += bitsOff(object[at:], ",")
	}
	if off > fewBits {
		return Sum(object, about...), false, nil
	}
	var said [4]byte
	digits := object[len(object)-len(end)-8 : len(object)-len(end)]
	_, err = hex.Decode(said[:], digits)
	if sum = Sum(head, about...); off > 0 || err != nil || bytes.ContainsAny(digits, "ABCDEF") || binary.BigEndian.Uint32(said[:]) != sum {
		return 0, true, ErrDamaged
	}
	return sum, true, nil
}

const fewBits = 2

// bitsOff is in how many bits the beginning of b is not s.
func bitsOff(b []byte, s string) (n int) {
	for i := range len(s) {
		n += bits.OnesCount8(b[i] ^ s[i])
	}
	return n
}
