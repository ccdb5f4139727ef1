package localip

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Changes is what the kernel says of the addresses of this machine.
type Changes struct{ f *os.File }

// Open begins to listen. Nothing is asked while nothing changes.
func Open() (*Changes, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("listen for changes of addresses: %w", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK,
		Groups: unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR}); err != nil {
		return nil, errors.Join(fmt.Errorf("listen for changes of addresses: %w", err), unix.Close(fd))
	}
	return &Changes{os.NewFile(uintptr(fd), "netlink")}, nil
}

// Next waits for a change. Some that come together may be one, and some that were
// missed as well.
func (c *Changes) Next(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.f.Close() }) // which ends the read
	defer stop()
	_, err := c.f.Read(make([]byte, 4096)) // what is cut off is of no use here
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, unix.ENOBUFS):
		return nil
	}
	return err
}

// Close ends it.
func (c *Changes) Close() { _ = c.f.Close() }
