//go:build (amd64 || arm64) && !startbythread

package process

import (
	"encoding/binary"
	"errors"
	"testing"

	"golang.org/x/sys/unix"
)

// A process whose news end before it told of its exec has not become its program,
// also if it is known who it is: it was killed in between.
func TestAKilledProcessDidNotBegin(t *testing.T) {
	const exec = 1
	for _, c := range []struct {
		told []uint32 // the stages of its news
		want error
	}{{nil, ErrEnded}, {[]uint32{0}, ErrEnded}, {[]uint32{0, exec}, nil}, {[]uint32{exec}, nil}} {
		b := &Birth{st: &Starter{}, newborn: &Process{}, stages: []stage{{}, {}}, tell: -1, target: -1, group: -1}
		if err := b.openNews(); err != nil {
			t.Fatal(err)
		}
		for _, stage := range c.told {
			noError := make([]byte, 4)
			if _, err := unix.Write(b.send[b.theirs-firstFile], append(binary.NativeEndian.AppendUint32(nil, stage), noError...)); err != nil {
				t.Fatal(err)
			}
		}
		b.closeOurs()
		if err := b.follow(); !errors.Is(err, c.want) {
			t.Errorf("told of %v: %v, want %v", c.told, err, c.want)
		}
		b.news.Close()
	}
}
