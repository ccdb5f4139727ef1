package history

import "math/bits"

// bloom is a filter of ids: it may hold that an id is there that is not, about
// once in a hundred times, never the reverse.
type bloom []byte

const (
	bloomBits   = 10 // for each id
	bloomProbes = 5
	maxBloom    = 1 << 18 // bytes
)

// newBloom makes a filter of ids given by their hash.
func newBloom(hashes []uint64) bloom {
	size := 1 << bits.Len(uint(max(len(hashes)*bloomBits/8, 8)-1))
	b := make(bloom, min(size, maxBloom))
	for _, h := range hashes {
		for range bloomProbes {
			h = next(h)
			at := h % uint64(len(b)*8)
			b[at/8] |= 1 << (at % 8)
		}
	}
	return b
}

func (b bloom) has(h uint64) bool {
	for range bloomProbes {
		h = next(h)
		if at := h % uint64(len(b)*8); b[at/8]&(1<<(at%8)) == 0 {
			return false
		}
	}
	return true
}

// next is one step of splitmix64.
func next(h uint64) uint64 {
	h += 0x9e3779b97f4a7c15
	z := (h ^ h>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// hash is 64-bit FNV-1a. It is on disk: it stays as it is.
func hash(id string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	return h
}
