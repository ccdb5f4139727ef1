// Package logs owns the log files of tasks: what one attempt wrote to its
// standard output and error, framed with time and stream, rotated and bounded.
// It does not own who writes when: the keeper writes, the executor reads and
// removes.
//
// An attempt's folder holds segments 00000001.log, 00000002.log and so on. A
// segment is a sequence of frames: one byte stream, three bytes length, eight
// bytes time (Unix nanoseconds), four bytes CRC-32C of all the rest of the
// frame, then the data; numbers are little-endian. A frame of stream 0 marks
// the end of the log. A frame cut short at the end of a segment is ignored.
//
// A frame of standard output or error without data is a mark of the place in
// that stream: its eight bytes are not time but twice the bytes that the stream
// had before, plus one if the last of them ended no line. Every segment but the
// first begins with a mark of each stream, and so does what follows bytes that
// could not be written: a reader that finds more there than it has seen knows
// how many it lacks. Programs before there were marks pass over them.
package logs

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Stream is where a piece of a log came from.
type Stream uint8

// The streams. They are stored: append only.
const (
	end    Stream = 0
	Stdout Stream = 1
	Stderr Stream = 2
)

const (
	headerSize = 16
	maxFrame   = 64 << 10 // of data
	suffix     = ".log"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func appendFrame(b []byte, s Stream, t time.Time, p []byte) []byte {
	at := len(b)
	b = append(b, byte(s), byte(len(p)), byte(len(p)>>8), byte(len(p)>>16))
	b = binary.LittleEndian.AppendUint64(b, uint64(t.UnixNano()))
	b = append(b, 0, 0, 0, 0)
	b = append(b, p...)
	binary.LittleEndian.PutUint32(b[at+12:], checksum(b[at:]))
	return b
}

func checksum(frame []byte) uint32 {
	return crc32.Update(crc32.Checksum(frame[:12], castagnoli), castagnoli, frame[headerSize:])
}

// header is the decoded first part of a frame.
type header struct {
	stream Stream
	size   int
	time   time.Time
	sum    uint32
}

func parseHeader(b []byte) (header, bool) {
	h := header{
		stream: Stream(b[0]),
		size:   int(b[1]) | int(b[2])<<8 | int(b[3])<<16,
		time:   time.Unix(0, int64(binary.LittleEndian.Uint64(b[4:]))),
		sum:    binary.LittleEndian.Uint32(b[12:]),
	}
	return h, h.stream <= Stderr && h.size <= maxFrame
}

// appendMark marks a place in a stream.
func appendMark(b []byte, s Stream, p place) []byte {
	n := p.bytes << 1
	if p.open {
		n |= 1
	}
	return appendFrame(b, s, time.Unix(0, n), nil)
}

// place is one in a stream.
type place struct {
	bytes int64 // before it
	open  bool  // within a line
}

// after is the place after p was written.
func (l place) after(p []byte) place {
	if len(p) == 0 {
		return l
	}
	return place{l.bytes + int64(len(p)), p[len(p)-1] != '\n'}
}

func segmentPath(dir string, seq int) string {
	return filepath.Join(dir, fmt.Sprintf("%08d%s", seq, suffix))
}

// segments lists the numbers of the segments in dir, oldest first.
func segments(dir string) ([]int, error) {
	names, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var out []int
	for _, e := range names {
		if num, ok := strings.CutSuffix(e.Name(), suffix); ok {
			if n, err := strconv.Atoi(num); err == nil && n > 0 {
				out = append(out, n)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}
