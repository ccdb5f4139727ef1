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
		told   []uint32 // the stages of its news
		want   error
		uid    uint32
		killed bool // by us
		its    bool // it is the fault of its user
	}{
		{told: nil, want: ErrEnded}, {told: []uint32{0}, want: ErrEnded}, {told: []uint32{0, exec}}, {told: []uint32{exec}},
		{told: nil, want: ErrEnded, uid: 1}, {told: []uint32{0}, want: ErrEnded, uid: 1, its: true}, {told: nil, want: ErrEnded, uid: 1, killed: true},
	} {
		b := &Birth{c: Spec{Program: Program{UID: c.uid}}, killed: c.killed, st: &Starter{}, newborn: &Process{}, stages: []stage{{}, {}}, tell: -1, target: -1, group: -1}
		if c.killed {
			b.program = &Process{} // known before, as that of the news is this test
		}
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
		var its *RefusedError
		if err := b.follow(); !errors.Is(err, c.want) || errors.As(err, &its) != c.its {
			t.Errorf("%+v: %v", c, err)
		}
		b.news.Close()
	}
}
