package main

import "testing"

// pinned is the commit from which upgrades have to work, and back to which
// until the level of the cluster was raised.
const pinned = "64a1907"

// Node by node a cluster goes from the pinned version to this one, back, and up
// again, under load; nodes of both versions join, and send each other snapshots.
// No request fails that the client does not repeat by itself.
func TestRollingUpgrade(t *testing.T) { chaos(t, "--upgrade-from", pinned, "--rate", "50") }
