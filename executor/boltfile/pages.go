package boltfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
)

// File is a bbolt file, as Look hands it out. The layout is that of version 2 of
// the format: numbers are in the byte order of the machine, offsets in an
// element count from its own beginning.
type File struct {
	// Tx is the newest transaction that is in the file.
	Tx uint64

	file []byte // mapped
	size uint64 // of a page
	high uint64 // pages from here on are not in use
	root uint64
	seen []uint64 // a bit for each page
}

const (
	pageHead   = 16 // id, flags, count, overflow
	branchSize = 16 // pos, key size, page id
	leafSize   = 16 // flags, pos, key size, value size
	branchPage = 1
	leafPage   = 2
	bucketFlag = 1
	headSum    = 56 // bytes of a head page that its FNV-1a sum is about
	maxDepth   = 32
)

var order = binary.NativeEndian

var errPage = errors.New("a page does not hold what it should")

// openPages looks at the two head pages of a mapped file. bbolt would open a file
// with the older one if the newer is damaged, and the last change is gone.
func openPages(file []byte, size int) (*File, error) {
	p := &File{file: file, size: uint64(size)}
	for i := range uint64(2) {
		if uint64(len(file)) < (i+1)*p.size {
			return nil, fmt.Errorf("it has %d bytes, which are not two pages", len(file))
		}
		b := file[i*p.size+pageHead:]
		sum := fnv.New64a()
		_, _ = sum.Write(b[:headSum]) // a hash takes all
		if order.Uint64(b[headSum:]) != sum.Sum64() {
			return nil, fmt.Errorf("the checksum of head page %d is wrong", i)
		}
		if tx := order.Uint64(b[48:]); tx >= p.Tx {
			p.root, p.high, p.Tx = order.Uint64(b[16:]), order.Uint64(b[40:]), tx
		}
	}
	if p.high > uint64(len(file))/p.size {
		return nil, fmt.Errorf("it has %d bytes, and should have %d pages of %d", len(file), p.high, p.size)
	}
	p.seen = make([]uint64, p.high/64+1)
	return p, nil
}

// page is a page with what follows it. Each is part of one tree, once.
func (p *File) page(id uint64) ([]byte, error) {
	if id < 2 || id >= p.high {
		return nil, errPage
	}
	b := p.file[id*p.size:]
	more := uint64(order.Uint32(b[12:]))
	if order.Uint64(b) != id || more >= p.high-id {
		return nil, errPage
	}
	for i := id; i <= id+more; i++ {
		if p.seen[i/64]&(1<<(i%64)) != 0 {
			return nil, errPage
		}
		p.seen[i/64] |= 1 << (i % 64)
	}
	n := (1 + more) * p.size
	return b[:n:n], nil
}

// bounds are the keys that a part of a tree may hold: from lo on, below hi; nil
// is not a bound.
type bounds struct{ lo, hi []byte }

// next takes in that key comes next, and makes it the lower bound.
func (b *bounds) next(key []byte, first bool) error {
	if c := bytes.Compare(b.lo, key); b.lo != nil && (c > 0 || c == 0 && !first) || b.hi != nil && bytes.Compare(key, b.hi) >= 0 {
		return errPage
	}
	b.lo = key
	return nil
}

func (p *File) tree(id uint64, in bounds, depth int, each func(flags uint32, k, v []byte) error) error {
	b, err := p.page(id)
	if err == nil && depth > maxDepth {
		err = errPage
	}
	if err == nil {
		err = p.content(b, in, depth, each)
	}
	if errors.Is(err, errPage) {
		err = fmt.Errorf("page %d: %w", id, err)
	}
	return err
}

func (p *File) content(b []byte, in bounds, depth int, each func(flags uint32, k, v []byte) error) error {
	count := int(order.Uint16(b[10:]))
	switch flags := order.Uint16(b[8:]); {
	case flags == leafPage && pageHead+count*leafSize <= len(b):
		return leaf(b, count, in, each)
	case flags == branchPage && pageHead+count*branchSize <= len(b) && count > 0:
		return p.branch(b, count, in, depth, each)
	}
	return errPage
}

