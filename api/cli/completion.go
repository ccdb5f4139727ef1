package cli

import (
	"fmt"
	"runtime"

	"github.com/mesita/mesita/api/cli/line"
	"github.com/urfave/cli/v2"
)

func (a *app) completionCommand() *cli.Command {
	return &cli.Command{
		Name: "completion", Usage: "print the completion script of a shell", ArgsUsage: "bash|zsh|fish",
		Description: example("mesita completion bash > /etc/bash_completion.d/mesita", "mesita completion fish > ~/.config/fish/completions/mesita.fish"),
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "completion bash|zsh|fish"); err != nil {
				return err
			}
			script, err := line.Completion(c.Args().First())
			if err != nil {
				return err
			}
			_, err = fmt.Fprint(a.out, script)
			return err
		},
	}
}

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "print the version", Description: example("mesita version"),
		Action: func(c *cli.Context) error {
			_, err := fmt.Fprintf(a.out, "mesita %s %s/%s %s\n", Version, runtime.GOOS, runtime.GOARCH, runtime.Version())
			return err
		},
	}
}
