package mesos

import "github.com/mesita/mesita/api"

// topic is something that a framework is to be told of: the oldest news of a task, or how
// a task is that it asked about. What is told is what is so by then.
type topic struct {
	job   string // of news; "" = how a task is
	index int

	task, node string // as the framework knows them
}

// backlog is what a session is to be told once what it was told before is on its way: in
// the order in which it came, and each once.
type backlog struct {
	topics []topic
	in     map[topic]struct{}
	asked  int // bytes of what the framework asked about
}

// maxAsked bounds what a framework may ask about until it is answered, in bytes.
const maxAsked = 32 << 20

// add reports whether there is room for a topic.
func (b *backlog) add(t topic) bool {
	if _, twice := b.in[t]; twice {
		return true
	}
	if b.asked += t.size(); b.asked > maxAsked {
		return false
	}
	if b.in == nil {
		b.in = map[topic]struct{}{}
	}
	b.in[t] = struct{}{}
	b.topics = append(b.topics, t)
	return true
}

// take is the first topic.
func (b *backlog) take() (t topic, ok bool) {
	if len(b.topics) == 0 {
		return topic{}, false
	}
	t = b.topics[0]
	b.asked -= t.size()
	delete(b.in, t)
	if b.topics = b.topics[1:]; len(b.topics) == 0 {
		*b = backlog{}
	}
	return t, true
}

// size is what a topic counts, of news nothing: there is no more of that than the state has.
func (t topic) size() int {
	if t.job != "" {
		return 0
	}
	return 64 + len(t.task) + len(t.node)
}

// newsOf is the topic of the news of a task.
func newsOf(job string, index int) topic { return topic{job: job, index: index} }

// stateOf is the topic of how a task is.
func stateOf(t *api.Task) topic { return topic{task: t.Framework.ID, node: t.NodeID} }
