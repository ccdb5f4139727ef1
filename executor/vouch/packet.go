// Package vouch lets the parent of a node's tasks answer for them while the
// node's daemon cannot: killed, hung, or between two versions. It owns two
// packets of fixed size, who asks (Asker, in the leader's daemon) and who
// answers (Responder, in the keeper). It does not own what follows from an
// answer: cluster decides that.
//
// A probe names a node and up to 128 attempts; the answer says whether they
// run. Both are sealed under a key derived from the cluster's gossip key, so a
// stranger's packet is dropped after one decryption. An answer is bound to the
// nonce of its probe, so one that was recorded earlier is worth nothing; a probe
// that is sent once more can at most keep the attempts that it names from starting
// where they are not, and its answer is smaller than itself.
package vouch

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
)

// MaxNamed is how many attempts one probe may name.
const MaxNamed = 128

// Prefix begins every packet. No packet of gossip begins so: theirs begin with
// the byte that announces a label.
const Prefix = "msk"

const (
	probeMagic  = Prefix + "P"
	answerMagic = Prefix + "A"
	magicSize   = 4
	nonceSize   = 12
	tagSize     = 16
	version     = 1
	keySize     = 32
	bootSize    = 40

	probeBody  = 1 + sha256.Size + 2 + 8*MaxNamed
	answerBody = 1 + bootSize + 8 + 4 + 4 + MaxNamed/4
	probeSize  = magicSize + nonceSize + probeBody + tagSize
	answerSize = magicSize + nonceSize + nonceSize + answerBody + tagSize
)

// Fate is what a keeper knows of an attempt.
type Fate uint8

// The fates. They cross versions: append only, at most four.
const (
	Unknown Fate = iota // it never came here, or its end was taken note of
	Runs                // or is being started
	Ended               // and the daemon has not taken note of it
)

// Probe is what is asked.
type Probe struct {
	Node     string   // the id of the node that is meant
	Attempts []string // at most MaxNamed
}

// Answer is what a keeper says.
type Answer struct {
	Boot    string // the kernel's boot id
	Session uint64 // of this keeper: differs once another one took its place
	Running uint32 // attempts, in all
	Ended   uint32 // that the daemon has not taken note of
	Fates   []Fate // of the attempts in the probe, in their order
}

// Name is how an attempt is named in a probe.
func Name(attempt string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(attempt)) // never fails
	return h.Sum64()
}

// DeriveKey makes the key of the probes from the cluster's gossip key, so that
// a keeper need not hold that one.
func DeriveKey(secret []byte) ([]byte, error) {
	return hkdf.Key(sha256.New, secret, nil, "mesita: probe of a node's keeper", keySize)
}

func newAEAD(key []byte) (cipher.AEAD, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("the key of the keeper's probes has %d bytes, want %d", len(key), keySize)
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(b)
}

type nonce [nonceSize]byte

var errPacket = errors.New("this is not a packet of ours")

// seal makes a packet: magic, its own nonce, what is authenticated only (of an
// answer the nonce of its probe), and the sealed body.
func seal(aead cipher.AEAD, magic string, clear, body []byte) ([]byte, nonce) {
	var n nonce
	_, _ = rand.Read(n[:]) // never fails
	head := append([]byte(magic), n[:]...)
	head = append(head, clear...)
	return aead.Seal(head, n[:], body, head), n
}

func unseal(aead cipher.AEAD, magic string, clear, size int, b []byte) (body []byte, n nonce, err error) {
	if len(b) != size || string(b[:magicSize]) != magic {
		return nil, n, errPacket
	}
	head := magicSize + nonceSize + clear
	copy(n[:], b[magicSize:])
	body, err = aead.Open(nil, n[:], b[head:], b[:head])
	if err != nil || body[0] != version {
		return nil, n, errPacket
	}
	return body[1:], n, nil
}

func sealProbe(aead cipher.AEAD, p Probe) ([]byte, nonce, error) {
	if len(p.Attempts) > MaxNamed {
		return nil, nonce{}, fmt.Errorf("one probe names %d of attempts, at most %d fit", len(p.Attempts), MaxNamed)
	}
	body := make([]byte, 0, probeBody)
	node := sha256.Sum256([]byte(p.Node))
	body = append(append(body, version), node[:]...)
	body = binary.BigEndian.AppendUint16(body, uint16(len(p.Attempts)))
	for _, a := range p.Attempts {
		body = binary.BigEndian.AppendUint64(body, Name(a))
	}
	b, n := seal(aead, probeMagic, nil, body[:probeBody])
	return b, n, nil
}

// openProbe returns the names in a probe to the node.
func openProbe(aead cipher.AEAD, node string, b []byte) ([]uint64, nonce, error) {
	body, n, err := unseal(aead, probeMagic, 0, probeSize, b)
	if err != nil {
		return nil, n, err
	}
	want := sha256.Sum256([]byte(node))
	if string(body[:sha256.Size]) != string(want[:]) {
		return nil, n, errPacket // who had this address before
	}
	body = body[sha256.Size:]
	count := int(binary.BigEndian.Uint16(body))
	if count > MaxNamed {
		return nil, n, errPacket
	}
	names := make([]uint64, count)
	for i := range names {
		names[i] = binary.BigEndian.Uint64(body[2+8*i:])
	}
	return names, n, nil
}

func sealAnswer(aead cipher.AEAD, a Answer, probe nonce) []byte {
	body := make([]byte, answerBody)
	body[0] = version
	b := body[1:]
	copy(b[:bootSize], a.Boot)
	b = b[bootSize:]
	binary.BigEndian.PutUint64(b, a.Session)
	binary.BigEndian.PutUint32(b[8:], a.Running)
	binary.BigEndian.PutUint32(b[12:], a.Ended)
	b = b[16:]
	for i, f := range a.Fates {
		b[i/4] |= byte(f&3) << (2 * (i % 4))
	}
	out, _ := seal(aead, answerMagic, probe[:], body)
	return out
}

// probeOf is the nonce of the probe that b says it answers.
func probeOf(b []byte) (n nonce, ok bool) {
	if len(b) != answerSize {
		return n, false // a probe to our own keeper, or a stranger's
	}
	copy(n[:], b[magicSize+nonceSize:])
	return n, true
}

// openAnswer reads the answer to a probe that named so many attempts.
func openAnswer(aead cipher.AEAD, named int, b []byte) (Answer, error) {
	b, _, err := unseal(aead, answerMagic, nonceSize, answerSize, b)
	if err != nil {
		return Answer{}, err
	}
	a := Answer{Boot: strings.TrimRight(string(b[:bootSize]), "\x00"), Fates: make([]Fate, named)}
	b = b[bootSize:]
	a.Session, a.Running, a.Ended = binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:]), binary.BigEndian.Uint32(b[12:])
	b = b[16:]
	for i := range a.Fates {
		a.Fates[i] = Fate(b[i/4] >> (2 * (i % 4)) & 3)
	}
	return a, nil
}
