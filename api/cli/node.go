package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) nodeCommand() *cli.Command {
	return &cli.Command{
		Name: "node", Usage: "the servers of the cluster", Description: example("mesita node start", "mesita node ls"),
		Subcommands: []*cli.Command{a.nodeStart(), a.nodeJoin(), a.nodeStop(), a.nodeRestart(), a.nodeLs(), a.nodeShow(), a.nodeDrain(), a.nodeResume(), a.nodePromote(), a.nodeDemote(), a.nodeUnreserve(), a.nodeRm(), a.nodeToken(), a.nodeConfig(), a.nodeInstall()},
	}
}

func usedOf(used, total fmt.Stringer) string { return used.String() + "/" + total.String() }

// roleText is a node's role in a word: who leads votes.
func roleText(n *api.NodeStatus) string {
	if n.Role == "voter, leader" {
		return "leader"
	}
	return n.Role
}

func isVoter(n *api.NodeStatus) bool { return strings.HasPrefix(n.Role, "voter") }

// isUp reports whether a node's daemon answers.
func isUp(n *api.NodeStatus) bool {
	return (n.State == api.NodeReady || n.State == api.NodeDraining) && !n.Away
}

// nodeColumns are those of nodes at that time by the cluster's clock.
func nodeColumns(now time.Time) []column[*api.NodeStatus] {
	return []column[*api.NodeStatus]{
		{"NAME", func(n *api.NodeStatus) string { return n.Name }, false},
		{"STATE", func(n *api.NodeStatus) string { return nodeState(n, now) }, false},
		{"ROLE", roleText, false},
		{"CPUS", func(n *api.NodeStatus) string {
			return usedOf(n.Ledger.Allocated.CPUs+n.Ledger.Reclaiming.CPUs, n.Resources.CPUs)
		}, false},
		{"MEM", func(n *api.NodeStatus) string {
			return usedOf(n.Ledger.Allocated.Mem+n.Ledger.Reclaiming.Mem, n.Resources.Mem)
		}, false},
		{"TASKS", func(n *api.NodeStatus) string { return fmt.Sprint(n.Tasks) }, false},
		{"VERSION", func(n *api.NodeStatus) string { return n.Version }, false},
		{"AGE", func(n *api.NodeStatus) string { return ageAt(n.Joined, now) }, false},
		{"ADDRESS", func(n *api.NodeStatus) string { return n.Addr }, true},
		{"ID", func(n *api.NodeStatus) string { return n.ID }, true},
		{"ATTRIBUTES", attrsText, true},
	}
}

// nodeState is the state, since when it is none in which the node answers, and what is
// wrong besides.
func nodeState(n *api.NodeStatus, now time.Time) string {
	s := n.State.String()
	if !isUp(n) && !n.Since.IsZero() {
		s += " " + ageAt(n.Since, now)
	}
	for _, t := range n.Troubles() {
		s += ", " + t.Short
	}
	if n.Remark != "" {
		s += ", copied"
	}
	return s
}

func attrsText(n *api.NodeStatus) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(n.Attrs)) {
		out = append(out, k+"="+n.Attrs[k])
	}
	return or(strings.Join(out, ","), "-")
}

func (a *app) nodeLs() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ls", Usage: "list nodes", Description: example("mesita node ls", "mesita node ls -o wide", "mesita node ls -l zone=a -o json"),
		Flags: readFlags(
			&cli.BoolFlag{Name: "all", Aliases: []string{"a"}, Usage: "also those that were removed"},
			labelFlag("the attribute"),
		),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "node ls"); err != nil {
				return err
			}
			labels, err := api.ParseLabels("label", c.StringSlice("label"))
			if err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			nodes, err := cl.Nodes(c.Context, c.Bool("all"))
			if err != nil {
				return err
			}
			nodes = slices.DeleteFunc(nodes, func(n *api.NodeStatus) bool { return !api.MatchAll(labels, n.Name, n.Attrs) })
			slices.SortFunc(nodes, func(x, y *api.NodeStatus) int { return strings.Compare(x.Name, y.Name) })
			return list(a.out, c, nodes, func(n *api.NodeStatus) string { return n.Name }, nodeColumns(cl.Now()))
		},
	})
}

