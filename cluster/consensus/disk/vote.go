package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// A vote, or the term, is kept as raft-boltdb's program of before keeps it, with
// a seal behind it: voteMagic and a CRC-32C over key and value. That program
// reads the first eight bytes of a number, and takes a sealed candidate for
// another, whom it does not vote for again in that term: so it may run on the
// file. voteMagic has bytes that no value without a seal has.
const voteMagic = "\x00\xffmV"

const voteSealSize = len(voteMagic) + crc32.Size

// maxCandidate bounds the name of a candidate without a seal, in bytes.
const maxCandidate = 255

// Keys in raft's stable store.
const (
	KeyTerm      = "CurrentTerm"
	KeyVoteTerm  = "LastVoteTerm" // of the last vote
	KeyCandidate = "LastVoteCand" // whom it was for
)

var errVote = errors.New("it is neither a vote nor a term")

func voteSum(key, val []byte) uint32 {
	n := binary.BigEndian.AppendUint64(nil, uint64(len(key)))
	return crc32.Update(crc32.Update(crc32.Checksum(n, castagnoli), castagnoli, key), castagnoli, val)
}

func sealVote(key, val []byte) []byte {
	b := make([]byte, 0, len(val)+voteSealSize)
	b = append(append(b, val...), voteMagic...)
	return binary.BigEndian.AppendUint32(b, voteSum(key, val))
}

// openVote checks a value; sealed is false for one of the program of before.
func openVote(key, raw []byte) (val []byte, sealed bool, err error) {
	number := string(key) == KeyTerm || string(key) == KeyVoteTerm
	if !number && string(key) != KeyCandidate {
		return nil, false, errVote
	}
	n := len(raw) - voteSealSize
	if n >= 0 && string(raw[n:n+len(voteMagic)]) == voteMagic {
		val = raw[:n:n]
		if binary.BigEndian.Uint32(raw[n+len(voteMagic):]) != voteSum(key, val) {
			return nil, false, errors.New("the checksum is wrong")
		}
		return val, true, nil
	}
	if number && len(raw) != 8 || !number && (len(raw) == 0 || len(raw) > maxCandidate || bytes.ContainsFunc(raw, unprintable)) {
		return nil, false, errVote
	}
	return raw, false, nil
}

func unprintable(r rune) bool { return r < ' ' || r > '~' }
