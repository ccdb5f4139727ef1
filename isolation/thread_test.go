//go:build startbythread || !(amd64 || arm64)

package isolation

const firstPID, shownPIDs = "1", 2
