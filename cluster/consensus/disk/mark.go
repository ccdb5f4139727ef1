package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// markKey is where a mark is, among the votes: the program of before does not
// look there.
const markKey = "mesita.mark"

const (
	markMagic = "mM2\n"
	markSize  = len(markMagic) + 3*8 + crc32.Size
)

// mark is what a log file says of itself beside its entries and votes: the
// least that must be in it. What it says stays true whatever the program of
// before does to the file.
type mark struct {
	snapshot uint64 // index of the newest snapshot
	applied  uint64 // index of the newest entry that took effect, as far as known when the mark was written
	damage   uint64 // 1 = what was here is lost, and not yet filled in again
}

func (m *mark) fields() []*uint64 { return []*uint64{&m.snapshot, &m.applied, &m.damage} }

func (m *mark) encode() []byte {
	b := append(make([]byte, 0, markSize), markMagic...)
	for _, f := range m.fields() {
		b = binary.BigEndian.AppendUint64(b, *f)
	}
	return binary.BigEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

func decodeMark(b []byte) (m mark, err error) {
	if len(b) != markSize || string(b[:len(markMagic)]) != markMagic ||
		binary.BigEndian.Uint32(b[markSize-crc32.Size:]) != crc32.Checksum(b[:markSize-crc32.Size], castagnoli) {
		return m, errors.New("the checksum of the mark is wrong")
	}
	for i, f := range m.fields() {
		*f = binary.BigEndian.Uint64(b[len(markMagic)+8*i:])
	}
	return m, nil
}
