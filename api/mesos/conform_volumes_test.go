package mesos_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/mesita/mesita/api"
	"github.com/mesita/mesita/fsm"
)

// volume is disk that is reserved for a role, as a volume.
func volume(role, id, path string, mb float64) obj {
	return withDisk(reservedFor(role, true, scalar("disk", mb)), obj{"persistence": obj{"id": id}, "volume": obj{"container_path": path, "mode": "RW"}})
}

func withDisk(r, disk obj) obj {
	r = maps.Clone(r)
	r["disk"] = disk
	return r
}

// volumesIn are the ids of the volumes of offers, with their sizes and paths.
func volumesIn(offers []offered) map[string]string {
	out := map[string]string{}
	for _, o := range offers {
		resources, _ := at(o.obj, "resources").([]any)
		for _, r := range resources {
			if at(r, "disk") != nil {
				out[str(r, "disk", "persistence", "id")] = fmt.Sprint(at(r, "scalar", "value"), " at ", str(r, "disk", "volume", "container_path"))
			}
		}
	}
	return out
}

// plainDisk is how much disk of offers is reserved, and no volume.
func plainDisk(offers []offered) (mb float64) {
	for _, o := range offers {
		resources, _ := at(o.obj, "resources").([]any)
		for _, r := range resources {
			if at(r, "name") == "disk" && at(r, "disk") == nil && at(r, "reservations") != nil {
				mb += at(r, "scalar", "value").(float64)
			}
		}
	}
	return mb
}

func cpusIn(offers []offered) (cpus float64) {
	for _, o := range offers {
		cpus += o.cpus
	}
	return cpus
}

// offersUntil gathers offers until they are as they should be: what is free may be offered
// in parts.
func (f *reserver) offersUntil(ok func([]offered) bool) (all []offered) {
	f.of.t.Helper()
	for !ok(all) {
		all = append(all, f.offers()...)
	}
	return all
}

func volumeWorld(c *cluster) *reserver {
	c.do(&fsm.NodeHello{Meta: c.meta(), ID: "oak", Hello: api.NodeHello{Addr: "10.0.0.1:5050", Level: int(fsm.Newest), Resources: api.Resources{CPUs: 4000, Mem: 8 << 30, Disk: 2 << 30}}})
	c.do(&fsm.PartitionPut{Meta: c.meta(), Partition: &api.Partition{Path: "db", Weight: 1000, Guarantee: api.AmountsOf(api.Resources{CPUs: 4000, Mem: 4 << 30, Disk: 1 << 30})}})
	return &reserver{framework: c.nodes["oak"].subscribe(obj{"framework_info": info(obj{"roles": []any{"db"}, "capabilities": capable("MULTI_ROLE", "RESERVATION_REFINEMENT")})})}
}

