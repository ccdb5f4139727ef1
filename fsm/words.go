package fsm

import (
	"fmt"

	"github.com/mesita/mesita/api"
)

// count says how many there are of something. Below the level one is spoken of
// as of several.
func (x *tx) count(n int, one string) string {
	if !x.does(PlainWords) {
		return fmt.Sprintf("%d %ss", n, one)
	}
	return api.Count(n, one)
}

// butOnce says what becomes of the tasks on a node that may not start elsewhere
// while it is gone, "" if there are none.
func (x *tx) butOnce(n *api.Node) string {
	k := 0
	for _, t := range x.nodeTaskList(n.ID) {
		if x.onlyOnce(t) {
			k++
		}
	}
	if k == 0 || !x.does(PlainWords) {
		return ""
	}
	return ", but for " + api.OnceText(n.Name, k)
}
