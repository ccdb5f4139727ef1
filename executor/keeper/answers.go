package keeper

import "net"

// Answers tells whether a keeper is there for a folder; it starts none.
func Answers(dir string) bool {
	path, done, err := socketPath(dir)
	if err != nil {
		return false
	}
	defer done()
	c, err := net.Dial("unix", path)
	if err != nil {
		return false
	}
	_ = c.Close() // it was only to see who is there
	return true
}
