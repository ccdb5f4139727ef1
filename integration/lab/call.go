package lab

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"golang.org/x/sys/unix"
)

// Call sends JSON over the node's socket and decodes the answer.
func (n *Node) Call(method, path string, in, out any) error {
	return n.CallKey("", method, path, in, out)
}

// CallKey is Call with the caller's own request id.
func (n *Node) CallKey(key, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		b, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, "http://mesita"+path, body)
	if err != nil {
		return err
	}
	if key != "" {
		req.Header.Set("Idempotency-Key", key)
	}
	res, err := n.http.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode >= 300 {
		var e struct{ Error *api.Error }
		if json.Unmarshal(b, &e) == nil && e.Error != nil {
			return e.Error
		}
		return fmt.Errorf("%s: %s", res.Status, b)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// Do is Call as a client does it: while the cluster has no leader, or whether it
// was done is not known, the same request is sent again.
func (n *Node) Do(method, path string, in, out any) (err error) {
	key := ""
	if method != http.MethodGet {
		key = rand.Text()
	}
	Until(Patience, func() bool {
		err = n.CallKey(key, method, path, in, out)
		return !passing(err)
	})
	return err
}

// passing reports whether an answer says that another may follow.
func passing(err error) bool {
	code := api.ErrorCode(err)
	return code == api.CodeUnavailable || code == api.CodeUnknown
}

// Must is Do that has to succeed.
func (n *Node) Must(method, path string, in, out any) {
	n.T.Helper()
	if err := n.Do(method, path, in, out); err != nil {
		n.T.Fatalf("%s: %s %s: %v", n.Name, method, path, err)
	}
}

// AwaitJob waits until a job is as the API's wait says: running or ended.
func (n *Node) AwaitJob(id, wait string) (j api.Job) {
	n.T.Helper()
	var err error
	if !Until(Patience, func() bool {
		err = n.Call(http.MethodGet, "/v1/jobs/"+id+"?wait="+wait+"&timeout=20s", nil, &j)
		return err == nil
	}) {
		for _, args := range [][]string{{"why", id}, {"node", "ls"}, {"events", "--since", "5m"}} {
			said, errs, _ := n.CLI(args...)
			n.T.Logf("%s: mesita %s:\n%s%s", n.Name, strings.Join(args, " "), said, errs)
		}
		n.T.Fatalf("%s: job %s is not %s: %v", n.Name, id, wait, err)
	}
	return j
}

// Submit submits a job, which must be accepted.
func (n *Node) Submit(spec map[string]any) api.Job {
	n.T.Helper()
	var j api.Job
	n.Must(http.MethodPost, "/v1/jobs", spec, &j)
	return j
}

// Tasks lists the tasks of a job; none if the node does not answer.
func (n *Node) Tasks(job string) []*api.Task {
	all, _ := List[*api.Task](n, "/v1/tasks?all=1&job="+job)
	return all
}

// List reads a list to its end, page by page. A path without a query ends in "?".
func List[T any](n *Node, path string) ([]T, error) {
	var out []T
	for next := ""; ; {
		var l struct {
			Items []T
			Next  string
		}
		if err := n.Call(http.MethodGet, path+next, nil, &l); err != nil {
			return nil, err
		}
		if out = append(out, l.Items...); l.Next == "" {
			return out, nil
		}
		next = "&limit=10000&cursor=" + l.Next
	}
}

// Running lists the tasks of a job that run.
func (n *Node) Running(job string) []*api.Task {
	var out []*api.Task
	for _, t := range n.Tasks(job) {
		if t.State == api.TaskRunning {
			out = append(out, t)
		}
	}
	return out
}

// Members lists the nodes; none if the node does not answer.
func (n *Node) Members() []api.NodeStatus {
	var l struct{ Items []api.NodeStatus }
	if n.Call(http.MethodGet, "/v1/nodes", nil, &l) != nil {
		return nil
	}
	return l.Items
}

// Token makes a join token.
func (n *Node) Token(r api.TokenRequest) string {
	n.T.Helper()
	var g struct{ Secret string }
	n.Must(http.MethodPost, "/v1/tokens", r, &g)
	return g.Secret
}

// CLI runs the command line against a node and returns its output and exit
// code.
func (n *Node) CLI(args ...string) (stdout, stderr string, code int) {
	n.T.Helper()
	c := exec.Command(n.Bin, append([]string{"--socket", n.Socket}, args...)...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	err := c.Run()
	if _, ok := err.(*exec.ExitError); err != nil && !ok {
		n.T.Fatalf("%v", err)
	}
	return out.String(), errs.String(), c.ProcessState.ExitCode()
}

// within runs f on a thread that is in the network namespace.
func within(ns string, f func() error) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		if unix.Gettid() == unix.Getpid() {
			// The main thread cannot end, and the process would be in that network for good.
			defer runtime.UnlockOSThread()
			failed <- within(ns, f)
			return
		}
		file, err := os.Open("/run/netns/" + ns)
		if err == nil {
			err = errors.Join(unix.Setns(int(file.Fd()), unix.CLONE_NEWNET), file.Close())
		}
		if err == nil {
			err = f()
		}
		failed <- err
	}()
	return <-failed
}

// DialIn opens connections to the node's port from within its network.
func (n *Node) DialIn(count int) []net.Conn {
	n.T.Helper()
	var out []net.Conn
	err := within(n.NS, func() error {
		for range count {
			c, err := net.DialTimeout("tcp", n.IP+":5050", 10*time.Second)
			if err != nil {
				return err
			}
			out = append(out, c)
		}
		return nil
	})
	if err != nil {
		n.T.Fatalf("%v", err)
	}
	return out
}

// DialTo opens a connection to another node's port from this one's network.
func (n *Node) DialTo(to *Node) (net.Conn, error) { return n.DialAddr(to.IP + ":5050") }

// DialAddr opens a connection from the node's network.
func (n *Node) DialAddr(addr string) (c net.Conn, err error) {
	err = within(n.NS, func() (err error) {
		c, err = net.DialTimeout("tcp", addr, 10*time.Second)
		return err
	})
	return c, err
}

// Listen takes a port in the node's network, as a program there that is not
// mesita's.
func (n *Node) Listen(addr string) net.Listener {
	n.T.Helper()
	var l net.Listener
	err := within(n.NS, func() (err error) {
		l, err = net.Listen("tcp", addr)
		return err
	})
	if err != nil {
		n.T.Fatalf("%v", err)
	}
	n.T.Cleanup(func() { _ = l.Close() }) // it may be closed by now
	return l
}

// RoundTrip sends a request as it is over the node's socket.
func (n *Node) RoundTrip(q *http.Request) (*http.Response, error) {
	return n.http.Transport.RoundTrip(q)
}