func (a *app) nodeShow() *cli.Command {
	return a.watched(&cli.Command{
		Name: "show", Usage: "show a node and its tasks", ArgsUsage: "NODE", Description: example("mesita node show oak"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "node show NODE"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			n, err := cl.Node(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			none := "nothing runs there"
			tasks, err := cl.Tasks(c.Context, "", n.Name, false)
			if api.ErrorCode(err) == api.CodeNotAllowed {
				none = "what runs there is not shown to you"
			}
			if err != nil && api.ErrorCode(err) != api.CodeNotAllowed { // root of a worker may see no more than its node
				return err
			}
			return one(a.out, c, n, n.Name, func(w io.Writer) error {
				fmt.Fprintf(w, "node       %s   %s   %s\nid         %s\naddress    %s\nversion    %s\n", n.Name, paint(w, nodeState(n, cl.Now())), roleText(n), n.ID, n.Addr, n.Version)
				if n.Reason != "" {
					fmt.Fprintf(w, "why        %s\n", n.Reason)
				}
				for _, t := range n.Troubles() {
					fmt.Fprintf(w, "but        %s\n", t.Text)
				}
				if old := belowOldKeeper(c.Context, cl, n.Name); old > 0 {
					fmt.Fprintf(w, "keeper     a keeper of an older version is the parent of %s, and ends with the last\n", api.Count(old, "task"))
				}
				if !n.Outside.Equal(nil) {
					fmt.Fprintf(w, "others     programs that are not mesita's have %s\n", n.Outside)
				}
				fmt.Fprintf(w, "has        %s\nfree       %s\nattrs      %s\n", n.Resources, n.Ledger.Free, attrsText(n))
				for i := range n.Reservations {
					fmt.Fprintf(w, "reserved   %s\n", reservedText(&n.Reservations[i]))
				}
				fmt.Fprintln(w)
				return tasksOf(w, tasks, taskColumns(c.Context, cl, tasks), none)
			})
		},
	})
}

// reservedText is a reservation in a line.
func reservedText(r *api.ReservationStatus) string {
	s := r.Partition + ": " + amountsText(r.Resources)
	if r.Principal != "" {
		s += ", by " + r.Principal
	}
	for _, k := range slices.Sorted(maps.Keys(r.Labels)) {
		s += ", " + k + "=" + r.Labels[k]
	}
	if r.Volume != nil {
		s += ", volume " + r.Volume.ID
	}
	if !r.Used.Equal(api.Resources{}) {
		s += ", in use " + amountsText(r.Used)
	}
	return s
}

// amountsText is resources without those of which there is nothing.
func amountsText(r api.Resources) string {
	s := api.AmountsOf(r).String()
	if len(r.Ports) > 0 {
		s = strings.TrimPrefix(s+",ports="+r.Ports.String(), ",")
	}
	return s
}

func (a *app) nodeUnreserve() *cli.Command {
	flags := []cli.Flag{&cli.StringFlag{Name: "partition", Usage: "only what is reserved for this `PARTITION`"}, option.DryRunFlag()}
	return a.onNode("unreserve", "give back what is reserved of a node, and no task uses", "mesita node unreserve fir --partition ml", flags, func(c *cli.Context, cl *client.Client, n *api.NodeStatus) error {
		if c.Bool("dry-run") {
			if !a.sayGivenBack("would give back", n, &api.NodeStatus{}, c.String("partition")) {
				a.progress("nothing would be given back of %s", n.Name)
			}
			return nil
		}
		now, err := cl.Unreserve(c.Context, n.Name, c.String("partition"))
		if err != nil {
			return err
		}
		a.sayGivenBack("gave back", n, now, c.String("partition"))
		for i := range now.Reservations {
			switch r := &now.Reservations[i]; {
			case c.String("partition") != "" && c.String("partition") != r.Partition:
			case r.Volume != nil:
				a.progress("a volume stays: %s", reservedText(r))
			default:
				a.progress("tasks use the rest: %s", reservedText(r))
			}
		}
		return nil
	})
}

// sayGivenBack says what is free of reservations of a node, and not any more there then.
func (a *app) sayGivenBack(what string, n, then *api.NodeStatus, partition string) (some bool) {
	for i := range n.Reservations {
		r := n.Reservations[i]
		left := r.Resources.Minus(r.Used)
		for j := range then.Reservations {
			if then.Reservations[j].ID == r.ID {
				left = r.Resources.Minus(then.Reservations[j].Resources)
			}
		}
		if partition != "" && r.Partition != partition || r.Volume != nil || left.Equal(api.Resources{}) {
			continue
		}
		a.progress("%s %s of %s, reserved for partition %s", what, amountsText(left), n.Name, r.Partition)
		some = true
	}
	return some
}

// belowOldKeeper counts the tasks of a node that an earlier version started, as
// far as the node says.
func belowOldKeeper(ctx context.Context, cl *client.Client, node string) (n int) {
	stats, _, _ := cl.Stats(ctx, node, api.StatsCPU) // one that does not answer is shown all the same
	for _, s := range stats {
		if s.OldKeeper {
			n++
		}
	}
	return n
}

// onNode is a command that does one thing to a node.
func (a *app) onNode(name, use, ex string, flags []cli.Flag, do func(*cli.Context, *client.Client, *api.NodeStatus) error) *cli.Command {
	return &cli.Command{
		Name: name, Usage: use, ArgsUsage: "NODE", Description: example(ex), Flags: flags,
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "node "+name+" NODE"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			n, err := cl.Node(c.Context, c.Args().First())
			if err != nil {
				return err
			}
			return do(c, cl, n)
		},
	}
}

