package integration

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/mesita/mesita/integration/lab"
)

// example is the example scheduler of mesos-go, which knows nothing of mesita. It brings an
// executor, has it run so many tasks, and is done when each has finished; a task that ends in
// any other way ends it.
type example struct {
	t    *testing.T
	node *lab.Node
	done chan struct{}

	mu  sync.Mutex
	out bytes.Buffer
}

func (e *example) Write(b []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.out.Write(b)
}

func (e *example) said() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.out.String()
}

// buildExample builds the scheduler and its executor.
func buildExample(t *testing.T) (bin string) {
	t.Helper()
	bin = t.TempDir()
	if out, err := exec.Command(filepath.Join(lab.Root(t), "integration/mesosgo/build"), bin, "example-scheduler", "example-executor").CombinedOutput(); err != nil {
		t.Fatalf("build mesos-go's example: %v: %s", err, out)
	}
	return bin
}

// startExample runs it beside a node, by which it reaches the cluster.
func startExample(t *testing.T, n *lab.Node, bin, codec string, tasks int) *example {
	t.Helper()
	e := &example{t: t, node: n, done: make(chan struct{})}
	c := exec.Command("nsenter", "--net=/run/netns/"+n.NS, filepath.Join(bin, "example-scheduler"), "-url", "http://"+n.IP+":"+mesosPort+"/api/v1/scheduler",
		"-executor", filepath.Join(bin, "example-executor"), "-server.address", n.IP, "-tasks", strconv.Itoa(tasks), "-cpu", "0.01", "-memory", "1", "-exec.memory", "32", "-codec", codec, "-failoverTimeout", "10m", "-verbose")
	c.Stdout, c.Stderr = e, e
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(e.done)
		_ = c.Wait() // its code is 1 even when all went well
	}()
	t.Cleanup(func() {
		_ = c.Process.Kill() // it has ended in most cases
		<-e.done
	})
	return e
}

// finished is how many tasks it knows to have done what they should.
func (e *example) finished() int { return strings.Count(e.said(), "is in state TASK_FINISHED") }

// await waits until it is done.
func (e *example) await() {
	e.t.Helper()
	e.node.Await(lab.Patience, "the example of mesos-go to end", func() bool {
		select {
		case <-e.done:
			return true
		default:
			return false
		}
	})
	if said := e.said(); !strings.Contains(said, "mission accomplished") {
		e.t.Fatalf("it ends without having reached what it is for: %s", said[max(0, len(said)-4000):])
	}
}

// Schedulers that bring an executor of their own have it run tasks, by the node that leads
// and by one that relays.
func TestMesosExample(t *testing.T) {
	l := mesosLab(t)
	bin := buildExample(t)
	leader := l.Leader()
	for _, n := range l.Nodes[:2] {
		for _, codec := range []string{"protobuf", "json"} {
			for _, tasks := range []int{5, 500} {
				t.Run(fmt.Sprintf("%s, %d tasks, by the leader: %v", codec, tasks, n == leader), func(t *testing.T) { startExample(t, n, bin, codec, tasks).await() })
			}
		}
	}
}

// The node that leads is killed while tasks run: none is lost, and none runs twice.
func TestMesosExampleOutlivesTheLeader(t *testing.T) {
	l, _ := apartLab(t)
	bin := buildExample(t)
	leader := l.Leader()
	follower := l.Nodes[0]
	if follower == leader {
		follower = l.Nodes[1]
	}
	const tasks = 500
	e := startExample(t, follower, bin, "protobuf", tasks)
	l.Await(lab.Patience, "some tasks to have finished", func() bool { return e.finished() > tasks/10 })
	leader.Kill()
	leader.Launch("start", append([]string{"--voter-only"}, forMesos...)...)
	leader.AwaitReady()
	e.await()
	e.onceEach(tasks)
}
