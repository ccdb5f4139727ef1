package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/integration/lab"
)

const mesosPort = "15050"

// forMesos has a node serve frameworks of Mesos in the clear.
var forMesos = []string{"--mesos-http", "0.0.0.0:" + mesosPort, "--mesos-anonymous"}

// mesosLab is three voters that serve frameworks, and run tasks.
func mesosLab(t *testing.T) *lab.Lab {
	t.Helper()
	l := newLab(t, 3)
	formMesos(l, forMesos, l.Nodes)
	return l
}

// apartLab is three voters that serve frameworks, and two workers, which alone run tasks. An
// executor of mesos-go calls a task failed if the daemon of its node was killed before it took
// what it said of it, so those who want each to finish kill the daemons of voters.
func apartLab(t *testing.T) (l *lab.Lab, workers []*lab.Node) {
	t.Helper()
	l = newLab(t, 5)
	formMesos(l, append([]string{"--voter-only"}, forMesos...), l.Nodes[:3])
	for _, n := range l.Nodes[3:] {
		n.Launch("join", l.Nodes[0].IP, "--token", l.Nodes[0].Token(api.TokenRequest{Kind: api.TokenJoin}))
		n.AwaitReady()
	}
	return l, l.Nodes[3:]
}

func formMesos(l *lab.Lab, flags []string, voters []*lab.Node) {
	l.T.Helper()
	first := voters[0]
	first.Launch("start", flags...)
	first.AwaitReady()
	tok := first.Token(api.TokenRequest{Kind: api.TokenJoin})
	for _, n := range voters[1:] {
		n.Launch("join", append([]string{first.IP, "--token", tok}, flags...)...)
		n.AwaitReady()
	}
	l.AwaitVoters(len(voters))
}

// Mesos' own shell, which knows nothing of mesita, runs commands by any node.
func TestMesosShellRunsCommands(t *testing.T) {
	l := mesosLab(t)
	bin := t.TempDir()
	if out, err := exec.Command(filepath.Join(lab.Root(t), "integration/mesosgo/build"), bin, "msh", "mwatch").CombinedOutput(); err != nil {
		t.Fatalf("build msh and mwatch: %v: %s", err, out)
	}
	seen := watchMesos(t, l.Nodes[len(l.Nodes)-1], bin)
	for _, n := range l.Nodes { // one leads, two relay
		for command, want := range map[string]int{"true": 0, "false": 3} { // 3: the task failed
			for _, pod := range []string{"-pod=false", "-pod"} { // as a group of one task
				ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
				out, err := exec.CommandContext(ctx, "nsenter", "--net=/run/netns/"+n.NS, filepath.Join(bin, "msh"), pod, "-master", n.IP+":"+mesosPort, "--", "/bin/"+command).CombinedOutput()
				cancel()
				if code := exitCode(err); code != want {
					t.Errorf("msh %s -- %s by %s exits with %d, want %d: %v\n%s", pod, command, n.Name, code, want, err, out)
				}
			}
		}
	}
	if told := seen(); !strings.HasPrefix(told, "FRAMEWORK_ADDED TASK_ADDED TASK_UPDATED") {
		t.Errorf("mwatch was told %s", told)
	}
}

// watchMesos has Mesos' own watcher print what it is told by a node, and returns what that
// is of the first framework of which it is told all.
func watchMesos(t *testing.T, n *lab.Node, bin string) (seen func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, "nsenter", "--net=/run/netns/"+n.NS, filepath.Join(bin, "mwatch"), "-master", n.IP, "-port", mesosPort)
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = c.Wait() // it was killed
	})
	kinds := make(chan string, 1)
	go func() {
		var told []string
		for lines := bufio.NewScanner(out); lines.Scan(); {
			kind, _, _ := strings.Cut(lines.Text(), " ")
			if kind == "FRAMEWORK_ADDED" {
				told = nil // what was before began before it subscribed
			}
			if told = append(told, kind); told[0] == "FRAMEWORK_ADDED" && strings.Contains(lines.Text(), "TASK_FINISHED") {
				break
			}
		}
		kinds <- strings.Join(told, " ")
	}()
	return func() string { return <-kinds }
}

const exampleOfAFramework = "api/client/framework/example"

