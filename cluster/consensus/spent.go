package consensus

import (
	"time"

	"github.com/hashicorp/raft"
)

// spent is a vote that this node gave: to itself or to another.
type spent struct {
	term uint64
	at   time.Time
}

// candid corrects the answer to whether this node would vote for another in a
// term. Raft says yes also when it has just voted in that term, as the question
// waits while the vote is written. Who asked then stands against the one that has
// the vote: of three voters without their leader neither gets a majority, and both
// wait for the timeout. After that long the vote decides nothing any more, and who
// asks must not be kept from the next term.
func (w *wire) candid(term uint64, to chan<- raft.RPCResponse) chan<- raft.RPCResponse {
	from := make(chan raft.RPCResponse, 1)
	pass := func() {
		select {
		case answer := <-from:
			v := w.spent()
			if r, ok := answer.Response.(*raft.RequestPreVoteResponse); ok && v != nil && v.term >= term && time.Since(v.at) < time.Duration(w.lookout.wait.Load()) {
				r.Granted = false
			}
			to <- answer
		case <-w.ending:
		}
	}
	if !w.beats.spawn(pass) {
		return to
	}
	return from
}
