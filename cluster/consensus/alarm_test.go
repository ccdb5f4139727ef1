package consensus

import (
	"testing"
	"time"
)

// An alarm rings for what it was set to last, and leaves nothing behind.
func TestAlarm(t *testing.T) {
	for name, open := range map[string]func(func()) alarm{"kernel": newAlarm, "go": newTimerAlarm} {
		t.Run(name, func(t *testing.T) {
			rang := make(chan struct{}, 1)
			a := open(func() { rang <- struct{}{} })
			a.set(time.Hour)
			a.set(0)
			<-rang
			a.set(time.Millisecond)
			<-rang
			a.set(time.Millisecond)
			<-rang
			a.set(time.Hour)
			a.stop()
			a.set(0) // a message of a leader that came too late
			if k, ok := a.(*kernelAlarm); ok {
				if _, err := k.file.Read(nil); k.fd != -1 || err == nil {
					t.Error("the timer of the kernel is still open")
				}
			} else if name == "kernel" {
				t.Error("this kernel has no timers")
			}
		})
	}
}
