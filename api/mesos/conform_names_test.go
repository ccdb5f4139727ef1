package mesos_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"strconv"
	"strings"
	"testing"
)

// golden are the tests of Mesos of the scheduler API, by the names that they have there.
// Each is here a test, or a case of one, of that name: or of the name that stands beside
// it, or it is not, for the reason that does.
var golden = map[string]string{
	// scheduler_http_api_tests.cpp
	"AuthenticationRequired": "", "NoContentType": "", "ValidJsonButInvalidProtobuf": "", "MalformedContent": "", "UnsupportedContentMediaType": "", "Subscribe": "",
	"RejectFrameworkWithInvalidRole": "", "SubscribeWithStreamId": "", "SubscribedOnRetry": "", "NotAcceptable": "", "NoAcceptHeader": "is DefaultAccept", "DefaultAccept": "",
	"GetRequest": "", "TeardownWithoutStreamId": "", "TeardownWrongStreamId": "", "MalformedUUID": "",
	"UpdatePidToHttpScheduler": driver, "UpdateHttpToPidScheduler": driver, "UpdateHttpToPidSchedulerAndBack": driver,
	"OperationFeedbackValidationWithResourceProviderCapability": providers, "OperationFeedbackValidationNoResourceProviderCapability": providers,
	// scheduler_tests.cpp
	"SubscribeDrop": "", "SchedulerFailover": "", "MasterFailover": "", "MetricsEndpoint": "the metrics are of the operator API", "TaskRunning": "", "TaskGroupRunning": "",
	"ReconcileTask": "", "KillTask": "", "ShutdownExecutor": "", "Decline": "", "Revive": "", "Suppress": "", "NoOffersWithAllRolesSuppressed": "",
	"NoOffersOnReregistrationWithAllRolesSuppressed": "", "Message": executors, "Request": "", "SchedulerReconnect": "",
	// executor_http_api_tests.cpp, beyond the names that both have
	"ValidProtobufInvalidCall": executors, "MessageFromUnknownFramework": executors, "StatusUpdateCallFailedValidation": executors,
	"SubscribeBeforeContainerizerRecovery": executors, "HeartbeatEvents": executors, "HeartbeatCalls": executors,
	// partition_tests.cpp
	"PartitionedSlave": "", "ReregisterSlavePartitionAware": "is ReregisterSlave", "ReregisterSlaveNotPartitionAware": "is ReregisterSlave", "DisconnectedFramework": "",
	"PartitionedSlaveOrphanedTask":                  "is FailoverTimeout, as no task outlives its framework",
	"SpuriousSlaveReregistration":                   "a node says hello as often as it wants: see package fsm",
	"PartitionedSlaveStatusUpdates":                 "a node tells of its tasks once the leader knows it again",
	"PartitionedSlaveExitedExecutor":                "an executor ends with its node: see package fsm",
	"TaskCompletedOnPartitionedAgent":               "",
	"AgentWithTerminalTaskPartitioned":              "",
	"PartitionAwareTaskCompletedOnPartitionedAgent": "is TaskCompletedOnPartitionedAgent",
	"RegistryGcByCount":                             registry, "RegistryGcByCountManySlaves": registry, "RegistryGcByAge": registry, "RegistryGcRace": registry,
	"FailHealthChecksTwice": "nodes are found to be away by gossip: see package cluster",
	"MasterToSlave":         "links that are cut one way are of gossip: see package cluster",
	"MasterToScheduler":     "a framework that hears nothing for long connects anew: see SchedulerFailover",
	// reconciliation_tests.cpp
	"TaskStateMismatch": "is ReconcileTask", "TaskStateMatch": "is ReconcileTask", "UnknownSlave": "", "UnknownTask": "", "UnknownTaskPartitionAware": "is UnknownTask",
	"UnknownKillTask": "", "ImplicitNonTerminalTask": "", "ImplicitTerminalTask": "", "UnacknowledgedTerminalTask": "", "ReconcileStatusUpdateTaskState": "",
	"PartitionedAgentThenMasterFailover": "",
	"RecoveredAgent":                     recovered, "RecoveredAgentReregistrationInProgress": recovered, "RemovalInProgress": recovered,
	// master_tests.cpp
	"OfferTimeout": "", "OfferNotRescindedOnceUsed": "", "OfferNotRescindedOnceDeclined": "", "LaunchCombinedOfferTest": "", "LaunchAcrossSlavesLost": "is LaunchAcrossSlaves",
	"LaunchAcrossSlavesDropped": "is LaunchAcrossSlaves", "LaunchDuplicateOfferLost": "is LaunchDuplicateOffer", "LaunchDuplicateOfferDropped": "is LaunchDuplicateOffer",
	"LaunchDifferentRoleLost": "", "RecoverResources": "", "StatusUpdateAck": "", "KillUnknownTask": "is UnknownKillTask", "MultiRoleFrameworkReceivesOffers": "",
	"MultiRoleSchedulerUnsubscribeFromRole": "", "RejectFrameworkWithInvalidFailoverTimeout": "is RejectedSubscriptions",
}

// The reasons.
const (
	driver    = "there is no v0 driver"
	providers = "there are no resource providers"
	executors = "is of custom executors"
	registry  = "nodes that are gone are forgotten by `mesita node rm` alone"
	recovered = "a leader knows all nodes and tasks from its first moment"
)

// Each test of Mesos has one here, or a reason why not.
func TestGoldenNames(t *testing.T) {
	has := map[string]bool{}
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "_test.go") || e.Name() == "conform_names_test.go" {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.FuncDecl:
				if name, ok := strings.CutPrefix(n.Name.Name, "Test"); ok {
					has[name] = true
				}
			case *ast.BasicLit:
				if s, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING {
					has[s] = true
				}
			}
			return true
		})
	}
	if len(golden) < 70 {
		t.Errorf("%d names", len(golden))
	}
	for name, where := range golden {
		if other, ok := strings.CutPrefix(where, "is "); ok && !strings.Contains(where, " of ") {
			other, _, _ = strings.Cut(other, ",")
			if !has[other] {
				t.Errorf("%s is said to be %s, which there is not", name, other)
			}
			continue
		}
		if where == "" && !has[name] {
			t.Errorf("there is no test %s", name)
		}
	}
}
