package cli

import (
	"strings"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
)

func (a *app) roleCommand() *cli.Command {
	return &cli.Command{
		Name: "role", Usage: "what tokens may, and where", Description: "A role is viewer, deployer, operator or admin, of the whole cluster; with @PARTITION\nit is of that partition and all below it, with @PREFIX* or @PARTITION/PREFIX* of the\njobs whose names begin so. Rights add up.\n\n" + example("mesita role grant ci deployer@prod", "mesita can ci deploy prod/web"),
		Subcommands: []*cli.Command{a.roleChange("grant", "let the tokens of a name do more"), a.roleChange("revoke", "take rights from the tokens of a name"), a.roleLs()},
	}
}

func (a *app) roleChange(verb, usage string) *cli.Command {
	return &cli.Command{
		Name: verb, Usage: usage, ArgsUsage: "TOKEN ROLE[@SCOPE]…", Description: example("mesita role "+verb+" ci deployer@prod", "mesita role "+verb+" ci viewer 'deployer@prod/web-*'"),
		Flags: []cli.Flag{option.DryRunFlag()},
		Action: func(c *cli.Context) error {
			if err := args(c, 2, 1+api.MaxRights, "role "+verb+" TOKEN ROLE[@SCOPE]…"); err != nil {
				return err
			}
			of, rights := c.Args().First(), c.Args().Slice()[1:]
			change := api.RightsChange{Grant: rights}
			if verb == "revoke" {
				change = api.RightsChange{Revoke: rights}
			}
			if err := change.Validate(); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			if c.Bool("dry-run") {
				n, err := tokensOf(c, cl, of)
				if err == nil {
					a.progress("would %s %s of the name or id %s: %s", verb, api.Count(n, "token"), of, strings.Join(rights, ", "))
				}
				return err
			}
			n, err := cl.ChangeRights(c.Context, of, change)
			if err != nil {
				return err
			}
			a.progress("%s of the name or id %s changed", api.Count(n, "token"), of)
			return nil
		},
	}
}

// tokensOf is how many client tokens have a name or id.
func tokensOf(c *cli.Context, cl *client.Client, of string) (int, error) {
	tokens, err := cl.Tokens(c.Context, api.TokenClient)
	if err != nil {
		return 0, err
	}
	n := 0
	for _, t := range tokens {
		if t.ID == of || t.Name == of {
			n++
		}
	}
	if n == 0 {
		return 0, api.Errorf(api.CodeNotFound, "no client token has the name or id %s: `mesita role ls` lists them", of)
	}
	return n, nil
}

func (a *app) roleLs() *cli.Command {
	return a.watched(&cli.Command{
		Name: "ls", Usage: "list who may do what, by client token", Description: example("mesita role ls", "mesita role ls -o json"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "role ls"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			tokens, err := cl.Tokens(c.Context, api.TokenClient)
			if err != nil {
				return err
			}
			return list(a.out, c, tokens, func(t *api.Token) string { return t.ID }, []column[*api.Token]{
				{"NAME", func(t *api.Token) string { return or(t.Name, "-") }, false},
				{"TOKEN", func(t *api.Token) string { return t.ID }, false},
				{"RIGHTS", func(t *api.Token) string { return t.Has() }, false},
				{"RUNS AS", func(t *api.Token) string { return or(t.RunAs, "-") }, true},
			})
		},
	})
}

func (a *app) canCommand() *cli.Command {
	return &cli.Command{
		Name: "can", Usage: "explain whether somebody may do something", ArgsUsage: "TOKEN ACTION [PARTITION|JOB|PARTITION/JOB]",
		Description: "TOKEN is the name or id of client tokens, - for you. ACTION is look, logs, deploy, exec,\nupload, fetch, values, close-incidents, manage-partitions, manage-nodes, manage-tokens or\nmanage-cluster. Without a partition or job it is asked for the whole cluster.\nIt fails with exit code 4 if none of them may.\n\n" +
			example("mesita can ci deploy prod/web", "mesita can - exec web"),
		Flags: readFlags(),
		Action: func(c *cli.Context) error {
			if err := args(c, 2, 3, "can TOKEN ACTION [PARTITION|JOB|PARTITION/JOB]"); err != nil {
				return err
			}
			who := c.Args().First()
			switch who {
			case "": // an empty variable of a script is not whoever runs it
				return usage("mesita can: TOKEN is empty: give the name or id of client tokens, or - for you")
			case "-":
				who = ""
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			cans, err := cl.Can(c.Context, who, c.Args().Get(1), c.Args().Get(2))
			if err != nil {
				return err
			}
			if err := list(a.out, c, cans, func(t *api.Can) string { return t.Actor }, []column[*api.Can]{
				{"WHO", func(t *api.Can) string { return t.Actor }, false},
				{"TOKEN", func(t *api.Can) string { return or(t.Token, "-") }, false},
				{"RIGHTS", func(t *api.Can) string { return t.Has }, false},
				{"RUNS AS", func(t *api.Can) string { return or(t.RunAs, "-") }, false},
				{"MAY", func(t *api.Can) string { return map[bool]string{true: "yes", false: "no"}[t.May] }, false},
			}); err != nil {
				return err
			}
			for _, t := range cans {
				if t.May {
					return nil
				}
			}
			return api.Errorf(api.CodeNotAllowed, "%s", cans[0].Why)
		},
	}
}
