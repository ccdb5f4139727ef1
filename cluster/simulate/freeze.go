package simulate

import "github.com/mesita/mesita/api"

// wantsFreeze reports whether the cluster wants the task to stop in place.
func wantsFreeze(t *api.Task) bool {
	return t.Desired == api.DesiredFreeze && t.State == api.TaskRunning
}

// frozen reports whether the cluster counts the task as stopped in place.
func frozen(t *api.Task) bool { return t.Frozen }

func freezeStatus() api.TaskStatus {
	return api.TaskStatus{State: api.TaskRunning, Frozen: true}
}
