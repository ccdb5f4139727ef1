package exchange

import (
	"io"
	"log/slog"
	"net/http"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/auth"
	"github.com/mesita/mesita/api/budget"
)

// bytesHeld bounds the requests that are held in memory, each until it is
// answered. Their buffers have up to twice as much.
func bytesHeld(log *slog.Logger, floods *budget.Floods) *budget.Budget {
	return budget.New(budget.Config{Of: "bytes of requests", Log: log, Floods: floods, Limits: [...]budget.Limits{
		budget.Stranger: {Total: 12 << 20, Each: 5 << 20}, // one body of a user whom only the leader knows
		budget.User:     {Total: 48 << 20, Each: 16 << 20},
		budget.Trusted:  {Total: 96 << 20, Each: 32 << 20},
	}})
}

// streamsOpen bounds what lasts. Nodes need a few each, and relay those of their users.
func streamsOpen(most int, log *slog.Logger, floods *budget.Floods) *budget.Budget {
	n := int64(most)
	return budget.New(budget.Config{Of: "streams", Log: log, Floods: floods, Limits: [...]budget.Limits{
		budget.Stranger: {Total: n/2 + 1, Each: n/8 + 1}, // tokens that only the leader can check
		budget.User:     {Total: n, Each: n/4 + 1},       // who needs more asks another node, or shows another token
		budget.Trusted:  {Total: 4 * n, Each: n},
	}})
}

// holder is whom the request is charged to: an identity that was checked, or
// the address that it comes from.
func (c *Call) holder() budget.Who {
	switch id := c.ID; {
	case !id.Known():
		return budget.Who{Class: budget.Stranger, Name: auth.Source(c.R)}
	case id.Role == api.RoleNode:
		return budget.Who{Class: budget.Trusted, Name: "node " + id.NodeID}
	case id.Token != "":
		return budget.Who{Class: budget.User, Name: "token " + id.Token}
	case api.UserOf(id.Actor) == api.LocalRoot:
		return budget.Who{Class: budget.Trusted, Name: id.Actor}
	default:
		return budget.Who{Class: budget.User, Name: id.Actor}
	}
}

// Who is whom what the request holds is charged to.
func (c *Call) Who() budget.Who { return c.who }

// A stranger asks no faster than that: how a node is, or to join. An answer costs
// little, but much more than to ask.
var (
	strangersEach = budget.Pace{Second: 100, Burst: 500}
	strangersAll  = budget.Pace{Second: 800, Burst: 4000}
)

// turnedAway is what a caller hears that is refused with err before anything is done
// for it: a stranger no faster than it may ask for anything else. What another node
// relays is paced there, and who is told to come again has been already.
func (c *Call) turnedAway(err error) error {
	c.who = c.holder()
	if code := api.ErrorCode(err); !c.ID.Forwarded && code != api.CodeBusy && code != api.CodeUnavailable {
		if busy := c.paced(); busy != nil {
			c.RefuseBody()
			return busy
		}
	}
	c.dropBody()
	return err
}

// paced refuses a stranger that asks too fast, and ends its connection: the next one
// has to wait for its turn.
func (c *Call) paced() error {
	if c.who.Class != budget.Stranger {
		return nil
	}
	wait := c.paces.Try(c.who.Name, 1)
	if wait == 0 {
		return nil
	}
	c.Floods.Refused(c.who, "requests in a second")
	c.W.Header()["Connection"] = []string{"close"}
	e := api.Errorf(api.CodeBusy, "%s asks more often than anybody may without a token: wait", c.who.Name)
	e.Retry = wait
	return e
}

// Charged is a reader whose bytes are charged to the caller until it is answered.
func (c *Call) Charged(r io.Reader) io.Reader { return charged{r, c} }

func (c *Call) charge(n int64) error {
	if err := c.bytes.Take(c.who, n); err != nil {
		return err
	}
	c.held += n
	return nil
}

// Release gives back what a request that was read holds, before an answer that lasts.
func (c *Call) Release() {
	c.bytes.Give(c.who, c.held)
	c.held, c.body, c.buf = 0, nil, nil
}

// perRequest is about what a request costs beside what was sent of it: a goroutine,
// a stream, buffers. Users and nodes are bounded by what they send.
const perRequest = 32 << 10

// headerSize is about how many bytes a request holds before its body.
func headerSize(r *http.Request, who budget.Class) int64 {
	n := len(r.RequestURI)
	if who == budget.Stranger {
		n += perRequest
	}
	for k, vs := range r.Header {
		for _, v := range vs {
			n += len(k) + len(v)
		}
	}
	return int64(n)
}

// charged is a body that is charged as it is read.
type charged struct {
	body io.Reader
	c    *Call
}

func (r charged) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if e := r.c.charge(int64(n)); e != nil {
		return 0, e
	}
	return n, err
}
