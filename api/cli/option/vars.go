package option

import "github.com/urfave/cli/v2"

// VarFlags are those by which ${NAME} in files gets a value.
func VarFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringSliceFlag{Name: "var", Usage: "the value of ${NAME} in files, `NAME=VALUE`; may be repeated; without it such text is left as it is"},
		&cli.StringFlag{Name: "var-file", Usage: "`FILE` with a NAME=VALUE on each line, as --env-file has; --var comes before it"},
	}
}

// Vars are the values of ${NAME} in files, nil: such text is left as it is.
func Vars(c *cli.Context) (map[string]string, error) {
	if !c.IsSet("var") && !c.IsSet("var-file") {
		return nil, nil
	}
	vars := map[string]string{}
	if path := c.String("var-file"); path != "" {
		if err := readPairs("var-file", path, &vars); err != nil {
			return nil, err
		}
	}
	return vars, fillMap("var", c.StringSlice("var"), &vars)
}
