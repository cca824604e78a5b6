package systemd

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAPathThatNoUnitCanHoldIsRefused(t *testing.T) {
	for _, path := range []string{"/srv/a\nCapabilityBoundingSet=CAP_SYS_ADMIN", `/srv/"'`} {
		if word, err := unitWord(path); err == nil {
			t.Errorf("%q becomes %q", path, word)
		}
	}
}

func TestDropinKnowsWhatTheUnitOpens(t *testing.T) {
	var inUnit []string
	text, err := os.ReadFile("../../systemd/tokenagent.service")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if words, is := strings.CutPrefix(line, "ReadWritePaths="); is {
			for word := range strings.FieldsSeq(words) {
				inUnit = append(inUnit, strings.TrimPrefix(word, "-"))
			}
		}
	}
	if diff := cmp.Diff(inUnit, opened); diff != "" {
		t.Error(diff)
	}
	for unit, name := range map[string]string{"tokenagent.service": "tokenagent", "tokenagent@site.service": "tokenagent/site"} {
		if diff := cmp.Diff([]string{"/var/lib/" + name, "/run/" + name}, ownFolders(unit)); diff != "" {
			t.Error(diff)
		}
	}
}
