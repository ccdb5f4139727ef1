package mesos

import (
	"slices"
	"sync/atomic"

	v1 "github.com/mesita/mesita/api/mesos/v1"
)

// What is counted of calls that were taken, by the names of Mesos' metrics.
const (
	countRegistered = iota
	countReregistered
	countUnregistered
	countLaunched
	countDeclined
	countRevived
	countSuppressed
	countKilled
	countAcknowledged
	countReconciled
	countToExecutor
	countToFramework
	countRequested
)

var callNames = [...]string{
	countRegistered: "messages_register_framework", countReregistered: "messages_reregister_framework", countUnregistered: "messages_unregister_framework",
	countLaunched: "messages_launch_tasks", countDeclined: "messages_decline_offers", countRevived: "messages_revive_offers", countSuppressed: "messages_suppress_offers",
	countKilled: "messages_kill_task", countAcknowledged: "messages_status_update_acknowledgement", countReconciled: "messages_reconcile_tasks",
	countToExecutor: "messages_framework_to_executor", countToFramework: "messages_executor_to_framework", countRequested: "messages_resource_request",
}

// callCounts are since this node started.
type callCounts [len(callNames)]atomic.Uint64

var countedAs = map[v1.SchedulerCallType]int{
	v1.SchedulerCallTypeTeardown: countUnregistered, v1.SchedulerCallTypeDecline: countDeclined, v1.SchedulerCallTypeRevive: countRevived, v1.SchedulerCallTypeSuppress: countSuppressed,
	v1.SchedulerCallTypeKill: countKilled, v1.SchedulerCallTypeAcknowledge: countAcknowledged, v1.SchedulerCallTypeReconcile: countReconciled,
	v1.SchedulerCallTypeMessage: countToExecutor, v1.SchedulerCallTypeRequest: countRequested,
}

// add counts a call of a framework. An ACCEPT that starts nothing is a DECLINE, as with
// Mesos.
func (c *callCounts) add(m *v1.SchedulerCall) {
	as, counted := countedAs[v1.Get(m.Type)]
	switch v1.Get(m.Type) {
	case v1.SchedulerCallTypeSubscribe:
		if as, counted = countRegistered, true; m.FrameworkID != nil {
			as = countReregistered
		}
	case v1.SchedulerCallTypeAccept:
		if as, counted = countDeclined, true; slices.ContainsFunc(m.Accept.Operations, launches) {
			as = countLaunched
		}
	}
	if counted {
		c[as].Add(1)
	}
}

func launches(o *v1.OfferOperation) bool { return o.Launch != nil || o.LaunchGroup != nil }
