package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/term"
)

// picture is what is shown at a time on a terminal.
type picture struct {
	colours bool
	bytes.Buffer
	of *os.File
}

// topLive shows what tasks use until somebody leaves it, which a node that hangs does not
// put off.
func (a *app) topLive(c *cli.Context, u *usageLooks) error {
	screen := fileOf(a.out)
	var asking sync.WaitGroup
	defer asking.Wait()
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
	fmt.Fprint(screen, "\x1b[?1049h\x1b[?25l\x1b[Hasking the cluster; Ctrl-C leaves") // another screen, so that what was there comes back
	defer fmt.Fprint(screen, "\x1b[?25h\x1b[?1049l")                                  // nobody looks if it fails
	v := topView{u: u, wide: c.String("output") == "wide", heads: !c.Bool("no-headers"), colours: coloured(a.out)}
	answers := make(chan look, 1) // one is asked for at a time
	ask := func(first bool) { asking.Go(func() { answers <- u.ask(ctx, first) }) }
	ask(true)
	var next <-chan time.Time
	for looks := 0; ; {
		select {
		case <-ctx.Done():
			return nil // Ctrl-C is how it ends
		case key := <-keys:
			if !v.press(key) {
				return nil
			}
		case <-next:
			ask(false)
			continue
		case l := <-answers:
			if l.err != nil {
				return l.err
			}
			u.take(l)
			looks++
			if next = time.After(topInterval(c)); looks == 1 {
				next = time.After(l.wait())
			}
		}
		if looks < 2 {
			continue // nothing is known yet
		}
		if err := v.show(screen); err != nil {
			return err
		}
	}
}

// topView is which rows are shown.
type topView struct {
	u       *usageLooks
	wide    bool
	heads   bool
	colours bool
	from    int // the first
	page    int // how many fit
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

// show draws what fits, each row in one line: one that wrapped would push the first out.
func (v *topView) show(screen *os.File) error {
	width, height, err := term.GetSize(int(screen.Fd()))
	if err != nil || width == 0 || height == 0 {
		width, height = 80, 24
	}
	out := &picture{of: screen, colours: v.colours}
	if err := v.u.totals(out); err != nil {
		return err
	}
	v.u.leftOut(out)
	fmt.Fprintln(out)
	v.page = max(1, height-bytes.Count(out.Bytes(), []byte("\n"))-1)
	v.from = max(0, min(v.from, len(v.u.rows)-v.page))
	rows := v.u.rows[v.from:min(len(v.u.rows), v.from+v.page)]
	if err := table(out, slices.Clip(rows), usageColumns, v.wide, v.heads); err != nil {
		return err
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	lines = lines[:min(len(lines), height)]
	for i := range lines {
		lines[i] = cut(lines[i], width)
	}
	// A raw terminal goes down alone, and at the end of a full line it would clear that one's last character.
	text := "\x1b[H\x1b[K" + strings.Join(lines, "\r\n\x1b[K")
	if len(lines) < height {
		text += "\r\n\x1b[J"
	}
	_, err = screen.WriteString(text)
	return err
}
