package cli

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
)

// shownNodes is how many names of nodes with the same reason are printed.
const shownNodes = 6

// printWhy writes the reason of each node, the nodes that share one together.
func printWhy(w io.Writer, why *api.Why) error {
	fmt.Fprintln(w, why.Summary)
	if why.RunAs != "" {
		fmt.Fprintf(w, "  %-16s %s\n", "runs as", why.RunAs)
	}
	var reasons []string
	nodes := map[string][]string{}
	for _, n := range why.Nodes {
		if nodes[n.Reason] == nil {
			reasons = append(reasons, n.Reason)
		}
		nodes[n.Reason] = append(nodes[n.Reason], n.Node)
	}
	for _, r := range reasons {
		text := r
		if len(nodes[r]) > 1 {
			text = "each " + r
		}
		fmt.Fprintf(w, "  %-16s %s\n", someOf(nodes[r]), text)
	}
	if why.Nearest != "" {
		fmt.Fprintf(w, "  %-16s %s\n", "nearest fit", why.Nearest)
	}
	if len(why.Holders) > 0 {
		fmt.Fprintf(w, "  %-16s %s\n", "held by", someOf(why.Holders))
	}
	if !why.Estimate.IsZero() {
		sure := ""
		if why.Sure != "" {
			sure = " (" + string(why.Sure) + ")"
		}
		fmt.Fprintf(w, "  %-16s %s%s\n", "starts about", clock(why.Estimate), sure)
	}
	for _, h := range why.Hints {
		fmt.Fprintf(w, "  %s\n", h)
	}
	return nil
}

func someOf(names []string) string {
	if more := len(names) - shownNodes; more > 0 {
		return strings.Join(names[:shownNodes], ", ") + fmt.Sprintf(" and %d more", more)
	}
	return strings.Join(names, ", ")
}

// clock is a time in the future, as people say it.
func clock(t time.Time) string {
	t = t.Local()
	if d := time.Until(t); d < 20*time.Hour {
		return t.Format("15:04") + " (in " + age(time.Now().Add(-max(d, 0))) + ")"
	}
	return t.Format("Mon 2 Jan 15:04")
}
