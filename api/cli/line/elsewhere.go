package line

import "strings"

// elsewhere says what a command that docker, systemctl, kubectl or nomad know is
// called here, where no likeness of letters would find it or, worse, would find
// another: "rm" is not "run". "" if there is none.
func elsewhere(path []string, arg string) string {
	known := map[string]string{
		"kill": "`mesita stop JOB|TASK` stops it", "rm": "`mesita stop JOB` stops a job, `mesita job rm JOB` forgets one that ended",
		"delete": "`mesita stop JOB` stops a job, `mesita job rm JOB` forgets one that ended", "rollback": "`mesita apply -f FILE` with the file of before",
		"services": "`mesita job ls`, or `mesita ps`", "jobs": "`mesita job ls`", "nodes": "`mesita node ls`", "tasks": "`mesita ps`", "partitions": "`mesita partition ls`", "tokens": "`mesita token ls`",
		"start": "`mesita run NAME -- COMMAND` starts a service, `mesita node start` a node", "restart": "`mesita stop TASK --restart` starts a task anew",
		"submit": "`mesita job submit -- COMMAND`", "inspect": "`mesita show JOB|TASK`", "describe": "`mesita show JOB|TASK`, or `mesita why JOB|TASK`",
		"ls":   "`mesita ps` lists tasks, `mesita job ls` jobs, `mesita node ls` nodes",
		"list": "`mesita ps` lists tasks, `mesita job ls` jobs, `mesita node ls` nodes", "get": "`mesita ps` lists tasks, `mesita job ls` jobs, `mesita node ls` nodes",
		"queue": "`mesita job ls` lists jobs, `mesita partition ls` what waits in each partition, `mesita why JOB|TASK` says for what", "stats": "`mesita top`",
		"plan":   "`mesita job plan -- COMMAND`, or `mesita apply FILE --dry-run`",
		"attach": "`mesita logs JOB|TASK -f`", "drain": "`mesita node drain NODE`", "join": "`mesita node join ADDRESS --token TOKEN`",
		"wait": "`mesita job wait JOB`", "quota": "`mesita partition` and its --limit", "update": "`mesita apply FILE`", "deploy": "`mesita apply FILE`",

		"node list": "`mesita node ls`", "node status": "`mesita status`, or `mesita node show NODE`", "node inspect": "`mesita node show NODE`",
		"node remove": "`mesita node rm NODE`", "node delete": "`mesita node rm NODE`", "node undrain": "`mesita node resume NODE`",
		"node uncordon": "`mesita node resume NODE`", "node cordon": "`mesita node drain NODE`",
		"job list": "`mesita job ls`", "job run": "`mesita job submit -- COMMAND`, or `mesita run NAME -- COMMAND` for a service",
		"job status": "`mesita job show JOB`", "job inspect": "`mesita job show JOB`", "job delete": "`mesita job rm JOB`", "job remove": "`mesita job rm JOB`",
		"job kill": "`mesita job stop JOB`", "job logs": "`mesita logs JOB`", "job scale": "`mesita scale JOB NUMBER`",
		"partition list": "`mesita partition ls`", "partition delete": "`mesita partition rm PATH`", "partition remove": "`mesita partition rm PATH`",
		"partition update": "`mesita partition set PATH`", "token list": "`mesita token ls`", "token rm": "`mesita token revoke ID`",
		"token delete": "`mesita token revoke ID`", "cluster status": "`mesita status`", "cluster ls": "`mesita node ls` lists its nodes",
	}
	return known[strings.Join(append(append([]string{}, path...), arg), " ")]
}
