// The real programs and messages of mesos-go, which tests hold ours against.
// A module of its own: what they need is old, and stays out of the binary.
module github.com/mesita/mesita/integration/mesosgo

go 1.26.0

require (
	github.com/gogo/protobuf v1.3.2
	github.com/mesita/mesita v0.0.0
	github.com/mesos/mesos-go v0.0.11
)

require (
	github.com/beorn7/perks v1.0.1 // indirect
	github.com/golang/protobuf v1.5.0 // indirect
	github.com/google/uuid v1.6.0 // indirect
	github.com/munnerz/goautoneg v0.0.0-20191010083416-a7dc8b61c822 // indirect
	github.com/pborman/uuid v1.2.1 // indirect
	github.com/pquerna/ffjson v0.0.0-20190930134022-aa0246cd15f7 // indirect
	github.com/prometheus/client_golang v1.25.0 // indirect
	github.com/prometheus/client_model v0.6.3 // indirect
	github.com/prometheus/common v0.72.0 // indirect
	github.com/prometheus/procfs v0.22.0 // indirect
	golang.org/x/sys v0.49.0 // indirect
	google.golang.org/protobuf v1.36.12 // indirect
)

replace github.com/mesita/mesita => ../..

// The example scheduler needs the old one; of ours only packages are imported
// that need none.
replace github.com/prometheus/client_golang => github.com/prometheus/client_golang v0.9.4
