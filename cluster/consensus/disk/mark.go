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
	markMagic = "mM1\n"
	markSize  = len(markMagic) + 7*8 + crc32.Size
)

// mark is what a log file says of itself. It is written with each change, and
// tells a file that lost its end, its beginning or a vote from a whole one.
type mark struct {
	tx          uint64 // of the change it was written with
	first, last uint64 // indexes of the log, 0 = it is empty
	snapshot    uint64 // index of the newest snapshot
	applied     uint64 // index of the newest entry that took effect, as far as known then
	votes       uint64 // CRC-32C of the keys and values beside the mark
	damage      uint64 // 1 = what was here is lost, and not yet filled in again
}

func (m *mark) fields() []*uint64 {
	return []*uint64{&m.tx, &m.first, &m.last, &m.snapshot, &m.applied, &m.votes, &m.damage}
}

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

// votesSum is the checksum of what is beside the mark.
func votesSum(votes interface {
	ForEach(func(k, v []byte) error) error
}) (uint64, error) {
	sum := crc32.New(castagnoli)
	err := votes.ForEach(func(k, v []byte) error {
		if string(k) == markKey {
			return nil
		}
		for _, part := range [][]byte{k, v} {
			var n [8]byte
			binary.BigEndian.PutUint64(n[:], uint64(len(part)))
			_, _ = sum.Write(n[:]) // a hash takes all
			_, _ = sum.Write(part)
		}
		return nil
	})
	return uint64(sum.Sum32()), err
}
