//go:build !linux

package auth

import "net"

// credOf knows nobody: nodes, which ask, run on Linux.
func credOf(net.Conn) *cred { return nil }
