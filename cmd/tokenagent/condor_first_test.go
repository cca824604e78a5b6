package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/host/hosttest"
)

// HTCondor that starts with an empty token directory looks again only after
// condor_reconfig, which the hook on_first runs. (FS is how root's condor_reconfig is
// let in on its own host; the pool's collector does not accept it.)
func TestTheFirstTokenReachesAPoolThatStartedWithoutOne(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	dir := p.path("ap")
	for _, sub := range []string{"log", "spool", "lock", "run", "execute", "tokens.d", "passwords.d"} {
		check(t, os.MkdirAll(filepath.Join(dir, sub), 0o755))
		if !strings.HasSuffix(sub, ".d") {
			check(t, os.Chown(filepath.Join(dir, sub), 65534, 65534))
		}
	}
	config := readFile(t, p.path("client/config"))
	for _, sub := range []string{"log", "spool", "lock", "run", "execute"} {
		config = strings.Replace(config, "= "+p.path(sub)+"\n", "= "+filepath.Join(dir, sub)+"\n", 1)
	}
	config = strings.NewReplacer("LOCAL_DIR = "+p.folder, "LOCAL_DIR = "+dir, p.path("client"), dir, "MASTER, COLLECTOR, SCHEDD", "MASTER, SCHEDD", "= IDTOKENS, SSL", "= FS, IDTOKENS").Replace(config)
	put(t, filepath.Join(dir, "config"), config+"SEC_USE_FAMILY_SESSION = False\nSCHEDD_NAME = ap@\nMASTER_NAME = ap\nUPDATE_INTERVAL = 5\nSCHEDD_INTERVAL = 5\nMASTER_UPDATE_INTERVAL = 5\nSCHEDD_ADDRESS_FILE = "+dir+"/schedd_address\n")
	check(t, os.Chmod(filepath.Join(dir, "config"), 0o644)) // condor_reconfig reads it as HTCondor's user
	put(t, p.path("first.hcl"), fmt.Sprintf(agentBlock+`source "htcondor" "pool" {
  key_file     = "${path.config}/manager/passwords.d/POOL"
  trust_domain = "pool.example"
}
token "ap" {
  source  = source.htcondor.pool
  subject = "condor@pool.example"
  scope   = ["condor:/READ", "condor:/WRITE", "condor:/DAEMON", "condor:/ADVERTISE_MASTER", "condor:/ADVERTISE_SCHEDD"]
  sink "file" { path = "%s/tokens.d/10-pool" }
  hook "on_first" { command = ["/usr/bin/env", "CONDOR_CONFIG=%[1]s/config", "%s/usr/sbin/condor_reconfig"] }
}
`, dir, condorHome))
	known := func() bool {
		out, err := p.command("manager", "condor_status", "-schedd", "-af", "Name").Output()
		return err == nil && strings.Contains(string(out), "ap@")
	}
	master := exec.Command(condorHome+"/usr/sbin/condor_master", "-f")
	master.Env = append(p.environment("client"), "CONDOR_CONFIG="+dir+"/config")
	master.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	check(t, launch(master))
	t.Cleanup(func() {
		_ = master.Process.Signal(syscall.SIGQUIT)
		_ = master.Wait()
		if t.Failed() {
			t.Logf("the schedd's log:\n%s", tailOf(filepath.Join(dir, "log/SchedLog")))
		}
	})
	eventuallyWithin(t, 2*time.Minute, "the schedd is refused for lack of a token", func() bool {
		return strings.Contains(tailOf(filepath.Join(dir, "log/SchedLog")), "Failed to")
	})
	if known() {
		t.Fatal("the collector knows a schedd that has no token")
	}
	run := p.tokenagent(t.Context(), "run", "--config", p.path("first.hcl"))
	log := new(hosttest.Buffer)
	run.Stderr = log
	check(t, launch(run))
	t.Cleanup(func() {
		_ = run.Process.Kill()
		_ = run.Wait()
		if t.Failed() {
			t.Logf("the agent says\n%s", log)
		}
	})
	eventuallyWithin(t, 2*time.Minute, "the collector knows the schedd", known)
}
