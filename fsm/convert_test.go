package fsm

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/mesita/mesita/api"
)

func stepOf(kind StepKind, partition, label string, cpus api.MilliCPU) ReservationStep {
	s := ReservationStep{Kind: kind, Partition: partition, Resources: api.Resources{CPUs: cpus}}
	if label != "" {
		s.Labels = map[string]string{"a": label}
	}
	return s
}

func reserve(t *testing.T, s *Store, node int, steps ...ReservationStep) error {
	t.Helper()
	_, err := try(t, s, &ReservationChange{NodeID: nodeID(node), Steps: steps})
	return err
}

// guarantee has all frameworks may reserve in a partition.
func guarantee(t *testing.T, s *Store, path string, cpus api.MilliCPU) {
	t.Helper()
	propose(t, s, &PartitionPut{Partition: &api.Partition{Path: path, Weight: 1000, Guarantee: api.AmountsOf(api.Resources{CPUs: cpus})}})
}

// converted is what became of conversions of one step each.
func converted(t *testing.T, s *Store, offer string, steps ...ReservationStep) []string {
	t.Helper()
	c := &FrameworkAccept{Framework: "f", Session: "s1", Offers: []string{offer}}
	for _, step := range steps {
		c.Conversions = append(c.Conversions, Conversion{Steps: []ReservationStep{step}})
	}
	a := propose(t, s, c).(*Accepted)
	if a.Invalid != "" {
		t.Fatal(a.Invalid)
	}
	return a.Converted
}

