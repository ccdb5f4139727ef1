// Package mesosgo holds the messages of package v1 against those of mesos-go,
// and builds its programs: see the script build.
package mesosgo