// Disk is reserved, made a volume, used and, once the task ended, offered with its id and
// path and destroyed, which leaves it reserved; one in use is not destroyed.
func TestCreateAndDestroyVolume(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := volumeWorld(c)
		disk, v1 := reservedFor("db", true, scalar("disk", 300)), volume("db", "v1", "data", 200)
		f.takes(ids(f.offers()...),
			operationOf("reserve", "r1", obj{"resources": []any{disk}}),
			operationOf("create", "c1", obj{"volumes": []any{v1}}),
			operationOf("create", "c2", obj{"volumes": []any{volume("db", "v1", "data", 50)}}),
			operationOf("create", "c3", obj{"volumes": []any{volume("db", "v2", "data", 150)}}),
			obj{"type": "LAUNCH", "launch": obj{"task_infos": []any{task("a", "oak", obj{"resources": []any{scalar("cpus", 1), scalar("mem", 64),
				volume("db", "v1", "var/data", 200)}})}}},
			operationOf("destroy", "d1", obj{"volumes": []any{v1}}))
		f.operation("r1", "OPERATION_FINISHED", "")
		f.operation("c1", "OPERATION_FINISHED", "")
		f.operation("c2", "OPERATION_ERROR", "a volume v1 on node oak already")
		f.operation("c3", "OPERATION_ERROR", "not as much is reserved so")
		f.operation("d1", "OPERATION_ERROR", "volume v1 is in use")
		runs := c.store.View().FrameworkTask(f.id, "a")
		made := c.store.View().Reservation("oak", api.VolumeID("db", "v1"))
		if runs == nil || made == nil {
			t.Fatalf("%+v of %+v", runs, made)
		}
		if m := runs.Framework.Spec.Volumes; len(m) != 1 || m[0].Path != "var/data" || m[0].Folder != made.Folder() {
			t.Errorf("the task finds %+v, of %+v", m, made)
		}
		if u := c.store.View().Usage("db"); u.Allocated.Disk != 300<<20 {
			t.Errorf("the partition holds %s", u.Allocated)
		}
		if got := c.store.View().VolumeFolders("oak"); len(got) != 1 || got[0] != made.Folder() {
			t.Errorf("the node is to keep %v", got)
		}
		c.becomes(f.id, "a", api.TaskFinished)
		f.past("UPDATE")
		f.call("REVIVE", nil)
		o := f.offersUntil(func(o []offered) bool { return len(volumesIn(o)) > 0 && plainDisk(o) == 100 })
		if got := volumesIn(o); len(got) != 1 || got["v1"] != "200 at data" {
			t.Errorf("offered are %v", got)
		}
		f.takes(ids(o...), operationOf("destroy", "d2", obj{"volumes": []any{volume("db", "v1", "data", 100)}}),
			operationOf("unreserve", "u1", obj{"resources": []any{v1}}),
			operationOf("destroy", "d3", obj{"volumes": []any{v1}}),
			operationOf("unreserve", "u2", obj{"resources": []any{disk}}))
		f.operation("u1", "OPERATION_ERROR", "DESTROY it")
		f.operation("d2", "OPERATION_ERROR", "it is destroyed as a whole")
		f.operation("d3", "OPERATION_FINISHED", "")
		f.operation("u2", "OPERATION_FINISHED", "")
		if v := c.store.View(); v.ReservationCount() != 0 || len(v.VolumeFolders("oak")) != 0 {
			t.Errorf("%d reservations are left, and %v", v.ReservationCount(), v.VolumeFolders("oak"))
		}
	})
}

// What cannot be a volume is refused, with what is wrong.
func TestVolumeRefused(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := volumeWorld(c)
		f.takes(ids(f.offers()...), operationOf("reserve", "r0", obj{"resources": []any{reservedFor("db", true, scalar("disk", 300))}}))
		f.operation("r0", "OPERATION_FINISHED", "")
		disk := reservedFor("db", true, scalar("disk", 10))
		rw := obj{"container_path": "data", "mode": "RW"}
		i := 0
		for why, r := range map[string]obj{
			"from unreserved resources":                  withDisk(scalar("disk", 10), obj{"persistence": obj{"id": "v"}, "volume": rw}),
			"does not have DiskInfo":                     disk,
			"DiskInfo is set but empty":                  withDisk(disk, obj{}),
			"Non-persistent volume not supported":        withDisk(disk, obj{"volume": rw}),
			"Expecting 'volume' to be set":               withDisk(disk, obj{"persistence": obj{"id": "v"}}),
			"Expecting 'host_path' to be unset":          withDisk(disk, obj{"persistence": obj{"id": "v"}, "volume": obj{"container_path": "data", "mode": "RW", "host_path": "/etc"}}),
			"give them the mode RW":                      withDisk(disk, obj{"persistence": obj{"id": "v"}, "volume": obj{"container_path": "data", "mode": "RO"}}),
			"leave 'disk.source' out":                    withDisk(disk, obj{"persistence": obj{"id": "v"}, "volume": rw, "source": obj{"type": "PATH"}}),
			"is not a name of a volume":                  volume("db", "..", "data", 10),
			"has a slash":                                volume("db", "../x", "data", 10),
			"\"../data\" is not a path":                  volume("db", "v", "../data", 10),
			"\"/etc\" is not a path":                     volume("db", "v", "/etc", 10),
			"the volume has the principal 'ann'":         withDisk(disk, obj{"persistence": obj{"id": "v", "principal": "ann"}, "volume": rw}),
			"the offer is to role 'db'":                  volume("web", "v", "data", 10),
			"no offer has shared resources":              maps.Collect(maps.All(obj{"name": "disk", "type": "SCALAR", "scalar": obj{"value": 10}, "shared": obj{}, "disk": obj{"persistence": obj{"id": "v"}, "volume": rw}, "reservations": disk["reservations"]})),
			"'cpus' has 'disk', which only the resource": withDisk(reservedFor("db", true, scalar("cpus", 1)), obj{"persistence": obj{"id": "v"}, "volume": rw}),
			"is nothing":                                 volume("db", "v", "data", 0),
			"not as much is reserved so, and not in use": volume("db", "v", "data", 400),
		} {
			i++
			f.takes(ids(f.offers()...), operationOf("create", fmt.Sprint("c", i), obj{"volumes": []any{r}}))
			f.operation(fmt.Sprint("c", i), "OPERATION_ERROR", why)
		}
		f.takes(ids(f.offers()...), operationOf("grow_volume", "g", obj{"volume": volume("db", "v", "data", 10), "addition": disk}))
		f.operation("g", "OPERATION_ERROR", "stays as large as it was made")
		if n := len(c.store.View().VolumeFolders("oak")); n != 0 {
			t.Errorf("%d volumes were made", n)
		}
	})
}

