package api

import "iter"

// EventKinds are what an event may be of.
func EventKinds() []Choice[EventKind] {
	return []Choice[EventKind]{
		{EventJobCreated, "a job was submitted"},
		{EventJobUpdated, "it has another version, or other settings"},
		{EventJobScaled, "it is to have another number of tasks"},
		{EventJobStopped, "it was told to stop"},
		{EventJobEnded, "its last task ended"},
		{EventJobRemoved, "it was forgotten"},
		{EventJobHidden, "it went where the reader does not see it"},
		{EventTaskCreated, "a job has one more task"},
		{EventTaskPlaced, "it has a node"},
		{EventTaskState, "it starts, runs, ends or is lost"},
		{EventTaskRequeued, "it waits again"},
		{EventTaskStop, "it was told to stop"},
		{EventTaskRemoved, "it was forgotten"},
		{EventTaskUpdated, "it is otherwise, in the same state"},
		{EventTaskShown, "its job came where the reader sees it"},
		{EventIncidentShown, "what it is about came where the reader sees it"},
		{EventNodeJoined, "a node joined"},
		{EventNodeState, "it is ready, drains, or is out of reach"},
		{EventNodeUpdated, "it is otherwise, in the same state"},
		{EventNodeRemoved, "it was removed"},
		{EventTokenCreated, "a token was made"},
		{EventTokenUsed, "a node joined by it"},
		{EventTokenRevoked, "it was revoked"},
		{EventTokenRights, "it has other rights"},
		{EventPartition, "a partition was made or changed"},
		{EventPartitionGone, "it was removed"},
		{EventPartitionMoved, "its guarantee moved by itself"},
		{EventTaskPreempted, "it is preempted: it is told, frozen or stopped"},
		{EventTaskThawed, "it continues"},
		{EventIncidentOpened, "something is wrong"},
		{EventIncidentOver, "it is over"},
		{EventIncidentUpdated, "more is known of it"},
		{EventIncidentRemoved, "it was forgotten"},
		{EventOfferMade, "a framework was offered room"},
		{EventOfferGone, "that was used, given back or taken back"},
		{EventFrameworkConnected, "a framework connected, or did so anew"},
		{EventFrameworkUpdated, "it said something else of itself"},
		{EventFrameworkAway, "it is not connected any more"},
		{EventFrameworkRemoved, "it ended, with all that it ran"},
		{EventReservation, "room of a node was reserved, or given back"},
		{EventBlobAdded, "a program was uploaded"},
		{EventBlobRemoved, "it was removed"},
		{EventClusterCreated, "the cluster was made"},
		{EventClusterRestored, "it was recovered from one node"},
		{EventClusterLevel, "all its programs know a higher level"},
		{EventClusterSet, "a setting of it changed"},
		{EventCAKey, "a step of a change of the CA's key"},
		{EventGossipKey, "a step of a change of gossip's key"},
		{EventsMissed, "those up to its index are not in that node's history"},
	}
}

// Choices yields what the kind may be, and what that means.
func (EventKind) Choices() iter.Seq2[string, string] { return pairs(EventKinds()) }
