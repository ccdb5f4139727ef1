package cli

import (
	"reflect"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/urfave/cli/v2"
)

// Where nodes run each command about this machine does something. Elsewhere it is in the
// help, and says why it does nothing.
func TestCommandsAboutThisMachine(t *testing.T) {
	does := reflect.ValueOf((&app{}).here())
	for i := range does.NumField() {
		if does.Field(i).IsNil() == nodesRunHere {
			t.Errorf("%s is there: %v, and nodes run here: %v", does.Type().Field(i).Name, !nodesRunHere, nodesRunHere)
		}
	}
	c := ofThisMachine(&cli.Command{Name: "start", Usage: "start this node"}, nil)
	if c.Usage != "start this node (Linux)" {
		t.Errorf("where it cannot be done help says %q", c.Usage)
	}
	err := c.Action(nil)
	if api.ErrorCode(err) != api.CodeInvalid || !strings.Contains(err.Error(), "nodes run on Linux") {
		t.Errorf("where it cannot be done it says: %v", err)
	}
}