// A task has volumes as they are, each once, and has a folder to find them in.
func TestTaskUsesVolumesAsTheyAre(t *testing.T) {
	conformed(t, 1, func(t *testing.T, c *cluster) {
		f := volumeWorld(c)
		f.takes(ids(f.offers()...), operationOf("reserve", "r", obj{"resources": []any{reservedFor("db", true, scalar("disk", 300))}}),
			operationOf("create", "c", obj{"volumes": []any{volume("db", "v1", "data", 200)}}))
		f.operation("r", "OPERATION_FINISHED", "")
		f.operation("c", "OPERATION_FINISHED", "")
		whole := func(o []offered) bool { return len(volumesIn(o)) > 0 && cpusIn(o) == 4 }
		v1, cpus, mem := volume("db", "v1", "data", 200), scalar("cpus", 0.1), scalar("mem", 64)
		custom := obj{"executor_id": value("e"), "type": "CUSTOM", "command": obj{"value": "true"}}
		for why, what := range map[string]obj{
			"it uses a part of a volume, or one that it does not take: volumes are used as they were offered":                                              {"resources": []any{cpus, mem, volume("db", "v1", "data", 100)}},
			"it asks for more than was offered and is free still":                                                                                          {"resources": []any{cpus, mem, volume("db", "v2", "data", 100)}},
			"Task uses duplicate persistence ID v1":                                                                                                        {"resources": []any{cpus, mem, v1, v1}},
			"Task uses invalid resources: a persistent volume is put into the folder of a process: give it to the executor, whose tasks are in its folder": {"resources": []any{cpus, mem, v1}, "command": nil, "executor": custom},
		} {
			f.takes(ids(f.offersUntil(whole)...), obj{"type": "LAUNCH", "launch": obj{"task_infos": []any{task("a", "oak", what)}}})
			f.ofMaster(statusIn(f.past("UPDATE")), "REASON_TASK_INVALID", why)
		}
		custom["resources"] = []any{cpus, mem, v1}
		f.takes(ids(f.offersUntil(whole)...), obj{"type": "LAUNCH", "launch": obj{"task_infos": []any{
			task("b", "oak", obj{"resources": []any{cpus, mem}, "command": nil, "executor": custom}),
			task("c", "oak", obj{"resources": []any{cpus, mem, v1}})}}})
		f.ofMaster(statusIn(f.past("UPDATE")), "REASON_TASK_INVALID", "it asks for more than was offered and is free still")
		e := c.store.View().Executor(f.id, "oak", "e")
		if e == nil || len(e.Framework.Spec.Volumes) != 1 || e.Framework.Spec.Volumes[0].Folder == "" {
			t.Errorf("the executor is %+v", e)
		}
	})
}
