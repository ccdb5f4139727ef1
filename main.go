// Command mesita runs work on a handful of servers as if they were one. It
// owns the signals and the exit code; package api/cli does the rest.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // timetables name zones, and a host may have no zone files

	"github.com/mesita/mesita/api/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := cli.Main(ctx, os.Args, os.Stdin, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
