// Package client is the typed Go client of mesita's HTTP API. It owns
// addresses, retries and streams; it does not own how results are shown (the
// command line does) nor what they mean (package api). The command line and
// programs of users call it.
package client