// A framework of one's own is a few lines, and runs beside any node.
func TestTheExampleOfAFramework(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(lab.Root(t), exampleOfAFramework, "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	_, main, _ := strings.Cut(string(source), "func main() {\n")
	if n := strings.Count(main, "\n"); n > 30 || n == 0 {
		t.Errorf("the example has %d lines, which are to be 30 at most", n)
	}
	program := filepath.Join(t.TempDir(), "example")
	build := exec.Command("go", "build", "-o", program, "./"+exampleOfAFramework)
	build.Dir = lab.Root(t)
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l := newLab(t, 1)
	n := l.Nodes[0]
	n.Launch("start")
	n.AwaitReady()
	ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
	defer cancel()
	c := exec.CommandContext(ctx, program)
	c.Env = append(os.Environ(), "MESITA_SOCKET="+n.Socket)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if ended := strings.Count(string(out), "TASK_FINISHED"); ended != 5 {
		t.Errorf("%d of 5 finished: %s", ended, out)
	}
}

// Mesos' own shell attaches to the terminal of its task: what is typed comes there, and how
// the task ends is how the shell does. It looks for the agent by the name of the node, at
// the port that Mesos has for it.
func TestMesosShellAttaches(t *testing.T) {
	l := newLab(t, 1)
	n := l.Nodes[0]
	n.Launch("start", "--mesos-http", "0.0.0.0:"+mesosPort, "--mesos-anonymous", "--mesos-agent-port", "5051")
	n.AwaitReady()
	bin := t.TempDir()
	if out, err := exec.Command(filepath.Join(lab.Root(t), "integration/mesosgo/build"), bin, "msh").CombinedOutput(); err != nil {
		t.Fatalf("build msh: %v: %s", err, out)
	}
	hosts := filepath.Join(bin, "hosts")
	if err := os.WriteFile(hosts, []byte("127.0.0.1 localhost "+n.Name+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for typed, want := range map[string]int{"exit 0": 0, "exit 7": 3} { // 3: the task failed
		for _, pod := range []string{"-pod=false", "-pod"} {
			in, keyboard, err := os.Pipe() // which stays open until it has ended: it leaves once its input ends
			if err != nil {
				t.Fatal(err)
			}
			screen, out, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), lab.Patience)
			cmd := exec.CommandContext(ctx, "nsenter", "--net=/run/netns/"+n.NS, "unshare", "--mount", "/bin/sh", "-c", `mount --bind "$1" /etc/hosts && shift && exec "$@"`, "sh", hosts,
				filepath.Join(bin, "msh"), "-interactive", pod, "-master", n.IP+":"+mesosPort, "--", "/bin/sh")
			var logged bytes.Buffer
			cmd.Stdin, cmd.Stdout, cmd.Stderr = in, out, &logged
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out.Close()
			shown := typeInto(t, keyboard, screen, "echo n-$((40+2))\n", "n-42", typed+"\n")
			err = cmd.Wait()
			cancel()
			for _, f := range []*os.File{keyboard, in, screen} {
				f.Close()
			}
			if code := exitCode(err); code != want || !strings.Contains(shown, "n-42") {
				t.Errorf("msh -interactive %s, and %q is typed: exits with %d, want %d: %v\n%s\n%s", pod, typed, code, want, err, shown, logged.String())
			}
		}
	}
}

// typeInto types something, and the rest once that has been answered: msh leaves as soon as
// it hears that its task failed, with what it has not shown yet. It returns all that is shown.
func typeInto(t *testing.T, keyboard io.Writer, screen io.Reader, first, answer, rest string) string {
	t.Helper()
	var shown strings.Builder
	for next, buf := first, make([]byte, 1024); ; {
		if _, err := io.WriteString(keyboard, next); err != nil {
			t.Error(err)
		}
		for next = ""; next == ""; {
			n, err := screen.Read(buf)
			shown.Write(buf[:n])
			if err != nil {
				return shown.String()
			}
			if rest != "" && strings.Contains(shown.String(), answer) {
				next, rest = rest, ""
			}
		}
	}
}

func exitCode(err error) int {
	if e, ok := err.(*exec.ExitError); ok {
		return e.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// An offer that a leader made is good after that leader was killed.
func TestOffersOutliveTheLeader(t *testing.T) {
	l := mesosLab(t)
	leader := l.Leader()
	s := subscribeMesos(t, leader, "")
	offer, agent := s.offerOf(leader, l.Other(leader))
	leader.Kill()
	var next *lab.Node
	l.Await(lab.Patience, "another leader", func() bool { next = l.LeaderNow(); return next != nil && next != leader })
	again := subscribeMesos(t, next, s.framework)
	again.launch(offer, agent, "t1")
	again.until("UPDATE", func(e map[string]any) bool {
		state := at(e, "update", "status", "state")
		if uuid := at(e, "update", "status", "uuid"); uuid != nil {
			again.call("ACKNOWLEDGE", "acknowledge", map[string]any{"agent_id": value(agent), "task_id": value("t1"), "uuid": uuid})
		}
		if state != "TASK_RUNNING" && state != "TASK_STARTING" {
			t.Fatalf("a task in the room of an offer of the earlier leader is %v: %v", state, at(e, "update", "status", "message"))
		}
		return state == "TASK_RUNNING"
	})
}

func value(s string) map[string]any { return map[string]any{"value": s} }

func scalar(name string, n float64) map[string]any {
	return map[string]any{"name": name, "type": "SCALAR", "scalar": map[string]any{"value": n}}
}

// at is what is in a document at a path, nil if nothing is.
func at(v any, path ...string) any {
	for _, p := range path {
		m, _ := v.(map[string]any)
		v = m[p]
	}
	return v
}

func nodeOf(n *lab.Node, id string) string {
	for _, m := range n.Members() {
		if m.ID == id {
			return m.Name
		}
	}
	return ""
}

// mesosStream is a subscription to the scheduler API.
type mesosStream struct {
	t                 *testing.T
	node              *lab.Node
	framework, stream string
	in                *bufio.Reader
}

// subscribeMesos subscribes a framework by a node, by an id that it has already, or "". A
// node that does not know its leader yet, or that began to lead and has not applied what it
// has, says 503, after which a framework asks again. The answer lasts, so its connection is
// closed rather than its body, which would be read to the end.
func subscribeMesos(t *testing.T, n *lab.Node, id string) *mesosStream {
	t.Helper()
	info := map[string]any{"user": "root", "name": "example", "failover_timeout": 600, "capabilities": []any{map[string]any{"type": "PARTITION_AWARE"}}}
	call := map[string]any{"type": "SUBSCRIBE", "subscribe": map[string]any{"framework_info": info}}
	if id != "" {
		info["id"], call["framework_id"] = value(id), value(id)
	}
	s := &mesosStream{t: t, node: n}
	var answer *http.Response
	lab.Until(lab.Patience, func() bool {
		answer = s.post(call)
		return answer.StatusCode != http.StatusServiceUnavailable
	})
	if answer.StatusCode != http.StatusOK {
		b, _ := io.ReadAll(answer.Body) // what there is of it says enough
		t.Fatalf("SUBSCRIBE by %s: %s: %s", n.Name, answer.Status, b)
	}
	s.stream, s.in = answer.Header.Get("Mesos-Stream-Id"), bufio.NewReader(answer.Body)
	s.until("SUBSCRIBED", func(e map[string]any) bool {
		s.framework = at(e, "subscribed", "framework_id", "value").(string)
		return true
	})
	return s
}

func (s *mesosStream) post(call map[string]any) *http.Response {
	s.t.Helper()
	body, err := json.Marshal(call)
	if err != nil {
		s.t.Fatal(err)
	}
	q, err := http.NewRequest(http.MethodPost, "http://"+s.node.IP+":"+mesosPort+"/api/v1/scheduler", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	q.Header.Set("Content-Type", "application/json")
	q.Header.Set("Accept", "application/json")
	if s.stream != "" {
		q.Header.Set("Mesos-Stream-Id", s.stream)
	}
	c, err := s.node.DialAddr(s.node.IP + ":" + mesosPort)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { c.Close() })
	if err := q.Write(c); err != nil {
		s.t.Fatal(err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(c), q)
	if err != nil {
		s.t.Fatal(err)
	}
	return answer
}

func (s *mesosStream) call(kind, field string, what any) {
	s.t.Helper()
	answer := s.post(map[string]any{"type": kind, "framework_id": value(s.framework), field: what})
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusAccepted {
		b, _ := io.ReadAll(answer.Body) // what there is of it says enough
		s.t.Fatalf("%s: %s: %s", kind, answer.Status, b)
	}
}

// until reads events until one of a kind is as wanted.
func (s *mesosStream) until(kind string, wanted func(map[string]any) bool) {
	s.t.Helper()
	for {
		e, err := s.event()
		if err != nil {
			s.t.Fatalf("waiting for %s: %v", kind, err)
		}
		if e["type"] == "ERROR" {
			s.t.Fatalf("waiting for %s: %v", kind, e)
		}
		if e["type"] == kind && wanted(e) {
			return
		}
	}
}

func (s *mesosStream) event() (e map[string]any, err error) {
	line, err := s.in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return nil, fmt.Errorf("a record begins with %q", line)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(s.in, b); err != nil {
		return nil, err
	}
	return e, json.Unmarshal(b, &e)
}
