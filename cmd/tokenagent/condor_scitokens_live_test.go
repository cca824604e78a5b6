package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sinks/bearer"
)

// poolAudience is what the collector of a pool with SciTokens calls itself.
const poolAudience = "cm.pool.example:9618"

// newSciTokensPool starts a pool whose collector takes SciTokens of the issuer.
func newSciTokensPool(t *testing.T, i *simpleIssuer) *pool {
	t.Helper()
	p := preparePool(t)
	p.masked = i.masked // the collector trusts the issuer's certificate
	check(t, os.Chmod(i.dir+"/ca.pem", 0o644))
	put(t, p.path("map"), fmt.Sprintf("SCITOKENS /^%s,pilot$/ pilot@%s\n", strings.NewReplacer("/", `\/`, ".", `\.`).Replace(i.url), poolDomain))
	put(t, p.path("manager/config"), readFile(t, p.path("manager/config"))+fmt.Sprintf(
		"SEC_DEFAULT_AUTHENTICATION_METHODS = IDTOKENS, SCITOKENS, SSL\nSCITOKENS_SERVER_AUDIENCE = %s\nCERTIFICATE_MAPFILE = %s\nCERTIFICATE_MAPFILE_ASSUME_HASH_KEYS = True\nSEC_SCITOKENS_CACHE = %s\nCOLLECTOR_DEBUG = D_SECURITY:2\n",
		poolAudience, p.path("map"), p.path("run")))
	check(t, os.Chmod(p.path("map"), 0o644))
	p.start(t)
	return p
}

// hearSciToken asks the pool by doctor, with the token that the variable names.
func (p *pool) hearSciToken(t *testing.T, variable string) (poolReply, int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "tokenagent", "doctor", "--pool", p.address(), "--method", "scitokens", "--json")
	c.Env = append(p.environment("client"), variable)
	out, err := c.Output()
	if failed, isExit := errors.AsType[*exec.ExitError](err); err != nil && (!isExit || len(out) == 0) {
		t.Fatalf("doctor: %v\n%s", err, failed.Stderr)
	}
	var h poolReply
	check(t, json.Unmarshal(out, &h))
	return h, c.ProcessState.ExitCode()
}

func TestDoctorAsksAPoolThatTakesSciTokens(t *testing.T) {
	t.Parallel()
	requireLong(t)
	i := newIssuer(t)
	p := newSciTokensPool(t, i)
	token := i.issue(t, "ES256", "scitokens", poolAudience, "condor:/READ condor:/ADVERTISE_SCHEDD")
	file := p.path("token")
	for _, c := range []struct {
		name, token string
		owner       int
		levels      []string
		says        string
	}{
		{"accepted", token, 65534, []string{"READ", "ADVERTISE_SCHEDD"}, ""},
		{"expired", i.expired(t, token), 65534, nil, "the server accepted no SciToken"},
		{"for another audience", i.issue(t, "ES256", "scitokens", "elsewhere.example:9618", "condor:/READ"), 65534, nil, "the server accepted no SciToken"},
		{"root's, which HTCondor reads as its own user", token, 0, nil, "Permission denied"},
	} {
		put(t, file, c.token+"\n")
		check(t, errors.Join(os.Chmod(file, 0o600), os.Chown(file, c.owner, c.owner)))
		h, code := p.hearSciToken(t, "BEARER_TOKEN_FILE="+file)
		if got := h.authorised(); (code == 0) != (c.says == "") || !slices.Equal(got, c.levels) || !h.says(c.says) && c.says != "" {
			t.Errorf("%s: exit %d: %+v", c.name, code, h)
		}
		if c.says == "" && h.Levels[0].Identity != "pilot@"+poolDomain {
			t.Errorf("%s: the token is that of %q", c.name, h.Levels[0].Identity)
		}
	}
	t.Run("doctor --bearer knows as whom HTCondor looks", func(t *testing.T) {
		check(t, os.Mkdir(p.path("xdg"), 0o755))
		for name, owner := range map[string]int{"bt_u65534": 65534, "bt_u0": 0} {
			put(t, p.path("xdg/"+name), token+"\n")
			check(t, errors.Join(os.Chmod(p.path("xdg/"+name), 0o600), os.Chown(p.path("xdg/"+name), owner, owner)))
		}
		if h, code := p.hearSciToken(t, "XDG_RUNTIME_DIR="+p.path("xdg")); code != 0 || len(h.authorised()) != 2 {
			t.Errorf("bt_u65534: exit %d: %+v", code, h)
		}
		for file, want := range map[string]bearer.Verdict{p.path("xdg/bt_u65534"): bearer.Taken, p.path("xdg/bt_u0"): bearer.Stops} {
			c := exec.CommandContext(t.Context(), "tokenagent", "doctor", "--bearer", "--json")
			c.Env = append(p.environment("client"), "BEARER_TOKEN_FILE="+file)
			out, _ := c.Output()
			var said bearing
			check(t, json.Unmarshal(out, &said))
			if step := said.Clients[1].Steps[0]; step.Verdict != want || said.Clients[1].As != "nobody" {
				t.Errorf("%s: %+v, as %s", file, step, said.Clients[1].As)
			}
		}
	})
}
