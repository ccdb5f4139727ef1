package option

import "github.com/urfave/cli/v2"

// VarFlag is that by which ${NAME} in files gets a value.
func VarFlag() cli.Flag {
	return &cli.StringSliceFlag{Name: "var", Usage: "the value of ${NAME} in files, `NAME=VALUE`; may be repeated; without it such text is left as it is"}
}

// Vars are the values of ${NAME} in files, nil: such text is left as it is.
func Vars(c *cli.Context) (map[string]string, error) {
	if !c.IsSet("var") {
		return nil, nil
	}
	vars := map[string]string{}
	return vars, fillMap("var", c.StringSlice("var"), &vars)
}