func (a *app) nodeResume() *cli.Command {
	return a.onNode("resume", "end the drain of a node", "mesita node resume fir", []cli.Flag{option.DryRunFlag()}, func(c *cli.Context, cl *client.Client, n *api.NodeStatus) error {
		if c.Bool("dry-run") {
			a.progress("would let %s (%s) take tasks again", n.Name, n.State)
			return nil
		}
		if err := cl.Resume(c.Context, n.Name); err != nil {
			return err
		}
		a.progress("%s takes tasks", n.Name)
		return nil
	})
}

func (a *app) nodePromote() *cli.Command {
	return a.onNode("promote", "let a node become a voter that joined as a worker", "mesita node promote fir", []cli.Flag{option.DryRunFlag()}, func(c *cli.Context, cl *client.Client, n *api.NodeStatus) error {
		switch {
		case !n.WorkerOnly:
			a.progress("%s may already become a voter", n.Name)
			return nil
		case c.Bool("dry-run"):
			a.progress("would let %s (%s) become a voter, which holds the key of the cluster's CA", n.Name, n.Role)
			return nil
		}
		if err := cl.Promote(c.Context, n.Name); err != nil {
			return err
		}
		a.progress("%s may become a voter", n.Name)
		return nil
	})
}

func (a *app) nodeDemote() *cli.Command {
	return a.onNode("demote", "take a node's right to vote, and change the key of the cluster's CA, which it has", "mesita node demote fir", []cli.Flag{option.DryRunFlag()}, func(c *cli.Context, cl *client.Client, n *api.NodeStatus) error {
		switch {
		case n.WorkerOnly:
			a.progress("%s may not vote already", n.Name)
			return nil
		case c.Bool("dry-run"):
			a.progress("would take the right to vote from %s (%s), and change the key of the cluster's CA", n.Name, n.Role)
			return nil
		}
		if err := cl.Demote(c.Context, n.Name); err != nil {
			return err
		}
		a.progress("%s may not vote any more; the key of the cluster's CA is changed: `mesita cluster show` says how far it is", n.Name)
		return nil
	})
}

