package cli

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/api/cli/option"
	"github.com/mesita/mesita/api/client"
	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"
)

func (a *app) logsCommand() *cli.Command {
	return &cli.Command{
		Name: "logs", Usage: "print what tasks printed", ArgsUsage: "JOB|TASK", Description: example("mesita logs web -f", "mesita logs 57.12 --previous --tail 20", "mesita logs web --since 10m -t", "mesita logs web --since 2h --until 1h --grep 'timeout|refused'"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "keep printing until the task ends; of a job, also with tasks that start later, until it ends"},
			&cli.BoolFlag{Name: "previous", Usage: "of the attempt before"},
			&cli.IntFlag{Name: "attempt", Usage: "of the attempt `NUMBER`"},
			&cli.IntFlag{Name: "tail", Usage: "only the last `NUMBER` lines"},
			&cli.StringFlag{Name: "since", Usage: "only lines not older than `TIME`: how long ago, or as in RFC 3339"},
			&cli.StringFlag{Name: "until", Usage: "only lines not newer than `TIME`, as --since has it"},
			&cli.StringFlag{Name: "grep", Usage: "only lines that match `PATTERN`, a regular expression of Go's regexp: 'a.*b', (?i)error"},
			&cli.BoolFlag{Name: "timestamps", Aliases: []string{"t"}, Usage: "begin each line with its time and zone"},
			&cli.BoolFlag{Name: "stdout", Usage: "only standard output"},
			&cli.BoolFlag{Name: "stderr", Usage: "only standard error"},
		},
		Action: func(c *cli.Context) error {
			if err := args(c, 1, 1, "logs JOB|TASK"); err != nil {
				return err
			}
			cl, err := a.client(c)
			if err != nil {
				return err
			}
			return a.logs(c, cl)
		},
	}
}

func (a *app) logs(c *cli.Context, cl *client.Client) error {
	o, err := logOptions(c)
	if err != nil {
		return err
	}
	w, err := a.lineWriter(c)
	if err != nil {
		return err
	}
	defer w.end()
	id, err := idHere(c.Context, cl, c.Args().First())
	if err != nil {
		return err
	}
	t, err := cl.Task(c.Context, id)
	switch {
	case err == nil:
		if o.Follow {
			a.notStarted(id, t)
		}
		return cl.Logs(c.Context, id, o, w.write)
	case api.ErrorCode(err) != api.CodeNotFound:
		return err
	}
	tasks, err := cl.Tasks(c.Context, id, "", true)
	if err != nil {
		return noJobOrTask(id, err)
	}
	if len(tasks) == 0 && !o.Follow {
		if _, err := cl.Job(c.Context, id); err != nil {
			return noJobOrTask(id, err)
		}
		return nil
	}
	if o.Follow && o.Attempt == 0 {
		return a.followJob(c, cl, id, o, w)
	}
	if o.Follow && len(tasks) > maxFollowed {
		return usage("job %s has %s: follow an attempt of up to %d, or name one task", id, api.Count(len(tasks), "task"), maxFollowed)
	}
	w.prefix = len(tasks) > 1
	return a.logsOf(c, cl, id, tasks, o, w)
}