// part is the n bytes at an offset from the beginning of an element.
func part(b []byte, element int, pos, n uint32) ([]byte, error) {
	from := uint64(element) + uint64(pos)
	if from+uint64(n) > uint64(len(b)) {
		return nil, errPage
	}
	return b[from : from+uint64(n) : from+uint64(n)], nil
}

// leaf calls each with what a page holds. Nothing lies between its elements, nor
// before the first: so a page whose count is wrong lacks nothing unseen.
func leaf(b []byte, count int, in bounds, each func(flags uint32, k, v []byte) error) error {
	if count == 0 && bytes.ContainsFunc(b[pageHead:min(len(b), pageHead+leafSize)], func(r rune) bool { return r != 0 }) {
		return errPage
	}
	from := uint64(pageHead + count*leafSize)
	for i := range count {
		at := pageHead + i*leafSize
		flags, pos, n, vn := order.Uint32(b[at:]), order.Uint32(b[at+4:]), order.Uint32(b[at+8:]), order.Uint32(b[at+12:])
		both, err := part(b, at, pos, n+vn)
		if err == nil && (n+vn < n || uint64(at)+uint64(pos) != from) {
			err = errPage
		}
		from += uint64(n + vn)
		if err != nil {
			return err
		}
		k, v := both[:n:n], both[n:]
		err = in.next(k, i == 0)
		if err != nil {
			return err
		}
		if err := each(flags, k, v); err != nil {
			return err
		}
	}
	return nil
}

func (p *File) branch(b []byte, count int, in bounds, depth int, each func(flags uint32, k, v []byte) error) error {
	key := func(i int) ([]byte, error) {
		at := pageHead + i*branchSize
		return part(b, at, order.Uint32(b[at:]), order.Uint32(b[at+4:]))
	}
	from := uint64(pageHead + count*branchSize)
	for i := range count {
		k, err := key(i)
		if at := pageHead + i*branchSize; err == nil && uint64(at)+uint64(order.Uint32(b[at:])) != from {
			err = errPage
		}
		from += uint64(len(k))
		if err == nil {
			err = in.next(k, i == 0)
		}
		below := bounds{lo: k, hi: in.hi}
		if err == nil && i+1 < count {
			below.hi, err = key(i + 1)
		}
		if err != nil {
			return err
		}
		if err := p.tree(order.Uint64(b[pageHead+i*branchSize+8:]), below, depth+1, each); err != nil {
			return err
		}
	}
	return nil
}

// Bucket is one of the trees of a file; a small one lies in the tree above.
type Bucket struct {
	of     *File
	root   uint64
	inline []byte
}

// Buckets are those of the file, by name.
func (p *File) Buckets() (map[string]*Bucket, error) {
	out := map[string]*Bucket{}
	err := p.tree(p.root, bounds{}, 0, func(flags uint32, k, v []byte) error {
		if flags != bucketFlag || len(v) < 16 {
			return fmt.Errorf("%.80q is not a bucket", k)
		}
		out[string(k)] = &Bucket{of: p, root: order.Uint64(v), inline: v[16:]}
		return nil
	})
	return out, err
}

// ForEach calls f with all keys in order, and their values.
func (b *Bucket) ForEach(f func(k, v []byte) error) error {
	each := func(flags uint32, k, v []byte) error {
		if flags != 0 {
			return fmt.Errorf("%.80q is not a value", k)
		}
		return f(k, v)
	}
	if b.root != 0 {
		return b.of.tree(b.root, bounds{}, 0, each)
	}
	if len(b.inline) < pageHead || order.Uint16(b.inline[8:]) != leafPage {
		return errPage
	}
	return b.of.content(b.inline, bounds{}, 0, each)
}
