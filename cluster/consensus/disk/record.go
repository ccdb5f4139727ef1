package disk

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"

	"github.com/hashicorp/raft"
)

// A record is one log entry as it is on disk: the MessagePack map that
// raft-boltdb writes, field by field in the order of their names, so that the
// program of before reads it. Its Extensions, which mesita does not use and the
// program of before does not look at, hold a seal: sealMagic and a CRC-32C over
// index, term, type and data. They are this disk's own and never leave it.
//
// A record without a seal is one of the program of before. Damage cannot make
// one of the other: they differ in length and layout, and nothing is read that
// does not have exactly one of the two.
const sealMagic = "mS1\n"

const sealSize = len(sealMagic) + crc32.Size

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

var errRecord = errors.New("this is no log entry")

// Keys and types of the map.
const (
	recordTime  = "\x86\xaaAppendedAt"
	recordData  = "\xa4Data"
	recordExt   = "\xaaExtensions"
	recordIndex = "\xa5Index"
	recordTerm  = "\xa4Term"
	recordType  = "\xa4Type"
)

func sealSum(l *raft.Log) uint32 {
	var b [17]byte
	binary.LittleEndian.PutUint64(b[:], l.Index)
	binary.LittleEndian.PutUint64(b[8:], l.Term)
	b[16] = byte(l.Type)
	return crc32.Update(crc32.Checksum(b[:], castagnoli), castagnoli, l.Data)
}

// appendRecord appends a sealed record.
func appendRecord(b []byte, l *raft.Log) ([]byte, error) {
	at, err := l.AppendedAt.MarshalBinary()
	if err != nil { // an offset of the zone that the encoding does not have
		if at, err = l.AppendedAt.UTC().MarshalBinary(); err != nil {
			return nil, fmt.Errorf("encode when entry %d was made: %w", l.Index, err)
		}
	}
	b = appendBytes(append(b, recordTime...), at)
	b = append(b, recordData...)
	if l.Data == nil {
		b = append(b, 0xc0)
	} else {
		b = appendBytes(b, l.Data)
	}
	b = append(append(b, recordExt...), 0xa0|byte(sealSize))
	b = binary.BigEndian.AppendUint32(append(b, sealMagic...), sealSum(l))
	b = appendUint(append(b, recordIndex...), l.Index)
	b = appendUint(append(b, recordTerm...), l.Term)
	return appendUint(append(b, recordType...), uint64(l.Type)), nil
}

func appendBytes(b, v []byte) []byte {
	switch n := len(v); {
	case n < 32:
		b = append(b, 0xa0|byte(n))
	case n <= 0xffff:
		b = binary.BigEndian.AppendUint16(append(b, 0xda), uint16(n))
	default:
		b = binary.BigEndian.AppendUint32(append(b, 0xdb), uint32(n))
	}
	return append(b, v...)
}

func appendUint(b []byte, v uint64) []byte {
	switch {
	case v <= 0x7f:
		return append(b, byte(v))
	case v <= 0xff:
		return append(b, 0xcc, byte(v))
	case v <= 0xffff:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(v))
	case v <= 0xffffffff:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(v))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), v)
}

// parseRecord reads a record and checks its seal; sealed is false for one of
// the program of before. Data lies in b.
func parseRecord(b []byte, l *raft.Log) (sealed bool, err error) {
	p := recordParser{rest: b}
	p.key(recordTime)
	at := p.bytes()
	p.key(recordData)
	data := p.bytes()
	p.key(recordExt)
	seal := p.bytes()
	p.key(recordIndex)
	index := p.uint()
	p.key(recordTerm)
	term := p.uint()
	p.key(recordType)
	kind := p.uint()
	var when time.Time
	if p.bad || len(p.rest) > 0 || kind > 0xff || when.UnmarshalBinary(at) != nil {
		return false, errRecord
	}
	*l = raft.Log{Index: index, Term: term, Type: raft.LogType(kind), Data: data, AppendedAt: when}
	switch {
	case seal == nil:
		return false, nil
	case len(seal) != sealSize || string(seal[:len(sealMagic)]) != sealMagic:
		return false, errRecord
	case binary.BigEndian.Uint32(seal[len(sealMagic):]) != sealSum(l):
		return false, errors.New("the checksum is wrong")
	}
	return true, nil
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
