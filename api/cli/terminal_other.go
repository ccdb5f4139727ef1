//go:build !windows

package cli

import "io"

// understandColours has nothing to do: terminals do.
func understandColours(...io.Writer) {}
