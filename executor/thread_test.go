//go:build startbythread || !(amd64 || arm64)

package executor_test

const byThread = true
