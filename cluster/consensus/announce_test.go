package consensus

import (
	"testing"

	"github.com/hashicorp/raft"
)

// sentPipeline remembers what was sent.
type sentPipeline struct{ reqs []*raft.AppendEntriesRequest }

func (s *sentPipeline) AppendEntries(r *raft.AppendEntriesRequest, _ *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	s.reqs = append(s.reqs, r)
	return nil, nil
}
func (s *sentPipeline) Consumer() <-chan raft.AppendFuture { return nil }
func (s *sentPipeline) Close() error                       { return nil }

// The replication of an older term may close its pipeline late. A commit of a
// newer term is not in that term's log, so a follower that still follows the
// older term must not hear of it: it would commit what was never agreed on.
func TestAnnounceKeepsToItsTerm(t *testing.T) {
	sent := &sentPipeline{}
	p := &pipe{AppendPipeline: sent, wire: &wire{beats: newBeats(beatEvery, nil)}, id: "n1"}
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 9, PrevLogTerm: 1, LeaderCommitIndex: 9,
		Entries: []*raft.Log{{Index: 10, Term: 1}}}, nil); err != nil {
		t.Fatal(err)
	}
	p.announce(10, 2)
	if n := len(sent.reqs); n != 1 {
		t.Errorf("a commit of term 2 was announced in term %d", sent.reqs[n-1].Term)
	}
	p.announce(10, 1)
	if n := len(sent.reqs); n != 2 || sent.reqs[1].LeaderCommitIndex != 10 {
		t.Errorf("a commit of its own term was not announced: %d requests", n)
	}
}

// A follower takes min(commit, its last index) for committed, also when what it
// has beyond the last entry that was sent is a stale rest of an older term.
func TestAnnounceKeepsToWhatWasSent(t *testing.T) {
	sent := &sentPipeline{}
	p := &pipe{AppendPipeline: sent, wire: &wire{beats: newBeats(beatEvery, nil)}, id: "n1"}
	if _, err := p.AppendEntries(&raft.AppendEntriesRequest{Term: 2, PrevLogEntry: 15, PrevLogTerm: 1, LeaderCommitIndex: 14}, nil); err != nil {
		t.Fatal(err)
	}
	p.announce(17, 2)
	for _, r := range sent.reqs[1:] {
		if last, _ := end(r); r.LeaderCommitIndex > last {
			t.Errorf("announced commit %d with nothing sent beyond %d", r.LeaderCommitIndex, last)
		}
	}
}
