// Package cli is the command line: one file per noun, each command an options
// struct or a few flags, results on stdout, everything else on stderr. It owns
// words, tables, prompts and exit codes; it does not own what happens (the API
// does) nor how a node runs (package cluster; only agent.go and keeper.go know
// it). main is its only caller.
package cli
