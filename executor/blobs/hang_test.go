package blobs

import (
	"crypto/sha256"
	"encoding/hex"
	"io"
	"testing"
)

// While a disk hangs below a program that is put or removed, what is here is told
// all the same: the executor asks before each start.
func TestWhatIsHereIsToldWhileADiskHangs(t *testing.T) {
	asked := make(chan struct{}, 1)
	c, err := Open(t.TempDir(), 10, func([]string) (map[string]bool, error) {
		asked <- struct{}{}
		return nil, nil
	})
	if err != nil {
		t.Fatal(err)
	}
	put := func(b string) (string, error) {
		sum := sha256.Sum256([]byte(b))
		digest := "sha256:" + hex.EncodeToString(sum[:])
		return digest, c.Put(digest, -1, func(w io.Writer) error {
			_, err := io.WriteString(w, b)
			return err
		})
	}
	first, err := put("the first")
	if err != nil {
		t.Fatal(err)
	}
	c.files.Lock() // as who waits for the disk has it
	done := make(chan error, 1)
	go func() {
		_, err := put("the next") // for which the first is removed, unless it is pinned
		done <- err
	}()
	<-asked
	if !c.Has(first) || !c.Pin(first) {
		t.Error("the first is not here any more")
	}
	c.Unpin(first)
	if len(done) > 0 {
		t.Error("the next did not wait, and the test shows nothing")
	}
	c.files.Unlock()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if c.Has(first) {
		t.Error("the limit is not kept")
	}
}
