package ages

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Age is one that a recovery began. Its id is random: two recoveries, also of
// the same node from the same state, are two ages.
type Age struct {
	ID   string    `json:"id"`
	Node string    `json:"node"` // the name of the one that continued alone
	At   time.Time `json:"at"`   // by that node's clock
}

// Line is the ages of a cluster in their order, the present one last. Empty is
// the first age of a cluster, which nothing recorded: that of every cluster
// that was never recovered, and of every program from before there were ages.
type Line []Age

// most bounds a line; older ages are forgotten.
const most = 32

// ID is that of the present age, "" in the first.
func (l Line) ID() string {
	if len(l) == 0 {
		return ""
	}
	return l[len(l)-1].ID
}

// Begin is the line after a recovery of the node with that name.
func (l Line) Begin(node string, at time.Time) Line {
	b := make([]byte, 8)
	_, _ = rand.Read(b) // never fails: the program ends instead
	out := append(slices.Clone(l), Age{ID: hex.EncodeToString(b), Node: node, At: at.Truncate(time.Second).UTC()})
	return out[max(0, len(out)-most):]
}

// Relation is how another age stands to one's own.
type Relation uint8

const (
	Same    Relation = iota
	Later            // it began in a recovery of one's own
	Earlier          // one's own began in a recovery of it
	Apart            // both began in recoveries that knew nothing of each other
)

// To tells how another line stands to this one.
func (l Line) To(other Line) Relation {
	switch {
	case l.ID() == other.ID():
		return Same
	case other.has(l.ID()):
		return Later
	case l.has(other.ID()):
		return Earlier
	}
	return Apart
}

func (l Line) has(id string) bool {
	return id == "" || slices.ContainsFunc(l, func(a Age) bool { return a.ID == id })
}

// Name marks a name with the age, so that only nodes of the same one use it.
// In the first age it stays as it is, as older programs know it.
func (l Line) Name(name string) string {
	if len(l) == 0 {
		return name
	}
	return name + "@" + l.ID()
}

// String is the line as a header of HTTP carries it: "" in the first age.
func (l Line) String() string {
	words := make([]string, len(l))
	for i, a := range l {
		words[i] = a.ID + ":" + a.Node + ":" + strconv.FormatInt(a.At.Unix(), 10)
	}
	return strings.Join(words, ",")
}

// Parse reads what String wrote, from a stranger.
func Parse(s string) (Line, error) {
	if s == "" {
		return nil, nil
	}
	words := strings.Split(s, ",")
	if len(words) > most {
		return nil, fmt.Errorf("%d ages, at most %d are told", len(words), most)
	}
	var l Line
	for _, w := range words {
		id, rest, _ := strings.Cut(w, ":")
		node, at, _ := strings.Cut(rest, ":")
		seconds, err := strconv.ParseInt(at, 10, 64)
		if err != nil || len(id) != 16 || strings.Trim(id, "0123456789abcdef") != "" || len(node) > 63 || strings.Trim(node, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return nil, fmt.Errorf("%.80q is not an age of a cluster", w)
		}
		l = append(l, Age{ID: id, Node: node, At: time.Unix(seconds, 0).UTC()})
	}
	return l, nil
}
