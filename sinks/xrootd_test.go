package sinks

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
)

func TestXRootDsClientMayNotSkipAStorageToken(t *testing.T) {
	storage := agent.Request{Profile: "wlcg", Scope: []string{"compute.read", "storage.read:/"}}
	for _, c := range []struct {
		req    agent.Request
		block  fileBlock
		warned bool
	}{
		{storage, fileBlock{Mode: 0o640, Format: "token"}, true},
		{agent.Request{Profile: "scitokens", Scope: []string{"write:/data"}}, fileBlock{Mode: 0o604, Format: "token"}, true},
		{storage, fileBlock{Mode: 0o400, Format: "token"}, false},
		{storage, fileBlock{Mode: 0o640, Format: "env"}, false},
		{agent.Request{Profile: "wlcg", Scope: []string{"compute.read"}}, fileBlock{Mode: 0o640, Format: "token"}, false},
		{agent.Request{Profile: "scitokens", Scope: []string{"compute.read"}}, fileBlock{Mode: 0o640, Format: "token"}, false},
		{agent.Request{Scope: []string{"read:/data"}}, fileBlock{Mode: 0o640, Format: "token"}, false},
		{agent.Request{Profile: "htcondor", Scope: []string{"condor:/READ"}}, fileBlock{Mode: 0o640, Format: "token"}, false},
	} {
		faults := validated(t, func(b *config.Block) { warnOfXRootD(b, c.block, c.req) })
		if warned := strings.Contains(text(t, faults), "XRootD's client would skip"); warned != c.warned || faults.HasErrors() {
			t.Errorf("%+v for %+v gives %s", c.block, c.req, text(t, faults))
		}
	}
}

func TestAFileIsForStorageByWhatItsTokenAsksFor(t *testing.T) {
	const storage, other = "  profile = \"wlcg\"\n  scope = [\"storage.read:/\"]\n", "  profile = \"wlcg\"\n  scope = [\"compute.read\"]\n"
	for name, c := range map[string]struct {
		token, lines string
		want         bool
	}{
		"storage":          {storage, "", true},
		"storage, as JSON": {storage, `format = "json"`, false},
		"computing":        {other, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s, faults := loadToken(t, config.Environment{}, c.token, pathLine(filepath.Join(t.TempDir(), "token"))+"mode = \"0640\"\n"+c.lines)
			if faults.HasErrors() {
				t.Fatal(faults)
			}
			if warned := strings.Contains(text(t, faults), "XRootD's client would skip"); warned != c.want || s.forStorage != c.want {
				t.Errorf("for storage %v, warned %v", s.forStorage, warned)
			}
		})
	}
}

func TestATokenTooLargeForXRootDIsToldOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	s := fine(t, pathLine(path))
	s.forStorage = true
	for _, c := range []struct{ size, told int }{{4095, 0}, {4096, 1}, {4097, 0}} {
		written, err := s.Put(t.Context(), token(strings.Repeat("x", c.size), time.Hour))
		must(t, err)
		if w := written.Warnings; len(w) != c.told || c.told > 0 && !strings.Contains(w[0], path+": the token has 4097 bytes") {
			t.Errorf("a token of %d bytes gives the warnings %q", c.size, w)
		}
	}
}
