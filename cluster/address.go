package cluster

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"github.com/mesita/mesita/api/backoff"
	"github.com/mesita/mesita/cluster/localip"
)

// The address that others reach is said by --advertise or --listen, or found at each
// start. One that was found is followed: once the machine does not have it any more, the
// node lives on under another one.

// movedWait is how long an address may be away, as while a lease is renewed.
const movedWait = 10 * time.Second

// errMoved ends a life of the node whose machine has another address.
var errMoved = errors.New("this machine does not have the node's address any more")

// findAddress chooses the address that others reach, given the one that is listened on.
func (a *Agent) findAddress(bound *net.TCPAddr) {
	towards, was := slices.Concat(a.cfg.JoinAddrs, a.cfg.Seeds), ""
	if self, err := a.dir.Load(); err == nil && self != nil { // identify says what is wrong with it
		towards, was = append(towards, self.Seeds...), self.Addr
	}
	for i := range towards {
		towards[i] = withPort(towards[i])
	}
	a.addr, a.address = a.cfg.advertise(context.Background(), bound, towards)
	if was != "" && addressOf(was) != addressOf(a.addr) {
		a.moved = was
		a.log.Warn("this node has another address", "address", a.addr, "before", was)
	}
}

// addressWarnings are what a person should know of the address.
func (a *Agent) addressWarnings() []string {
	if a.moved == "" || a.address.IP == nil {
		return nil
	}
	return []string{"the others reach this node at " + a.addr + " now, it was " + a.moved + ": --advertise ADDRESS says which it is to be"}
}

// followAddress returns errMoved once the machine has another address instead of the
// one that was found.
func (a *Agent) followAddress(ctx context.Context) error {
	err := a.awaitMove(ctx)
	if err != nil && ctx.Err() == nil && !errors.Is(err, errMoved) {
		a.log.Warn("whether this machine keeps its address is not noticed before the next start", "err", err)
		err = nil
	}
	if err == nil {
		<-ctx.Done()
	}
	return err
}

// awaitMove ends without an error where there is nothing to wait for.
func (a *Agent) awaitMove(ctx context.Context) error {
	if a.address.IP == nil {
		return nil
	}
	changes, err := localip.Open()
	if err != nil {
		return err
	}
	defer changes.Close()
	for {
		if !localip.Has(a.address.IP) && backoff.Pause(ctx, movedWait) && !localip.Has(a.address.IP) {
			next := localip.Choose(ctx, a.address.IP.To4() != nil, withPorts(a.seeds))
			a.log.Warn("this machine does not have the node's address any more", "address", a.address.IP, "now", next.IP)
			if !next.IP.IsLoopback() {
				return errMoved
			}
		}
		if err := changes.Next(ctx); err != nil {
			return err
		}
	}
}
