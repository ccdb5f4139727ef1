package server

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/server/exchange"
)

const maxAttempt = 1 << 30

var logQuery = []string{"follow", "tail", "attempt", "stream"}

// LogLine is one line of a task's log, or a piece of one, as NDJSON carries it.
type LogLine struct {
	Time    time.Time `json:"time"`
	Stream  string    `json:"stream"`
	Text    string    `json:"text"` // what is no UTF-8 is replaced
	Task    string    `json:"task"`
	Attempt int       `json:"attempt"`
}

// taskLogs passes on the log from the node that has the attempt.
func taskLogs(c *call) (any, error) {
	attempt := c.Query.Number("attempt", 0, -1, maxAttempt)
	if _, err := c.logQuery(1); err != nil {
		return nil, err
	}
	t, err := c.task()
	if err != nil {
		return nil, err
	}
	nodeID, number, err := place(t, attempt)
	if err != nil {
		return nil, err
	}
	q := c.R.URL.Query()
	q.Set("attempt", strconv.Itoa(number))
	return c.toNode(nodeID, "/v1/local/tasks/"+t.ID+"/logs", q, localLogs)
}

// toNode acts on the node, which may be this one.
func (c *call) toNode(nodeID, path string, q url.Values, local func(*call) (any, error)) (any, error) {
	c.R.URL.RawQuery = q.Encode()
	if nodeID == c.Cluster.NodeID() {
		c.Query.Values = q
		return local(c)
	}
	if n := c.Store.View().Node(nodeID); n != nil && n.State == api.NodeGone {
		return nil, api.Errorf(api.CodeUnavailable, "node %s, which has it, was removed from the cluster", n.Name)
	}
	if answered, err := c.Relay(c.R.Context(), nodeID, path); !answered {
		e := exchange.AsError(err)
		return nil, api.Errorf(api.CodeUnavailable, "the node that has it does not answer: %s", e.Message)
	} else if err != nil {
		return nil, err
	}
	return exchange.Done{}, nil
}

func (c *call) logQuery(attempt int) (LogQuery, error) {
	l := LogQuery{Task: c.Args[0], Attempt: attempt, Follow: c.Query.Flag("follow")}
	if c.Query.Has("tail") {
		if l.Tail = c.Query.Number("tail", 0, 0, 1<<30); l.Tail == 0 {
			l.Tail = -1
		}
	}
	switch c.Query.OneOf("stream", "stdout", "stderr") {
	case "stdout":
		l.Stdout = true
	case "stderr":
		l.Stderr = true
	}
	return l, c.Query.Err
}

// localLogs reads the log on this node.
func localLogs(c *call) (any, error) {
	l, err := c.logQuery(c.Query.Number("attempt", 1, 1, maxAttempt))
	if err != nil {
		return nil, err
	}
	out := exchange.NewStream(c.Call)
	begin := func() error {
		if c.Answered {
			return nil
		}
		return out.Begin("application/x-ndjson")
	}
	if l.Follow { // a log that is silent so far is an answer, too
		if err := begin(); err != nil {
			return exchange.Done{}, nil
		}
	}
	// Lines of what is there already come in a rush: they are sent together.
	pending := exchange.GetEncoder()
	defer pending.Free()
	var sent time.Time
	err = c.Local.Logs(c.R.Context(), l, func(at time.Time, stream string, text []byte) error {
		if err := begin(); err != nil {
			return err
		}
		line := LogLine{at, stream, strings.ToValidUTF8(string(text), "\uFFFD"), l.Task, l.Attempt}
		if err := pending.JSON.Encode(line); err != nil {
			return err
		}
		if now := time.Now(); l.Follow || pending.Len() > exchange.MaxPooled/2 || now.Sub(sent) > time.Second {
			sent = now
			err := out.Write(pending.Bytes(), true)
			pending.Reset()
			return err
		}
		return nil
	})
	if err != nil && c.R.Context().Err() != nil {
		return exchange.Done{}, nil // the reader left
	}
	if err != nil {
		return nil, err
	}
	if err := begin(); err != nil {
		return exchange.Done{}, nil
	}
	out.Write(pending.Bytes(), false) // the reader left if this fails
	return exchange.Done{}, nil
}
