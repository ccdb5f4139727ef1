package keeper

import "net"

// Answers reports whether a node has a keeper, given the folder of its first; it
// starts none.
func Answers(dir string) bool {
	for _, d := range folders(dir) {
		if answers(d) {
			return true
		}
	}
	return false
}

func answers(dir string) bool {
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
