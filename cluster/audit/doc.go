// Package audit keeps on the disk of a node who did what, and who was refused.
//
// It owns the folder with its files: the chain that the records are, how long
// they stay, and what to do about a file that is damaged. It does not own what is
// recorded: api/server tells it, and asks it; cluster runs it. An audit is each
// node's own.
//
// A file is lines of JSON, one for each record. A record has its number, the
// SHA-256 of the record before, and its own; so one that is changed, taken out or
// put in between is found. Whoever is root of the node can write all of it anew:
// the head of the chain is told to the cluster from time to time (see Log.Head),
// and what comes before the last head that was told cannot be changed unseen.
//
// Who did something does not wait for the disk. What is on its way to it when the
// node is killed is lost, and up to half a minute of it with a power cut; the
// events of changes are in the cluster's log nevertheless.
package audit
