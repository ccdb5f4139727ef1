package logs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"
)

// Options chooses what a Reader returns.
type Options struct {
	Follow bool      // continue until the end mark
	Tail   int       // only the last so many lines; 0 = all, below 0 = none of what is there
	Since  time.Time // only lines that began then or later
	After  Position  // only what came after
	Stdout bool      // with neither Stdout nor Stderr: both
	Stderr bool
	// Idle is called where Next would wait; nil = nobody wants to know. Its error
	// is that of Next.
	Idle func() error
}

func (o Options) wants(s Stream) bool {
	return s == Stdout && (o.Stdout || !o.Stderr) || s == Stderr && (o.Stderr || !o.Stdout)
}

func (o Options) after(s Stream) int64 {
	if s == end {
		return 0
	}
	return o.After[s-1]
}

// Position is how many bytes of standard output and of standard error there
// were; of both none where it is not known.
type Position [2]int64

// Entry is one piece of a log, as the task wrote it, or that there is one no
// more. It may hold several lines or a part of one.
type Entry struct {
	Time   time.Time // of what is missing: not later than
	Stream Stream
	Data   []byte   // valid until the next call of Next
	Pos    Position // after it
	// Missing is how many bytes of the stream are missing here; Unknown that it
	// cannot be told how many, and of which stream. There is no Data then.
	Missing int64
	Why     string
}

// Unknown is a number of bytes that cannot be told.
const Unknown = -1

// Reader reads the log of one attempt from its oldest segment on.
type Reader struct {
	dir   string
	opts  Options
	cur   *segment
	watch *watch
	ended bool
	at    [Stderr + 1]track
	holed string // why something may be missing, while no mark has told how much
	lost  string // why it cannot be told how much is missing, until that was said
	last  time.Time
	rest  *Entry // to come after one that tells of a gap
}

