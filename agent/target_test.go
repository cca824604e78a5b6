package agent

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestASinkThatIsNoFileIsKnownByItsName(t *testing.T) {
	const name = "secret default/token"
	synctest.Test(t, func(t *testing.T) {
		disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
		records := &fakeRecords{disk: disk}
		set := func() []Renewer {
			target := Target{Sink: &diskSink{disk: disk, path: "token"}, Name: name, Queue: "a cluster"}
			return []Renewer{{Name: "a", Digest: "1", Source: source, Sinks: []Target{target}}}
		}
		runFor(t, time.Minute, records, set()...)
		a := restarted(t, records, set()...)
		time.Sleep(time.Minute)
		all, err := a.Status(t.Context())
		if err != nil || all[0].State != Valid || all[0].Sinks[0].Name != name {
			t.Errorf("%+v, %v", all, err)
		}
		if source.asked() != 1 {
			t.Errorf("after a restart it was asked for again: %d times", source.asked())
		}
	})
}
