package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// picture is what is shown at a time on a terminal.
type picture struct {
	bytes.Buffer
	of *os.File
}

// topLive shows what tasks use until somebody leaves it.
func (a *app) topLive(c *cli.Context, u *usageLooks) error {
	screen := fileOf(a.out)
	ctx, leave := context.WithCancel(c.Context)
	defer leave()
	var keys chan string
	if in, ok := a.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		old, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return err
		}
		defer func() { _ = term.Restore(int(in.Fd()), old) }() // nothing to do if it fails
		keys = make(chan string)
		go readKeys(ctx, in, keys) // a read of a terminal cannot be ended: it does with the program
	}
	fmt.Fprint(screen, "\x1b[?1049h\x1b[?25l")       // another screen, so that what was there comes back
	defer fmt.Fprint(screen, "\x1b[?25h\x1b[?1049l") // nobody looks if it fails
	v := topView{u: u, wide: c.String("output") == "wide", heads: !c.Bool("no-headers")}
	if err := u.look(ctx); err != nil {
		return err
	}
	for wait := firstSpan; ; {
		next := time.After(wait)
		for due := false; !due; {
			select {
			case <-ctx.Done():
				return nil // Ctrl-C is how it ends
			case key := <-keys:
				if !v.press(key) {
					return nil
				}
				if wait == firstSpan {
					continue // nothing is known yet
				}
			case <-next:
				if err := u.look(ctx); err != nil {
					return err
				}
				due, wait = true, topInterval(c)
			}
			if err := v.show(screen); err != nil {
				return err
			}
		}
	}
}

// readKeys sends what is typed, until ctx ends.
func readKeys(ctx context.Context, in *os.File, keys chan<- string) {
	for b := make([]byte, 16); ; {
		n, err := in.Read(b)
		if err != nil {
			return
		}
		select {
		case keys <- string(b[:n]):
		case <-ctx.Done():
			return
		}
	}
}

// topView is which rows are shown.
type topView struct {
	u     *usageLooks
	wide  bool
	heads bool
	from  int // the first
	page  int // how many fit
}

// press does what a key says, and reports whether to continue.
func (v *topView) press(key string) bool {
	switch key {
	case "q", "Q", "\x03", "\x04":
		return false
	case "\x1b[A", "\x1bOA", "k":
		v.from--
	case "\x1b[B", "\x1bOB", "j":
		v.from++
	case "\x1b[5~":
		v.from -= v.page
	case "\x1b[6~", " ":
		v.from += v.page
	}
	for i, o := range topOrders {
		if len(key) == 1 && o.key == key[0] {
			v.u.order = topOrder{at: i, back: v.u.order == topOrder{at: i}} // once more is the other way round
			v.from = 0
			v.u.sort()
		}
	}
	return true
}

func (v *topView) show(screen *os.File) error {
	_, height, err := term.GetSize(int(screen.Fd()))
	if err != nil || height < 5 {
		height = 24
	}
	out := &picture{of: screen}
	if err := v.u.totals(out); err != nil {
		return err
	}
	v.page = max(1, height-bytes.Count(out.Bytes(), []byte("\n"))-2)
	v.from = max(0, min(v.from, len(v.u.rows)-v.page))
	rows := v.u.rows[v.from:min(len(v.u.rows), v.from+v.page)]
	if err := table(out, slices.Clip(rows), usageColumns, v.wide, v.heads); err != nil {
		return err
	}
	text := bytes.ReplaceAll(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\n"), []byte("\x1b[K\r\n")) // a raw terminal goes down alone
	_, err = fmt.Fprintf(screen, "\x1b[H%s\x1b[K\x1b[J", text)
	return err
}
