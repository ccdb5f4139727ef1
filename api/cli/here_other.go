//go:build !linux

package cli

import (
	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

func (a *app) here() here { return here{} }

// limitFlags are none: what a node's limits are its own packages say.
func limitFlags() []cli.Flag { return nil }

// nodeListens believes whoever names a socket: it may lead to another machine.
func nodeListens(*cli.Context) bool { return true }

func preflight(c *cli.Context) ([]api.Check, error) { return nil, notHere(c) }
