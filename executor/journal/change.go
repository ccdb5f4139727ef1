package journal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"go.etcd.io/bbolt"

	"github.com/mesita/mesita/executor/sealed"
)

// sums is what a journal says of itself: how many values are in it beside this
// one, and what their sums come to, after transaction Tx. A program that does
// not know of it leaves it as it is, and makes it stale, not false.
type sums struct {
	Format int    `json:"format"`
	Tx     uint64 `json:"tx"`
	Count  uint64 `json:"count"`
	Xor    uint32 `json:"xor"`
}

func (s *sums) add(sum uint32)  { s.Count, s.Xor = s.Count+1, s.Xor^sum }
func (s *sums) drop(sum uint32) { s.Count, s.Xor = s.Count-1, s.Xor^sum }

func isSums(bucket, k []byte) bool {
	return string(bucket) == string(metaBucket) && string(k) == string(sumsKey)
}

func parseSums(v []byte) (*sums, error) {
	_, isSealed, err := sealed.Check(v, metaBucket, sumsKey)
	if err == nil && !isSealed {
		err = sealed.ErrDamaged
	}
	s := &sums{}
	if err == nil {
		err = json.Unmarshal(v, s)
	}
	return s, err
}

// change is a transaction under way, with what becomes of the sums.
type change struct {
	tx     *bbolt.Tx
	sums   sums
	unsure bool // they are not those of what is there
}

// errSame ends a change that changes nothing: nothing is written, as each start asks for
// some that the last one made.
var errSame = errors.New("the journal has it already")

// change makes a transaction. What the file says of itself is read from it each
// time: whether a change that failed is in it only the file knows.
func (j *Journal) change(f func(*change) error) error {
	err := j.db.Update(func(tx *bbolt.Tx) error {
		c := &change{tx: tx}
		for _, b := range allBuckets {
			if _, err := tx.CreateBucketIfNotExists(b); err != nil {
				return err
			}
		}
		meta := tx.Bucket(metaBucket)
		s, err := parseSums(meta.Get(sumsKey))
		c.sums, c.unsure = *s, err != nil || s.Tx != uint64(tx.ID())-1
		if meta.Get(formatKey) == nil {
			if err := c.putText(formatKey, strconv.Itoa(format)); err != nil {
				return err
			}
		}
		if err := f(c); err != nil {
			return err
		}
		if c.unsure {
			if err := c.recount(); err != nil {
				return err
			}
		}
		c.sums.Format, c.sums.Tx = format, uint64(tx.ID())
		v, err := json.Marshal(c.sums)
		if err != nil {
			return err
		}
		v, _ = sealed.Add(v, metaBucket, sumsKey)
		return meta.Put(sumsKey, v)
	})
	if errors.Is(err, errSame) {
		return nil
	}
	return err
}

// recount makes the sums those of what is there, and seals what an older
// program wrote.
func (c *change) recount() error {
	c.sums = sums{}
	for _, name := range allBuckets {
		b := c.tx.Bucket(name)
		var keys [][]byte // a bucket must not be changed while it is walked
		err := b.ForEach(func(k, v []byte) error {
			sum, isSealed, err := sealed.Check(v, name, k)
			switch {
			case err != nil && !isSums(name, k):
				return fmt.Errorf("%s of %.80q: %w", name, k, err)
			case isSums(name, k):
			case isSealed || string(name) == string(metaBucket):
				c.sums.add(sum)
			default:
				keys = append(keys, bytes.Clone(k))
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, k := range keys {
			v, sum := sealed.Add(b.Get(k), name, k)
			if err := b.Put(k, v); err != nil {
				return err
			}
			c.sums.add(sum)
		}
	}
	return nil
}

// seal stores v, sealed.
func (c *change) seal(bucket, k []byte, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b, sum := sealed.Add(b, bucket, k)
	return c.put(bucket, k, b, sum)
}

// put stores a value that comes to that sum.
func (c *change) put(bucket, k, v []byte, sum uint32) error {
	b := c.tx.Bucket(bucket)
	c.dropOld(b, bucket, k)
	c.sums.add(sum)
	return b.Put(k, v)
}

// putText is put of a value without a sum in it.
func (c *change) putText(k []byte, v string) error {
	return c.put(metaBucket, k, []byte(v), sealed.Sum([]byte(v), metaBucket, k))
}

func (c *change) remove(bucket, k []byte) error {
	b := c.tx.Bucket(bucket)
	c.dropOld(b, bucket, k)
	return b.Delete(k)
}

// dropOld takes what is under a key out of the sums.
func (c *change) dropOld(b *bbolt.Bucket, bucket, k []byte) {
	if old := b.Get(k); old != nil {
		sum, _, err := sealed.Check(old, bucket, k)
		c.unsure = c.unsure || err != nil // it was damaged since it was looked at, and goes
		c.sums.drop(sum)
	}
}
