package integration

import (
	"context"
	"fmt"
	"io"
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
				stores := threeVoters(b)
				bigCluster(b, stores[0], 5000)
				ctx, stop := context.WithCancel(b.Context())
				done := make(chan error, 1)
				go func() {
					done <- scheduler.New(stores[0], roundOf, time.Now, slog.New(slog.NewTextHandler(io.Discard, nil))).Run(ctx)
				}()
				b.StartTimer()
				began := time.Now()
				submitArrays(b, stores[0], tasks)
				awaitPlaced(b, stores[0], tasks)
				b.ReportMetric(float64(tasks)/time.Since(began).Seconds(), "tasks/s")
				b.StopTimer()
				b.ReportMetric(peakMiB(b), "peak-MiB")
				stop()
				if err := <-done; err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type tcpStream struct{ net.Listener }

func (tcpStream) Dial(a raft.ServerAddress, d time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(a), d)
}

// threeVoters starts three consensus nodes on disk over TCP; the first leads.
func threeVoters(b *testing.B) []*fsm.Store {
	b.Helper()
	var nodes []*consensus.Node
	var stores []*fsm.Store
	var addrs []string
	for i := range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			b.Fatal(err)
		}
		store := fsm.NewStore(nil)
		n, err := consensus.Open(consensus.Config{NodeID: fmt.Sprint("v", i), Dir: filepath.Join(b.TempDir(), "raft"), Store: store, Stream: tcpStream{l},
			Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
		if err != nil {
			b.Fatal(err)
		}
		store.SetProposer(n)
		ctx, stop := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- n.Run(ctx) }()
		b.Cleanup(func() { stop(); <-done })
		nodes, stores, addrs = append(nodes, n), append(stores, store), append(addrs, l.Addr().String())
	}
	if err := nodes[0].Bootstrap(addrs[0]); err != nil {
		b.Fatal(err)
	}
	if _, _, err := nodes[0].AwaitLeadership(b.Context()); err != nil {
		b.Fatal(err)
	}
	for i := 1; i < 3; i++ {
		if err := nodes[0].AddVoter(b.Context(), fmt.Sprint("v", i), addrs[i]); err != nil {
			b.Fatal(err)
		}
	}
	return stores
}

// bigCluster makes n nodes of 32 cores and 128 GiB.
func bigCluster(b *testing.B, s *fsm.Store, n int) {
	b.Helper()
	meta := fsm.Meta{At: time.Now()}
	cmds := []fsm.Command{&fsm.ClusterInit{Meta: meta, Cluster: &api.Cluster{ID: "c", Name: "pine"}, Authority: &api.Authority{}, Node: &api.Node{ID: "id00000", Name: "n0"}},
		&fsm.TokenCreate{Meta: meta, Token: &api.Token{ID: "t", Hash: "h"}}}
	for i := range n {
		id := fmt.Sprintf("id%05d", i)
		if i > 0 {
			cmds = append(cmds, &fsm.NodeJoin{Meta: meta, Token: "t", Hash: "h", NodeID: id, Name: fmt.Sprint("n", i)})
		}
		cmds = append(cmds, &fsm.NodeHello{Meta: meta, ID: id, Hello: api.NodeHello{Addr: "x:1", Resources: api.Resources{CPUs: 32_000, Mem: 128 << 30}}})
	}
	for len(cmds) > 0 {
		k := min(64, len(cmds))
		res, err := s.Propose(b.Context(), cmds[:k]...)
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

func submitArrays(b *testing.B, s *fsm.Store, tasks int) {
	b.Helper()
	for left := tasks; left > 0; {
		n := min(left, 1000, api.MaxArray)
		if tasks > 100_000 {
			n = min(left, api.MaxArray)
		}
		left -= n
		spec := &api.JobSpec{Kind: api.KindBatch, Array: fmt.Sprintf("0-%d", n-1), TaskSpec: api.TaskSpec{Command: []string{"/bin/true"}}}
		spec.Normalize()
		if _, err := s.Do(b.Context(), &fsm.JobCreate{Meta: fsm.Meta{At: time.Now()}, Spec: spec}); err != nil {
			b.Fatal(err)
		}
	}
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
