package executor

import (
	"context"
	"encoding/json"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mesita/mesita/api"
)

// notice is what an attempt was told of when it has to leave.
type notice struct {
	by    time.Time // zero: nothing
	again *time.Timer
	tries int
}

func (n *notice) stop() {
	if n.again != nil {
		n.again.Stop()
	}
}

// noticeAgain is when a notice that could not be written is tried again, and
// noticeTries how often that is before the signal is sent without it.
const (
	noticeAgain = 2 * time.Second
	noticeTries = 3
)

// Notice is what the file says that a task finds by MESITA_NOTICE.
type Notice struct {
	Stop    time.Time  `json:"stop"` // when it gets its stop signal, by the clock of the cluster
	Reason  api.Reason `json:"reason"`
	Message string     `json:"message"`
}

// giveNotice tells a running attempt that it will have to leave, once; a later daemon
// tells it again. It does not end it: that the cluster says when it is time.
func (e *Executor) giveNotice(a *attempt) {
	if !a.task.Leaving() || a.state != running || a.notice.by.Equal(*a.task.Leaves) {
		return
	}
	a.notice.by, a.notice.tries = *a.task.Leaves, 0
	e.writeNotice(a)
}

// writeNotice writes the file, and has the signal come after it.
func (e *Executor) writeNotice(a *attempt) {
	text, _ := json.Marshal(Notice{a.notice.by.UTC(), a.task.Reason,
		fmt.Sprintf("others are entitled to what it holds: it gets %s then, SIGKILL %s later, and starts again when there is room", a.spec.StopSignal, a.spec.StopGrace)})
	id, spec := a.id, a.spec
	e.loop.notices.add(func(context.Context) {
		err := e.prepare.Notify(id, spec, append(text, '\n'))
		e.post(func() { e.noticeWritten(a, err) })
	})
}

// noticeWritten sends the signal, once: after the file, or without it where that
// cannot be written for a while.
func (e *Executor) noticeWritten(a *attempt, err error) {
	if a.state != running || !a.task.Leaving() {
		return
	}
	if err != nil {
		if a.notice.again == nil {
			e.log.Warn("a task has no file that says when it has to leave; trying again", "task", a.id, "error", err)
		}
		a.notice.again = e.after(noticeAgain, func() { e.writeNotice(a) })
		if a.notice.tries++; a.notice.tries != noticeTries {
			return
		}
	} else if a.notice.again = nil; a.notice.tries >= noticeTries {
		return
	}
	if a.spec.NoticeSignal == "" {
		return
	}
	sig, task := unix.SignalNum(a.spec.NoticeSignal), a.id
	e.loop.asks.add(func(ctx context.Context) { e.noticeSignal(ctx, task, sig) })
}

func (e *Executor) noticeSignal(ctx context.Context, id string, sig syscall.Signal) {
	if err := e.rt.Signal(ctx, id, sig); err != nil && !gone(err) && ctx.Err() == nil {
		e.log.Warn("a task was not sent its notice signal, and finds the file alone", "task", id, "error", err)
	}
}
