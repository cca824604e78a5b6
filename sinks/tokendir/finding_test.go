package tokendir

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFindingsSayWhatToDo(t *testing.T) {
	dir := directory(t, map[string]string{"a": expired, "b": good, "c": good, "my token": good, "n": "null", "s": claimSet{kid: "s", scope: "condor:/REED"}.String()})
	must(t, os.Chmod(filepath.Join(dir, "my token"), 0o644))
	want := []Finding{
		{"a", 1, "the token expired 1m ago; HTCondor sends it anyway, and never looks at b (and 1 more), which servers would accept", "renew it, or remove it", true},
		{"my token", 0, "its mode is 0644; HTCondor reads it only if group and others have no permissions, as with 0600", "chmod go= '" + dir + "/my token'; and renew the token if others may have read it", true},
		{"n", 0, "it says null: some script wrote that, and got no token", "write the token again, bare and on one line, or remove the file", true},
		{"s", 1, `scope: HTCondor knows no level "REED" and permits nothing for it; did you mean READ?`, "", false},
	}
	if diff := cmp.Diff(want, mustRead(t, dir, self()).Findings()); diff != "" {
		t.Error(diff)
	}
}

func TestWinnersAndWhatTheyHide(t *testing.T) {
	r := mustRead(t, directory(t, map[string]string{"a": expired, "b": good, "c": other, "d": expired}), self())
	got := ""
	for _, w := range r.Winners() {
		got += w.Token.Issuer + " " + w.Token.KeyID + " " + w.Name + " hides"
		for _, h := range w.Hides {
			got += " " + h.Name
		}
		got += "\n"
	}
	if want := "cm.example.org POOL a hides b d\nother.example.org POOL c hides\n"; got != want {
		t.Error(got)
	}
}
