package main

// Names of the virtio-serial ports between host and guest.
const (
	portControl = "ctl"
	portStdout  = "out"
	portStderr  = "err"
)

// job is the first message on the control port, host to guest.
type job struct {
	Args   []string
	Env    []string
	Dir    string
	Kernel string   // the kernel's directory in the host's cache
	Rw     []string // host directories the guest may write through to
	SameIO bool     // stdout and stderr are one file: keep their order
}

// event is every later message on the control port. Guest to host: Started,
// Alive now and then, and at last Exit or Error. Host to guest: Signal.
type event struct {
	Started bool   `json:",omitempty"`
	Alive   bool   `json:",omitempty"`
	Exit    *int   `json:",omitempty"`
	Error   string `json:",omitempty"`
	Signal  int    `json:",omitempty"`
}
