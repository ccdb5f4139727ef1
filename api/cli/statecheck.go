package cli

import (
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/urfave/cli/v2"
)

// shortHash is how much of a hash is shown.
const shortHash = 12

// noAnswer stands for the state of a voter that told none.
const noAnswer = "no answer"

func (a *app) clusterCheck() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "compare the states of all voters now, as they do on their own every 10 minutes if something was written",
		Description: "A voter that differs from most is refilled. Exits with 1 if any differ.\n\n" + example("mesita cluster check"),
		Flags:       readFlags(option.DryRunFlag()),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "cluster check"); err != nil {
				return err
			}
			if c.Bool("dry-run") {
				a.progress("would have all voters hash their states, and refill those that differ from most")
				return nil
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			nodes, err := cl.Nodes(c.Context, true)
			if err != nil {
				return err
			}
			s, err := cl.CheckState(c.Context)
			if err != nil {
				return err
			}
			verdict := "equal"
			if s.Split || len(s.Odd) > 0 {
				verdict = "different"
			}
			err = one(a.out, c, s, verdict, func(w io.Writer) error {
				wide := c.String("output") == "wide"
				short := func(hash string) string { // a table of 80 columns holds the whole of none
					if !wide && len(hash) > shortHash {
						return hash[:shortHash]
					}
					return hash
				}
				return table(w, checkRows(s, nodes), []column[api.StateAnswer]{
					{"NODE", func(n api.StateAnswer) string { return nameIn(nodes, n.NodeID) }, false},
					{"MESITA", func(n api.StateAnswer) string { return n.Version }, false},
					{"STATE", func(n api.StateAnswer) string { return short(n.State) }, false},
					{"LOG", func(n api.StateAnswer) string { return or(short(n.Log), "-") }, false},
					{"DIFFERS", func(n api.StateAnswer) string {
						if n.State == noAnswer {
							return "-"
						}
						return yes(s.Split || slices.Contains(s.Odd, n.NodeID))
					}, false},
				}, false, !c.Bool("no-headers"))
			})
			if err == nil && verdict != "equal" {
				err = api.Errorf(api.CodeFailed, "the voters hold different states: see `mesita incidents`")
			}
			return err
		},
	}
}

func nameIn(nodes []*api.NodeStatus, id string) string {
	for _, n := range nodes {
		if n.ID == id {
			return n.Name
		}
	}
	return id
}

// checkRows are the answers by name, with the voters that gave none.
func checkRows(s *api.StateCheck, nodes []*api.NodeStatus) []api.StateAnswer {
	rows := slices.Clone(s.Answers)
	for _, n := range nodes {
		if strings.HasPrefix(n.Role, "voter") && !slices.ContainsFunc(rows, func(a api.StateAnswer) bool { return a.NodeID == n.ID }) {
			rows = append(rows, api.StateAnswer{NodeID: n.ID, Version: n.Version, State: noAnswer})
		}
	}
	sort.Slice(rows, func(i, j int) bool {
		a, b := &rows[i], &rows[j]
		return strings.Compare(nameIn(nodes, a.NodeID), nameIn(nodes, b.NodeID)) < 0
	})
	return rows
}
