//go:build startbythread || !(amd64 || arm64)

package keeper_test

const byThread = true