// logsOf prints those of all tasks of a job.
func (a *app) logsOf(c *cli.Context, cl *client.Client, id string, tasks []*api.Task, o client.LogOptions, w *lineWriter) error {
	if o.Follow {
		a.notStarted(id, tasks...)
	}
	none := make([]error, len(tasks))
	g, ctx := errgroup.WithContext(c.Context)
	if !o.Follow {
		g.SetLimit(1) // one after the other, so that they do not mix
	}
	for i, t := range tasks {
		g.Go(func() error {
			err := cl.Logs(ctx, t.ID, o, w.write)
			if !o.Follow {
				w.end()
			}
			if client.NoLog(err) { // which is not a failure beside those of other tasks
				none[i], err = err, nil
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if i := slices.Index(none, nil); i < 0 {
		return none[len(none)-1]
	}
	if !o.Follow {
		a.notStarted(id, tasks...)
	}
	return nil
}

func logOptions(c *cli.Context) (client.LogOptions, error) {
	o := client.LogOptions{Attempt: c.Int("attempt"), Follow: c.Bool("follow"), Tail: c.Int("tail")}
	switch {
	case c.IsSet("attempt") && c.Bool("previous"):
		return o, usage("--attempt names one attempt and --previous another: give one of them")
	case c.IsSet("attempt") && o.Attempt < 1:
		return o, api.FieldErrorf("attempt", "%d is not an attempt: the first is 1", o.Attempt)
	case c.Bool("previous"):
		o.Attempt = -1
	}
	switch {
	case o.Tail < 0:
		return o, api.FieldErrorf("tail", "%d is not a number of lines: give 0 or more", o.Tail)
	case c.IsSet("tail") && o.Tail == 0:
		o.Tail = -1
	}
	if c.Bool("stdout") != c.Bool("stderr") {
		o.Stream = "stdout"
		if c.Bool("stderr") {
			o.Stream = "stderr"
		}
	}
	if o.Since = c.String("since"); o.Since != "" || c.IsSet("since") {
		if _, err := api.ParseWhen(o.Since, time.Now()); err != nil {
			return o, option.InFlag("since", err)
		}
	}
	return o, nil
}

// lineWriter prints as the flags say.
func (a *app) lineWriter(c *cli.Context) (*lineWriter, error) {
	w := &lineWriter{app: a, times: c.Bool("timestamps")}
	var err error
	if c.IsSet("until") {
		if w.until, err = api.ParseWhen(c.String("until"), time.Now()); err != nil {
			return nil, option.InFlag("until", err)
		}
		if c.Bool("follow") {
			return nil, usage("--until ends a log, and --follow (-f) continues it: give one of them")
		}
	}
	if c.IsSet("grep") {
		if w.grep, err = regexp.Compile(c.String("grep")); err != nil {
			return nil, api.FieldErrorf("grep", "%v", err)
		}
	}
	return w, nil
}

// notStarted says which of the tasks cannot have a log yet.
func (a *app) notStarted(id string, tasks ...*api.Task) {
	n := 0
	for _, t := range tasks {
		if t.Pending() && len(t.Earlier) == 0 {
			n++
		}
	}
	if n > 0 {
		fmt.Fprintf(a.err, "mesita: not started yet: %s; see `mesita why %s`\n", api.Count(n, "task"), id)
	}
}

// maxLine bounds what of a line is kept until it ends. A longer one that is to
// have a head is printed as several.
const maxLine = 256 << 10

// lineWriter prints pieces of logs: as they are, or as whole lines with a head
// where asked for.
type lineWriter struct {
	app    *app
	times  bool
	prefix bool
	until  time.Time      // newer lines are left out; zero: none is
	grep   *regexp.Regexp // lines that do not match are left out; nil: none is

	mu   sync.Mutex
	open map[string]*openLine // by task and stream
}

// openLine is the beginning of a line.
type openLine struct {
	client.LogLine // its newest piece
	text           []byte
}

func (l *lineWriter) write(p client.LogLine) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.until.IsZero() && p.Time.After(l.until) {
		return nil
	}
	if p.Missing != nil {
		_, err := fmt.Fprintf(l.app.err, "mesita: %s: %s\n", p.Task, printable(p.Missing.String()))
		return err
	}
	if !l.times && !l.prefix && l.grep == nil {
		_, err := l.out(p).Write(p.Data)
		return err
	}
	if l.open == nil {
		l.open = map[string]*openLine{}
	}
	key := p.Task + " " + p.Stream
	o := l.open[key]
	if o == nil {
		o = &openLine{}
		l.open[key] = o
	}
	o.LogLine = p
	for rest := p.Data; len(rest) > 0; {
		n := bytes.IndexByte(rest, '\n')
		if n < 0 && len(o.text)+len(rest) < maxLine {
			o.text = append(o.text, rest...)
			break
		}
		line := rest
		if rest = nil; n >= 0 {
			line, rest = line[:n], line[n+1:]
		}
		o.text = append(o.text, line...)
		if err := l.print(o); err != nil {
			return err
		}
	}
	return nil
}

// name has the lines from now on begin with their task: there are several.
func (l *lineWriter) name() {
	l.mu.Lock()
	l.prefix = true
	l.mu.Unlock()
}

func (l *lineWriter) out(p client.LogLine) io.Writer {
	if p.Stream == "stderr" {
		return l.app.err
	}
	return l.app.out
}

// print prints a line with its head.
func (l *lineWriter) print(o *openLine) (err error) {
	if l.grep == nil || l.grep.Match(o.text) {
		_, err = l.out(o.LogLine).Write(append(append([]byte(l.head(o.LogLine)), o.text...), '\n'))
	}
	if o.text = o.text[:0]; cap(o.text) > 4<<10 {
		o.text = nil
	}
	return err
}

// head is what a line begins with.
func (l *lineWriter) head(p client.LogLine) string {
	head := ""
	if l.times {
		head = p.Time.Local().Format("2006-01-02T15:04:05.000Z07:00") + " "
	}
	if l.prefix {
		head += p.Task + "  "
	}
	return head
}

// end prints lines that never ended.
func (l *lineWriter) end() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(l.open)) {
		if o := l.open[key]; len(o.text) > 0 {
			_ = l.print(o) // nobody reads if it fails
		}
	}
	clear(l.open)
}