// What a call is done in is bounded, and what is beyond that says so.
func TestConversionsOfACallAreBounded(t *testing.T) {
	s := offered(t)
	guarantee(t, s, api.DefaultPartition, 4000)
	var steps []ReservationStep
	for i := range api.MaxConversions + 2 {
		steps = append(steps, stepOf([]StepKind{StepReserve, StepUnreserve}[i%2], api.DefaultPartition, fmt.Sprint(i/2), 1))
	}
	for i, why := range converted(t, s, "o0", steps...) {
		if strings.Contains(why, "100 times at most") != (i >= api.MaxConversions) || i < api.MaxConversions && why != "" {
			t.Errorf("%d: %q", i, why)
		}
	}
	if n := s.View().ReservationCount(); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// Rows that are made and given back again in one call count as long as they are there.
func TestReservationsOfANodeAreBounded(t *testing.T) {
	s := offered(t)
	guarantee(t, s, api.DefaultPartition, 4000)
	var steps []ReservationStep
	for i := range api.MaxNodeReservations + 1 {
		steps = append(steps, stepOf(StepReserve, api.DefaultPartition, fmt.Sprint(i), 1))
	}
	steps = append(steps, stepOf(StepUnreserve, api.DefaultPartition, "0", 1), stepOf(StepReserve, api.DefaultPartition, "new", 1))
	for i, why := range converted(t, s, "o0", steps...) {
		if strings.Contains(why, "has 64 reservations") != (i == api.MaxNodeReservations) || i != api.MaxNodeReservations && why != "" {
			t.Errorf("%d: %q", i, why)
		}
	}
	long := stepOf(StepReserve, "ml", "", 1)
	long.Labels = map[string]string{}
	for i := range 20 {
		long.Labels[fmt.Sprint(i)] = strings.Repeat("x", 250)
	}
	if err := reserve(t, s, 1, long); err == nil || !strings.Contains(err.Error(), "at most 4096 are allowed") {
		t.Error(err)
	}
}

func TestReservationsOfAPartitionAndTheClusterAreBounded(t *testing.T) {
	s := NewStore(nil)
	propose(t, s, testInit(), &TokenCreate{Token: &api.Token{ID: "t1", Kind: api.TokenJoin, Hash: "h"}})
	paths := []string{"a", "b", "c", "d", "e"}
	for _, path := range paths {
		propose(t, s, &PartitionPut{Partition: &api.Partition{Path: path}})
	}
	ask := func(node int, path string, n int) error {
		if s.View().Node(nodeID(node)) == nil {
			propose(t, s, &NodeJoin{Token: "t1", Hash: "h", NodeID: nodeID(node), Name: fmt.Sprint("n", node)})
		}
		h := testHello(4000)
		h.Level = int(Newest)
		propose(t, s, &NodeHello{ID: nodeID(node), Hello: h})
		var steps []ReservationStep
		for i := range n {
			steps = append(steps, stepOf(StepReserve, path, fmt.Sprint(i), 1))
		}
		return reserve(t, s, node, steps...)
	}
	node := 1
	for _, path := range paths[:4] {
		left := api.MaxPartitionReservations
		for ; left > 0; node++ {
			n := min(left, api.MaxNodeReservations)
			if err := ask(node, path, n); err != nil {
				t.Fatal(path, node, err)
			}
			left -= n
		}
		if path == "a" {
			if err := ask(node, path, 1); err == nil || err.Error() != "partition a has 5000 reservations, and no more are kept of a partition" {
				t.Error(err)
			}
		}
	}
	if err := ask(node, "e", 1); err == nil || err.Error() != "the cluster has 20000 reservations, and no more are kept" {
		t.Error(err)
	}
}

// A framework keeps for good only what its partition, and those above it, are guaranteed:
// more of it would be taken from others. An operator may.
func TestFrameworksReserveWhatIsGuaranteed(t *testing.T) {
	s := offered(t)
	if why := converted(t, s, "o0", stepOf(StepReserve, api.DefaultPartition, "", 1))[0]; !strings.Contains(why, "is guaranteed cpus=0, and a framework may not reserve more of it: an operator may") {
		t.Error(why)
	}
	guarantee(t, s, api.DefaultPartition, 1000)
	if err := reserve(t, s, 0, stepOf(StepReserve, api.DefaultPartition, "op", 600)); err != nil {
		t.Fatal(err)
	}
	got := converted(t, s, "o1", stepOf(StepReserve, api.DefaultPartition, "", 300), stepOf(StepReserve, api.DefaultPartition, "", 101), stepOf(StepReserve, api.DefaultPartition, "", 100))
	if got[0] != "" || !strings.Contains(got[1], "guaranteed cpus=1") || got[2] != "" {
		t.Errorf("%q", got)
	}
	if err := reserve(t, s, 1, stepOf(StepReserve, api.DefaultPartition, "op", 600)); err != nil {
		t.Errorf("an operator may not: %v", err)
	}
}

// A limit is of all that is below it, whatever one change gives to each.
func TestReservationsKeepToLimitsAbove(t *testing.T) {
	s := offered(t)
	propose(t, s, &OfferRemove{IDs: []string{"o0", "o1"}}, &PartitionPut{Partition: &api.Partition{Path: "org", Limit: api.AmountsOf(api.Resources{CPUs: 2000})}},
		&PartitionPut{Partition: &api.Partition{Path: "org/a"}}, &PartitionPut{Partition: &api.Partition{Path: "org/b"}})
	a, b := stepOf(StepReserve, "org/a", "", 2000), stepOf(StepReserve, "org/b", "", 2000)
	if err := reserve(t, s, 0, a, b); err == nil || err.Error() != "partition org may not hold so much more cpus by its limit" {
		t.Error(err)
	}
	if err := reserve(t, s, 0, a); err != nil {
		t.Error(err)
	}
	back := stepOf(StepUnreserve, "org/a", "", 2000)
	if err := reserve(t, s, 0, back, b); err != nil {
		t.Errorf("what is given back in one change is not room for the rest: %v", err)
	}
}

// What is in the way of a limit because it is on offer there is not in the way of an operator.
func TestAnOperatorsReservationTakesOffersBackForALimit(t *testing.T) {
	s := offered(t)
	propose(t, s, &OfferRemove{IDs: []string{"o0", "o1"}}, &PartitionPut{Partition: &api.Partition{Path: "ml", Limit: api.AmountsOf(api.Resources{CPUs: 2000})}},
		&OfferMake{Offers: []*api.Offer{{ID: "m", Framework: "f", Partition: "ml", NodeID: nodeID(0), Resources: api.Resources{CPUs: 2000, Mem: 64 << 20}}}})
	if s.View().Offer("m") == nil {
		t.Fatal("there is no offer")
	}
	if err := reserve(t, s, 0, stepOf(StepReserve, "ml", "", 2000)); err != nil || s.View().Offer("m") != nil {
		t.Errorf("%v, the offer is %v", err, s.View().Offer("m"))
	}
}

// What a framework was offered does not become reserved above a limit that was lowered since.
func TestFrameworksKeepToLimits(t *testing.T) {
	s := offered(t)
	p := &api.Partition{Path: api.DefaultPartition, Weight: 1000, Guarantee: api.AmountsOf(api.Resources{CPUs: 1000}), Limit: api.AmountsOf(api.Resources{CPUs: 1000})}
	propose(t, s, &OfferRemove{IDs: []string{"o1"}}, &PartitionPut{Partition: p})
	l := launchOf("a", 500)
	a := propose(t, s, &FrameworkAccept{Framework: "f", Session: "s1", Offers: []string{"o0"}, Tasks: []FrameworkLaunch{l},
		Conversions: []Conversion{{Before: 1, Steps: []ReservationStep{stepOf(StepReserve, api.DefaultPartition, "", 600)}}}}).(*Accepted)
	if a.Refused[0] != "" || !strings.Contains(a.Converted[0], "by its limit") {
		t.Errorf("%+v", a)
	}
}

// A partition that is being removed is offered nothing more, gets no reservation and goes.
func TestAPartitionThatDrainsGetsNoReservation(t *testing.T) {
	s := offered(t)
	guarantee(t, s, "ml", 1000)
	propose(t, s, &OfferRemove{IDs: []string{"o0", "o1"}})
	for i := range 2 {
		propose(t, s, &OfferMake{Offers: []*api.Offer{{ID: fmt.Sprint("m", i), Framework: "f", Partition: "ml", NodeID: nodeID(i), Resources: s.View().Free(nodeID(i))}}})
	}
	if a := accept(t, s, []string{"m0"}, launchOf("a", 100)); a.Refused[0] != "" {
		t.Fatal(a.Refused)
	}
	propose(t, s, &PartitionRemove{Path: "ml", Drain: true})
	if s.View().Offer("m1") != nil {
		t.Error("what is on offer there stays so")
	}
	if err := reserve(t, s, 0, stepOf(StepReserve, "ml", "", 100)); err == nil || !strings.Contains(err.Error(), "is being removed") {
		t.Error(err)
	}
	report(t, s, "a", api.TaskRunning)
	report(t, s, "a", api.TaskKilled)
	propose(t, s, &PartitionRemove{Path: "ml", Drain: true})
	if s.View().Partition("ml") != nil {
		t.Error("it is not removed")
	}
}

// A node that comes back with less keeps of its reservations what is used of them.
func TestASmallerNodeKeepsLessReserved(t *testing.T) {
	s := offered(t)
	propose(t, s, &OfferRemove{IDs: []string{"o0", "o1"}})
	if err := reserve(t, s, 0, stepOf(StepReserve, api.DefaultPartition, "", 3000), stepOf(StepReserve, api.DefaultPartition, "b", 1000)); err != nil {
		t.Fatal(err)
	}
	id := api.ReservationID(api.DefaultPartition, "", nil)
	part := api.Reserved{Reservation: id, Resources: api.Resources{CPUs: 2000}}
	propose(t, s, &OfferMake{Offers: []*api.Offer{{ID: "x", Framework: "f", Partition: api.DefaultPartition, NodeID: nodeID(0), Resources: api.Resources{Mem: 64 << 20}, Reserved: []api.Reserved{part}}}})
	l := launchOf("a", 1500)
	l.Task.Reserved = []api.Reserved{{Reservation: id, Resources: api.Resources{CPUs: 1500}}}
	if a := accept(t, s, []string{"x"}, l); a.Invalid+a.Refused[0] != "" {
		t.Fatal(a)
	}
	h := testHello(1600)
	h.Level = int(Newest)
	propose(t, s, &NodeHello{ID: nodeID(0), Hello: h})
	var sum, of api.MilliCPU
	for r := range s.View().Reservations(nodeID(0)) {
		if sum += r.Resources.CPUs; r.ID == id {
			of = r.Resources.CPUs
		}
	}
	if n := s.View().Node(nodeID(0)); n.Resources.CPUs != 1600 || sum != 1600 || of < 1500 {
		t.Errorf("it has %s, %s reserved, of that %s where 1.5 are used", n.Resources.CPUs, sum, of)
	}
	checkSums(t, s.View())
}

// A frozen task whose CPUs are reserved has given none of them back, and continues.
func TestAFrozenTaskWithReservedCPUsContinues(t *testing.T) {
	s := offered(t)
	guarantee(t, s, api.DefaultPartition, 4000)
	l := launchOf("a", 3000)
	l.Task.Reserved = []api.Reserved{{Reservation: api.ReservationID(api.DefaultPartition, "", nil), Resources: api.Resources{CPUs: 3000}}}
	a := propose(t, s, &FrameworkAccept{Framework: "f", Session: "s1", Offers: []string{"o0"}, Tasks: []FrameworkLaunch{l},
		Conversions: []Conversion{{Steps: []ReservationStep{stepOf(StepReserve, api.DefaultPartition, "", 4000)}}}}).(*Accepted)
	if a.Refused[0]+a.Converted[0] != "" {
		t.Fatal(a)
	}
	report(t, s, "a", api.TaskRunning)
	row := s.View().FrameworkTask("f", "a")
	v := []Victim{{Job: row.Job, Index: row.Index, Attempt: row.Attempt}}
	propose(t, s, &TaskPreempt{Victims: v, Freeze: true})
	propose(t, s, &TaskReport{Statuses: []api.TaskStatus{{Task: row.ID, Attempt: 1, NodeID: row.NodeID, State: api.TaskRunning, Frozen: true, PID: 7, Time: testInit().At}}})
	if !s.View().FrameworkTask("f", "a").Frozen {
		t.Fatal("it is not frozen")
	}
	if n := propose(t, s, &TaskThaw{Victims: v}); n != 1 {
		t.Errorf("%v continue", n)
	}
	checkSums(t, s.View())
}

func TestLongWordsOfARefusalAreCut(t *testing.T) {
	if got := cutWords(errors.New(strings.Repeat("x", 9000))); len(got) > 600 || !strings.HasSuffix(got, "… (9000 bytes)") {
		t.Error(got)
	}
}