// Open reads the log in dir. A missing folder is an empty log; with Follow it
// is waited for.
func Open(dir string, opts Options) (*Reader, error) {
	r := &Reader{dir: dir, opts: opts}
	r.rewind()
	var err error
	switch {
	case opts.Tail != 0:
		err = r.seekTail()
	case opts.Since.IsZero() && opts.After != Position{}:
		err = r.jump(r.beforeWanted)
	}
	if err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// beforeWanted reports whether all that is wanted comes after a place.
func (r *Reader) beforeWanted(at [Stderr + 1]place) bool {
	for s := Stdout; s <= Stderr; s++ {
		if r.opts.wants(s) && at[s].bytes > r.opts.after(s) {
			return false
		}
	}
	return true
}

// rewind places the reader at the start.
func (r *Reader) rewind() {
	r.leave()
	r.ended, r.holed, r.lost = false, "", ""
	r.at = [Stderr + 1]track{Stdout: {told: r.opts.After[0]}, Stderr: {told: r.opts.After[1]}}
}

// Close releases the reader's files.
func (r *Reader) Close() error {
	r.leave()
	if r.watch != nil {
		err := r.watch.close()
		r.watch = nil
		return err
	}
	return nil
}

func (r *Reader) leave() {
	if r.cur != nil {
		r.cur.close()
		r.cur = nil
	}
}

// Next returns the next entry; io.EOF at the end.
func (r *Reader) Next(ctx context.Context) (Entry, error) {
	if e := r.rest; e != nil {
		r.rest = nil
		return *e, nil
	}
	for {
		f, err := r.step()
		over := r.ended || !r.opts.Follow
		switch {
		case err == nil:
			if e, ok := r.entry(f); ok {
				return e, nil
			}
		case !errors.Is(err, io.EOF):
			return Entry{}, err
		default:
			if e, ok := r.untold(over); ok {
				return e, nil
			}
			if over {
				return Entry{}, io.EOF
			}
			if r.opts.Idle != nil {
				if err := r.opts.Idle(); err != nil {
					return Entry{}, err
				}
			}
			if err := r.wait(ctx); err != nil {
				return Entry{}, err
			}
		}
	}
}

// step reads one frame that is not a mark and keeps the place, which is after it.
// It goes over to the next segment where one ends.
func (r *Reader) step() (frame, error) {
	for {
		if r.cur != nil {
			f, err := r.cur.next()
			var bad *CorruptError
			switch {
			case err == nil && f.isMark():
				r.mark(f)
				continue
			case err == nil:
				r.follow(f)
				return f, nil
			case errors.As(err, &bad):
				if err := r.giveUp(bad); err != nil {
					return frame{}, err
				}
				r.ended = true // nobody can follow a log whose end is unreadable
				continue
			case !errors.Is(err, io.EOF):
				return frame{}, fmt.Errorf("read %s: %w", r.cur.path, err)
			}
		}
		moved, err := r.advance()
		if err != nil {
			return frame{}, err
		}
		if !moved {
			return frame{}, io.EOF
		}
	}
}

// giveUp makes the damaged segment one with nothing more in it.
func (r *Reader) giveUp(bad *CorruptError) error {
	r.holed = bad.Error()
	return r.cur.empty()
}

// advance opens the next segment if there is one. A segment that has a
// successor gets no more frames, but may have got some since it was last read.
func (r *Reader) advance() (bool, error) {
	seqs, err := segments(r.dir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, err
	}
	before := 0
	if r.cur != nil {
		before = r.cur.seq
	}
	for _, seq := range seqs {
		if seq <= before {
			continue
		}
		if r.cur != nil && r.cur.more() {
			return true, nil
		}
		if r.cur != nil && r.cur.buf.Buffered() > 0 { // only the last segment may end within a frame
			if err := r.giveUp(&CorruptError{r.cur.path, r.cur.off}); err != nil {
				return false, err
			}
		}
		s, err := openSegment(r.dir, seq)
		if errors.Is(err, os.ErrNotExist) {
			continue // rotated away
		}
		if err != nil {
			return false, err
		}
		if seq != before+1 && r.holed == "" {
			r.holed = whyRotated
		}
		r.leave()
		r.cur = s
		return true, nil
	}
	return false, nil
}

// entry is what is to be returned of a frame.
func (r *Reader) entry(f frame) (Entry, bool) {
	if f.stream == end || !r.opts.wants(f.stream) {
		return Entry{}, false
	}
	t := &r.at[f.stream]
	if f.Time.Before(r.opts.Since) {
		t.unwanted()
		return Entry{}, false
	}
	e := f.Entry
	if e.Data = t.fresh(t.fromLine(f.Data)); len(e.Data) == 0 {
		return Entry{}, false
	}
	e.Pos = r.position()
	start := t.bytes - int64(len(e.Data))
	gap := Entry{Time: e.Time, Stream: e.Stream, Pos: e.Pos, Why: t.why}
	switch {
	case r.lost != "":
		gap.Missing, gap.Why, r.lost = Unknown, r.lost, ""
	case !t.unsure && start > t.told:
		gap.Missing = start - t.told
		if gap.Pos != (Position{}) {
			gap.Pos[e.Stream-1] = start
		}
	}
	t.told = t.bytes
	if gap.Missing == 0 {
		return e, true
	}
	r.rest = &e
	return gap, true
}

// untold is what is missing where nothing more is there, for good or for now.
func (r *Reader) untold(over bool) (Entry, bool) {
	for s := Stdout; s <= Stderr; s++ {
		t := &r.at[s]
		if !r.opts.wants(s) || t.unsure || t.bytes <= t.told {
			continue
		}
		e := Entry{Time: r.last, Stream: s, Pos: r.position(), Missing: t.bytes - t.told, Why: t.why}
		t.told = t.bytes
		return e, true
	}
	if r.lost == "" {
		r.lost = r.holed
	}
	if !over || r.lost == "" {
		return Entry{}, false
	}
	e := Entry{Time: r.last, Stream: Stdout, Missing: Unknown, Why: r.lost}
	if !r.opts.wants(Stdout) {
		e.Stream = Stderr
	}
	r.lost, r.holed = "", ""
	return e, true
}

func (r *Reader) position() Position {
	if r.at[Stdout].unsure || r.at[Stderr].unsure {
		return Position{}
	}
	return Position{r.at[Stdout].bytes, r.at[Stderr].bytes}
}
