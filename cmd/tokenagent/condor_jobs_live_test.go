package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/examples/configs"
)

// accessPoint is what a pool needs to run jobs of local users.
const accessPoint = `
DAEMON_LIST = MASTER, COLLECTOR, NEGOTIATOR, SCHEDD, STARTD, CREDD
SEC_CREDENTIAL_DIRECTORY_OAUTH = FOLDER
SEC_DEFAULT_AUTHENTICATION_METHODS = FS, IDTOKENS
ALLOW_READ = *
ALLOW_WRITE = *
ALLOW_DAEMON = *
ALLOW_NEGOTIATOR = *
ALLOW_ADMINISTRATOR = *
NUM_CPUS = 1
MEMORY = 512
NEGOTIATOR_INTERVAL = 5
SCHEDD_INTERVAL = 5
STARTER_ALLOW_RUNAS_OWNER = True
CGROUP_MEMORY_LIMIT_POLICY = none
BASE_CGROUP =
`

// A job of a user finds the token that the agent keeps, as docs/jobs.md and the example
// credmon have it.
func TestAJobFindsTheTokenThatTheAgentKeeps(t *testing.T) {
	t.Parallel()
	const user = "games" // whom every Debian has
	p := preparePool(t)
	folder, config := p.path("oauth"), p.path("manager/config")
	check(t, os.Chmod(p.path("manager"), 0o755))
	put(t, config, readFile(t, config)+strings.ReplaceAll(accessPoint, "FOLDER", folder))
	check(t, os.Chmod(config, 0o644)) // the user's tools read it
	here := strings.NewReplacer("/var/lib/condor-credentials", folder, "-g condor", "-g nogroup", "alice bob", user,
		`"alice", "bob"`, `"`+user+`"`, "/etc/tokenagent/keys/ap.pem", p.path("ap.pem"))
	commands := fenced(sections(readFile(t, filepath.Join(root, "docs/jobs.md")))["Setting it up"], "sh")
	script := p.command("manager", "/bin/sh", "-ec", "sudo() { \"$@\"; }\n"+here.Replace(commands[0]))
	if out, err := script.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	example, err := configs.Files.ReadFile("credmon.hcl")
	check(t, err)
	put(t, p.path("jobs.hcl"), agentBlock+here.Replace(string(example)))
	for _, args := range [][]string{{"key", "create", p.path("ap.pem")}, {"check", "--strict", "--config", p.path("jobs.hcl")}, {"once", "--config", p.path("jobs.hcl")}} {
		if out, err := p.tokenagent(t.Context(), args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args[0], err, out)
		}
	}
	use := filepath.Join(folder, user, "scitokens.use")
	if mode := modeOf(t, use); mode != 0o400 {
		t.Errorf("%s has mode %v", use, mode)
	}
	p.start(t)
	job := p.path("job")
	p.submit(t, user, job)
	eventuallyWithin(t, 3*time.Minute, "the job has ended", func() bool {
		out, _ := os.ReadFile(filepath.Join(job, "out"))
		return strings.Contains(string(out), "done")
	})
	if out := readFile(t, filepath.Join(job, "out")); !strings.HasPrefix(out, "600 "+user+" "+readFile(t, use)) {
		t.Errorf("the job found %q", out)
	}
}

// submit submits a job of the user that prints its token.
func (p *pool) submit(t *testing.T, user, folder string) {
	t.Helper()
	u, err := program.LookupUser(user)
	check(t, err)
	check(t, os.Mkdir(folder, 0o755))
	put(t, filepath.Join(folder, "run.sh"), "#!/bin/sh\nf=$_CONDOR_CREDS/scitokens.use\nstat -c '%a %U' $f | tr '\\n' ' '\ncat $f\necho done\n")
	put(t, filepath.Join(folder, "job.sub"), "executable = run.sh\noutput = out\nerror = err\nlog = log\nuse_oauth_services = scitokens\nqueue\n")
	for _, path := range []string{"", "run.sh", "job.sub"} {
		check(t, os.Chown(filepath.Join(folder, path), int(u.UID), int(u.GID)))
		check(t, os.Chmod(filepath.Join(folder, path), 0o755))
	}
	var out []byte
	eventuallyWithin(t, time.Minute, "a job is submitted", func() bool {
		c := p.command("manager", "condor_submit", "job.sub")
		c.Dir, c.SysProcAttr = folder, &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: u.UID, Gid: u.GID}}
		var err error
		if out, err = c.CombinedOutput(); err != nil {
			t.Logf("condor_submit: %s", out)
		}
		return err == nil
	})
}