func (a *app) nodeRm() *cli.Command {
	flags := []cli.Flag{
		&cli.BoolFlag{Name: "force", Usage: "even while it runs tasks"},
		&cli.BoolFlag{Name: "yes", Aliases: []string{"y"}, Usage: "with --force: also if there is no other node for some of its tasks"},
		option.DryRunFlag(),
	}
	return a.onNode("rm", "remove a node for good", "mesita node rm fir", flags, func(c *cli.Context, cl *client.Client, n *api.NodeStatus) error {
		if c.Bool("dry-run") {
			if err := cl.MayRemoveNode(c.Context, n.Name, c.Bool("force")); err != nil {
				return err
			}
			a.progress("would remove %s (%s, %s)", n.Name, n.Role, api.Count(n.Tasks, "task"))
			a.sayDropped("would be", n)
			return nil
		}
		if c.Bool("force") {
			if ok, err := a.mayEmpty(c, cl, n, time.Second, "remove it"); !ok {
				return err
			}
		}
		if err := cl.RemoveNode(c.Context, n.Name, c.Bool("force")); err != nil {
			return err
		}
		a.progress("%s is removed for good", n.Name)
		a.sayDropped("are", n)
		if strings.HasPrefix(n.Role, "voter") {
			if c.Bool("force") {
				a.progress("it voted, and so knew the key of the cluster's CA, which is changed: `mesita cluster show` says how far it is")
			} else {
				a.progress("it voted, and so knew the key of the cluster's CA: if its disk may be in the wrong hands, `mesita cluster rotate-ca` changes that")
			}
		}
		return nil
	})
}

// sayDropped says which reservations go with a node.
func (a *app) sayDropped(are string, n *api.NodeStatus) {
	for i := range n.Reservations {
		a.progress("its reservations %s gone, too: %s", are, reservedText(&n.Reservations[i]))
	}
}

func (a *app) nodeToken() *cli.Command {
	return &cli.Command{
		Name: "token", Usage: "make a join token, and print the command that uses it", Description: example("mesita node token", "mesita node token --ttl 1h --uses 1 --quiet"),
		Flags: []cli.Flag{
			option.SpanFlag("ttl", 24*time.Hour, "`TIME` until it expires"),
			&cli.IntFlag{Name: "uses", Usage: "`NUMBER` of nodes that may join with it (default: any)"},
			&cli.BoolFlag{Name: "voter-only", Usage: "for voter-only nodes"},
			&cli.BoolFlag{Name: "voter", Usage: "for nodes that may become voters, which hold the key of the cluster's CA (default: while fewer than three may)"},
			&cli.BoolFlag{Name: "worker-only", Usage: "for nodes that never vote, also while fewer than three may"},
			option.DryRunFlag(),
			&cli.BoolFlag{Name: "quiet", Aliases: []string{"q"}, Usage: "print the token only"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "node token"); err != nil {
				return err
			}
			r := api.TokenRequest{Kind: api.TokenJoin, MaxUses: c.Int("uses"), Voter: c.Bool("voter"), VoterOnly: c.Bool("voter-only"), WorkerOnly: c.Bool("worker-only"), TTL: api.Duration(option.Span(c, "ttl"))}
			if r.TTL == 0 {
				return noLife()
			}
			if err := r.Validate(); err != nil {
				return err
			}
			if c.Bool("dry-run") {
				a.progress("would make a join token, valid for %s", r.TTL)
				return nil
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			g, err := cl.CreateToken(c.Context, r)
			if err != nil {
				return err
			}
			if c.Bool("quiet") {
				fmt.Fprintln(a.out, g.Secret)
				return nil
			}
			more := ""
			if c.Bool("voter-only") {
				more = " --voter-only"
			}
			fmt.Fprintf(a.out, "sudo mesita node join %s --token %s%s\n", a.aNode(c.Context, cl), g.Secret, more)
			a.progress("valid until %s", g.Expires.Local().Format(time.RFC3339))
			switch {
			case c.Bool("voter") || c.Bool("voter-only") || c.Bool("worker-only"):
			case g.WorkerOnly:
				a.progress("who joins with it never votes: `mesita node token --voter` is for a node that may")
			default:
				a.progress("who joins with it may become a voter, as fewer than %d may yet: --worker-only forbids it", api.FewVoters)
			}
			return nil
		},
	}
}
