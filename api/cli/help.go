package cli

import (
	"fmt"

	"github.com/mesita/mesita/api/cli/specfile"
	"github.com/mesita/mesita/api/docs"
	"github.com/urfave/cli/v2"
)

// helpWidth is how wide a text of help is, in columns.
const helpWidth = 80

// helpCommand has the topics of help that are not commands: help of a command is what
// --help prints after it.
func (a *app) helpCommand() *cli.Command {
	help := &cli.Command{
		Name: "help", Usage: "explain a command, or a topic",
		Description: example("mesita help run", "mesita help failure", "mesita help yaml"),
		Subcommands: []*cli.Command{{
			Name: "yaml", Usage: "explain the keys of files", ArgsUsage: "[KEY]",
			Description: example("mesita help yaml", "mesita help yaml restart.delay"),
			Action: func(c *cli.Context) error {
				if err := args(c, 0, 1, "help yaml [KEY]"); err != nil {
					return err
				}
				text, err := specfile.Help(helpWidth), error(nil)
				if c.NArg() > 0 {
					text, err = specfile.HelpOn(c.Args().First(), helpWidth)
				}
				if err != nil {
					return err
				}
				fmt.Fprint(a.out, text)
				return nil
			},
		}},
	}
	for _, t := range docs.Topics() {
		help.Subcommands = append(help.Subcommands, &cli.Command{
			Name: t.Name, Usage: t.About, Description: example("mesita help " + t.Name),
			Action: func(c *cli.Context) error {
				if err := args(c, 0, 0, "help "+t.Name); err != nil {
					return err
				}
				page, err := docs.Find(t.Name)
				if err != nil {
					return err
				}
				_, err = fmt.Fprint(a.out, page.Terminal(helpWidth))
				return err
			},
		})
	}
	return help
}
