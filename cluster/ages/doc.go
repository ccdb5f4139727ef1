// Package ages tells the lives of a cluster apart. A recovery (one voter continues
// alone after the majority was lost) begins a new age: what the other voters of
// old hold from then on is another history, and must not be mixed with it.
//
// It owns how ages are named, compared, written and told of. It does not own
// who is asked for one, or what a node does when it meets another: package
// cluster does, and alone imports this.
package ages
