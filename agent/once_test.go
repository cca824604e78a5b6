package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/tokenagent/tokenagent/agent/hooks"
)

func TestOnceTakesAwayTheFilesOfDefinitionsThatWent(t *testing.T) {
	for range 20 { // it must not end before it has
		synctest.Test(t, func(t *testing.T) {
			disk, source := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}
			records := &fakeRecords{disk: disk}
			set := func(names ...string) []Renewer {
				r := onDisk(disk, source, names...)
				for i := range r {
					r[i].DeleteRemoved = true
				}
				return r
			}
			runFor(t, time.Minute, records, set("a", "b")...)
			for _, left := range [][]Renewer{set("a"), nil} {
				a := New(hostClock, silent(), left)
				a.Remember(records)
				a.Once(t.Context())
				if len(disk.files) != len(left) {
					t.Errorf("with %d definitions left: files %v", len(left), disk.files)
				}
			}
		})
	}
}

func TestOnceOfOneTokenRunsNoHookOfOthersAndLeavesTheirFiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk, source, c := &fakeDisk{}, &fakeSource{life: 24 * time.Hour}, &fakeCommand{}
		records := &fakeRecords{disk: disk}
		set := func(names ...string) []Renewer {
			r := hooked(onDisk(disk, source, names...), c, hooks.OnFirst)
			for i := range r {
				r[i].DeleteRemoved = true
			}
			return r
		}
		runFor(t, 500*time.Millisecond, records, set("a", "b", "c")...) // stopped before the hooks were due
		a := New(hostClock, silent(), set("a", "b"))
		a.Remember(records)
		if err := a.Only("a"); err != nil {
			t.Fatal(err)
		}
		a.Once(t.Context())
		if c.said() != "on_first a" || disk.at("/t/c") == "" {
			t.Errorf("run %q, files %v", c.said(), disk.files)
		}
		runFor(t, time.Minute, records, set("a", "b")...)
		if c.said() != "on_first a, on_first b" || disk.at("/t/c") != "" {
			t.Errorf("after a whole pass run %q, files %v", c.said(), disk.files)
		}
	})
}
