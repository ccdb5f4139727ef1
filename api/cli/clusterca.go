package cli

import (
	"github.com/urfave/cli/v2"
)

func (a *app) clusterCA() *cli.Command {
	return &cli.Command{
		Name: "ca", Usage: "print the certificate of the cluster's CA, for other programs",
		Description: "What trusts it can verify every address that nodes print: curl, Prometheus, a browser.\nIt changes with `mesita cluster rotate-ca`. Each node has it as ca.crt in its data folder.\n\n" +
			example("mesita cluster ca > ca.crt && curl --cacert ca.crt https://10.0.0.11:5050/v1/health"),
		Action: func(c *cli.Context) error {
			if err := args(c, 0, 0, "cluster ca"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			roots, err := cl.CA(c.Context)
			if err != nil {
				return err
			}
			_, err = a.out.Write(roots.PEM())
			return err
		},
	}
}
