package integration

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/cluster/consensus"
	"github.com/mesita/mesita/cluster/scheduler"
	"github.com/mesita/mesita/fsm"
	"golang.org/x/sync/errgroup"
)

// BenchmarkWholePath submits arrays to three voters on disk, and waits until
// the scheduler has placed all their tasks on 5,000 simulated nodes and the
// voters have agreed on it. All three voters share the machine, and the memory
// that is reported is that of the three together.
func BenchmarkWholePath(b *testing.B) {
	for _, tasks := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("tasks=%d", tasks), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				v := threeVoters(b)
				v.do(b, bigCluster(5000)...)
				stop := v.schedule(b)
				b.StartTimer()
				began := time.Now()
				v.do(b, arrays(tasks)...)
				awaitPlaced(b, v[0].store, tasks)
				b.ReportMetric(float64(tasks)/time.Since(began).Seconds(), "tasks/s")
				b.StopTimer()
				b.ReportMetric(peakMiB(b), "peak-MiB")
				stop()
			}
		})
	}
}

type voter struct {
	node  *consensus.Node
	store *fsm.Store
}

type voters []voter

// do gets commands agreed on by whichever voter leads.
func (v voters) do(b *testing.B, cmds ...fsm.Command) {
	b.Helper()
	for len(cmds) > 0 {
		k := min(64, len(cmds))
		var res []fsm.Result
		err := errors.New("not tried")
		for try := 0; err != nil && try < 1000; try++ {
			res, err = v[try%len(v)].store.Propose(b.Context(), cmds[:k]...)
		}
		if err != nil {
			b.Fatal(err)
		}
		for _, r := range res {
			if r.Err != nil {
				b.Fatal(r.Err)
			}
		}
		cmds = cmds[k:]
	}
}

// schedule runs the scheduler where the leader is, as the daemon does.
func (v voters) schedule(b *testing.B) (stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	var group errgroup.Group
	for _, one := range v {
		group.Go(func() error {
			for {
				term, end, err := one.node.AwaitLeadership(ctx)
				if err != nil {
					return nil // it was stopped
				}
				err = scheduler.New(one.store, roundOf, time.Now, slog.New(slog.DiscardHandler)).Run(term)
				end()
				if err != nil || ctx.Err() != nil {
					return err
				}
			}
		})
	}
	return func() {
		cancel()
		if err := group.Wait(); err != nil {
			b.Fatal(err)
		}
	}
}

type tcpStream struct{ net.Listener }

func (tcpStream) Dial(a raft.ServerAddress, d time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(a), d)
}

// threeVoters starts three consensus nodes on disk over TCP; the first leads.
func threeVoters(b *testing.B) voters {
	b.Helper()
	var v voters
	var addrs []string
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		store := fsm.NewStore(nil)
		n, err := consensus.Open(consensus.Config{NodeID: fmt.Sprint("v", i), Dir: filepath.Join(b.TempDir(), "raft"), Store: store, Stream: tcpStream{l},
			Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		store.SetProposer(n)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		b.Cleanup(func() { stop(); <-done })
		v, addrs = append(v, voter{n, store}), append(addrs, l.Addr().String())
	}
	if err := v[0].node.Bootstrap(addrs[0]); err != nil {
		b.Fatal(err)
	}
	_, end, err := v[0].node.AwaitLeadership(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(end)
	for i := 1; i < 3; i++ {
		if err := v[0].node.AddVoter(b.Context(), fmt.Sprint("v", i), addrs[i]); err != nil {
			b.Fatal(err)
		}
	}
	return v
}

// bigCluster makes n nodes of 32 cores and 128 GiB.
func bigCluster(n int) []fsm.Command {
	meta := fsm.Meta{At: time.Now()}
	cmds := []fsm.Command{&fsm.ClusterInit{Level: fsm.Newest, Meta: meta, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id00000", Name: "n0"}},
		&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Hash: "h"}}}
	for i := range n {
		id := fmt.Sprintf("id%05d", i)
		if i > 0 {
			cmds = append(cmds, &fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		cmds = append(cmds, &fsm.NodeHello{Meta: meta, ID: id, Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 32_000, Mem: 128 << 30}}})
	}
	return cmds
}

// arrays are jobs with so many tasks in all.
func arrays(tasks int) []fsm.Command {
	most := 1000
	if tasks > 100_000 {
		most = api.SmallArray
	}
	var cmds []fsm.Command
	for left := tasks; left > 0; {
		n := min(left, most)
		left -= n
		spec := &api.JobSpec{Kind: api.KindBatch, Array: fmt.Sprintf("0-%d", n-1), TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}}}
		spec.Normalize()
		cmds = append(cmds, &fsm.JobCreate{Meta: fsm.Meta{At: time.Now()}, Spec: spec})
	}
	return cmds
}

func awaitPlaced(b *testing.B, s *fsm.Store, tasks int) {
	b.Helper()
	w := s.Watch(fsm.TableJobs)
	defer w.Close()
	for s.View().TaskCount() < tasks || s.View().PendingCount() > 0 {
		if _, _, err := w.Wait(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}

var peakLine = regexp.MustCompile(`VmHWM:\s*(\d+) kB`)

// peakMiB is the most memory that this process has had.
func peakMiB(b *testing.B) float64 {
	b.Helper()
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Fatal(err)
	}
	m := peakLine.FindSubmatch(text)
	if m == nil {
		b.Fatal("no VmHWM in /proc/self/status")
	}
	kb, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		b.Fatal(err)
	}
	return kb / 1024
}
