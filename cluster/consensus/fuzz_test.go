package consensus

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/hashicorp/go-msgpack/v2/codec"
	"github.com/hashicorp/raft"
)

// oneStream is a stream layer whose connections a test hands in.
type oneStream struct {
	in  chan net.Conn
	end chan struct{}
}

func (o *oneStream) Accept() (net.Conn, error) {
	select {
	case c := <-o.in:
		return c, nil
	case <-o.end:
		return nil, net.ErrClosed
	}
}
func (o *oneStream) Close() error   { close(o.end); return nil }
func (o *oneStream) Addr() net.Addr { return &net.TCPAddr{} }
func (o *oneStream) Dial(raft.ServerAddress, time.Duration) (net.Conn, error) {
	return nil, net.ErrClosed
}

// closing tells when the transport has let go of a connection.
type closing struct {
	net.Conn
	done chan struct{}
}

func (c *closing) Close() error {
	defer func() { _ = recover() }() // it is closed twice: by the handler, and by the end of the transport
	close(c.done)
	return c.Conn.Close()
}

// answers takes every request as a node does, and looks at all of it.
func answers(rpcs <-chan raft.RPC, end <-chan struct{}) {
	for {
		select {
		case rpc := <-rpcs:
			if rpc.Reader != nil {
				_, _ = io.Copy(io.Discard, rpc.Reader) // it may break off
			}
			switch rpc.Command.(type) {
			case *raft.AppendEntriesRequest:
				rpc.Respond(&raft.AppendEntriesResponse{}, nil)
			case *raft.RequestVoteRequest:
				rpc.Respond(&raft.RequestVoteResponse{}, nil)
			case *raft.RequestPreVoteRequest:
				rpc.Respond(&raft.RequestPreVoteResponse{}, nil)
			case *raft.InstallSnapshotRequest:
				rpc.Respond(&raft.InstallSnapshotResponse{}, nil)
			default:
				rpc.Respond(&raft.TimeoutNowResponse{}, nil)
			}
		case <-end:
			return
		}
	}
}

// FuzzRPC: whatever another node sends over a connection of Raft is answered or
// the connection is closed; nothing panics, and nothing waits for ever.
func FuzzRPC(f *testing.F) {
	for kind, req := range []any{
		&raft.AppendEntriesRequest{Term: 1, PrevLogEntry: 1, PrevLogTerm: 1, Entries: []*raft.Log{{Index: 2, Term: 1, Data: []byte("x")}}, LeaderCommitIndex: 1},
		&raft.RequestVoteRequest{Term: 2, LastLogIndex: 3, LastLogTerm: 1},
		&raft.InstallSnapshotRequest{Term: 1, Size: 3, LastLogIndex: 9},
		&raft.TimeoutNowRequest{},
		&raft.RequestPreVoteRequest{Term: 2},
	} {
		b := bytes.NewBuffer([]byte{byte(kind)})
		if err := codec.NewEncoder(b, &codec.MsgpackHandle{}).Encode(req); err != nil {
			f.Fatal(err)
		}
		f.Add(append(b.Bytes(), "abc"...))
	}
	layer := &oneStream{make(chan net.Conn), make(chan struct{})}
	tr := newTransport(&Config{Stream: layer, Log: quiet()})
	end := make(chan struct{})
	go answers(tr.Consumer(), end)
	f.Cleanup(func() { close(end); _ = tr.(raft.WithClose).Close() }) // the stream layer's error is ours
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		conn := &closing{theirs, make(chan struct{})}
		layer.in <- conn
		go func() { _, _ = io.Copy(io.Discard, ours) }() // until it is closed
		_, _ = ours.Write(data)                          // it is closed at the first thing that makes no sense
		ours.Close()
		select {
		case <-conn.done:
		case <-time.After(time.Minute):
			t.Fatal("the connection was not let go of")
		}
	})
}
