package disk

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A record is one log entry as it is on disk: the MessagePack map that
// raft-boltdb writes. Its Extensions, which mesita does not use and the program
// of before does not look at, hold a seal: sealMagic, the index of the newest
// entry that had taken effect, and a CRC-32C over that, index, term, type and
// data. A seal is this disk's own and never leaves it.
//
// A record without a seal is one of the program of before. Damage cannot make
// one of the other: they differ in length and layout, and nothing is taken at the
// start that does not have exactly one of the two.
const sealMagic = "mS1\n"

const sealSize = len(sealMagic) + 8 + crc32.Size

// seal is what an entry's seal says.
type seal struct {
	present bool
	applied uint64 // index of the newest entry that had taken effect when it was written
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecord = errors.New("this is not a log entry")

// Keys and types of the map.
const (
	recordTime  = "\x86\xaaAppendedAt"
	recordData  = "\xa4Data"
	recordExt   = "\xaaExtensions"
	recordIndex = "\xa5Index"
	recordTerm  = "\xa4Term"
	recordType  = "\xa4Type"
)

func sealSum(l *raft.Log, applied uint64) uint32 {
	var b [25]byte
	binary.LittleEndian.PutUint64(b[:], l.Index)
	binary.LittleEndian.PutUint64(b[8:], l.Term)
	binary.LittleEndian.PutUint64(b[16:], applied)
	b[24] = byte(l.Type)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, l.Data)
}

// sealOf makes an entry's seal.
func sealOf(l *raft.Log, applied uint64) []byte {
	b := append(make([]byte, 0, sealSize), sealMagic...)
	b = binary.BigEndian.AppendUint64(b, applied)
	return binary.BigEndian.AppendUint32(b, sealSum(l, applied))
}

// unseal checks an entry's seal and takes it off.
func unseal(l *raft.Log) (seal, error) {
	b := l.Extensions
	l.Extensions = nil
	if b == nil {
		return seal{}, nil
	}
	if len(b) != sealSize || string(b[:len(sealMagic)]) != sealMagic {
		return seal{}, errRecord
	}
	s := seal{true, binary.BigEndian.Uint64(b[len(sealMagic):])}
	if binary.BigEndian.Uint32(b[sealSize-crc32.Size:]) != sealSum(l, s.applied) {
		return seal{}, errors.New("the checksum is wrong")
	}
	return s, nil
}

// parseRecord reads a record and checks its seal. It takes nothing but what
// raft-boltdb writes, to the byte. Data lies in b.
func parseRecord(b []byte, l *raft.Log) (seal, error) {
	p := recordParser{rest: b}
	p.key(recordTime)
	at := p.bytes()
	p.key(recordData)
	data := p.bytes()
	p.key(recordExt)
	ext := p.bytes()
	p.key(recordIndex)
	index := p.uint()
	p.key(recordTerm)
	term := p.uint()
	p.key(recordType)
	kind := p.uint()
	var when time.Time
	if p.bad || len(p.rest) > 0 || kind > 0xff || when.UnmarshalBinary(at) != nil {
		return seal{}, errRecord
	}
	*l = raft.Log{Index: index, Term: term, Type: raft.LogType(kind), Data: data, Extensions: ext, AppendedAt: when}
	return unseal(l)
}

// recordParser takes a record apart; bad stays true from the first thing on
// that is not as it should be.
type recordParser struct {
	rest []byte
	bad  bool
}

// take returns the next n bytes, nil if there are fewer.
func (p *recordParser) take(n int) []byte {
	if p.bad || n < 0 || n > len(p.rest) {
		p.bad = true
		return nil
	}
	out := p.rest[:n:n]
	p.rest = p.rest[n:]
	return out
}

func (p *recordParser) key(k string) { p.bad = string(p.take(len(k))) != k || p.bad }

// big reads a number of n bytes.
func (p *recordParser) big(n int) (v uint64) {
	for _, c := range p.take(n) {
		v = v<<8 | uint64(c)
	}
	return v
}

func (p *recordParser) bytes() []byte {
	switch c := p.big(1); {
	case p.bad || c == 0xc0:
		return nil
	case c&0xe0 == 0xa0:
		return p.take(int(c & 0x1f))
	case c == 0xda:
		return p.take(int(p.big(2)))
	case c == 0xdb:
		return p.take(int(p.big(4)))
	}
	p.bad = true
	return nil
}

func (p *recordParser) uint() uint64 {
	switch c := p.big(1); {
	case c <= 0x7f:
		return c
	case c >= 0xcc && c <= 0xcf:
		return p.big(1 << (c - 0xcc))
	}
	p.bad = true
	return 0
}
