package datadir

const executorsFile = "executors.json"

// Executors is what the executors of frameworks that run here know this node by, and find
// again after a restart of the daemon.
type Executors struct {
	Addr string `json:"addr"` // IP:PORT of their API
	Key  []byte `json:"key"`  // their tokens are made with
}

// LoadExecutors reads it; nil if there is none.
func (d *Dir) LoadExecutors() (*Executors, error) {
	e := new(Executors)
	found, err := d.read(executorsFile, e, "remove it, and end the executors of frameworks that run here, which would not find this node")
	if !found || err != nil {
		return nil, err
	}
	return e, nil
}

// SaveExecutors writes it.
func (d *Dir) SaveExecutors(e *Executors) error { return d.write(executorsFile, e) }
