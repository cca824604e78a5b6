package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What the units promise.
const (
	mostExposure = 28                     // tenths, by systemd-analyze security
	mostStart    = 200 * time.Millisecond // from the start until READY, with ten local tokens
	mostMemory   = 25 << 20               // resident, with ten tokens
	mostWakes    = 1.                     // a second, with ten tokens and nothing to do
	restsFor     = time.Minute
)

// The units do what they are for under a real systemd, which is PID 1 of a
// machine of the test's own.
func TestUnderSystemd(t *testing.T) {
	requireLong(t)
	requireRoot(t, "boot a machine")
	requirePart(t, "systemd-nspawn", "--version")
	requirePart(t, "unshare", "--mount", "--pid", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt")
	requirePart(t, "nsenter", "--version")
	m := bootMachine(t)
	for _, part := range []struct {
		name string
		test func(t *testing.T)
	}{
		{"the units are right", m.unitsAreRight},
		{"ten tokens are there in no time", m.tenTokensStart},
		{"a drop-in opens what the configuration needs", m.dropinOpens},
		{"who is ordered behind finds its token", m.orderedBehind},
		{"the sandbox is on", m.sandboxIsOn},
		{"hooks do their work in the sandbox", m.hooksWork},
		{"a closed folder names the drop-in", m.closedFolder},
		{"a file of another user's is read as that user", m.closedFile},
		{"reload gives the verdict", m.reloadVerdict},
		{"a stopped agent is killed and started again", m.watchdogKills},
		{"require_all holds up who is behind", m.requireAllHolds},
		{"a faulty configuration ends with 78, and is tried again", m.faultyIsTriedAgain},
		{"a user has one too", m.userUnit},
		{"stop leaves tokens, and other agents", m.stopLeaves},
	} {
		if !t.Run(part.name, part.test) && t.Failed() {
			journal, _ := m.try("journalctl", "--no-pager", "--output=short-precise", "--unit", "tokenagent*", "--lines=100")
			t.Logf("the journal:\n%s", journal)
		}
	}
}

func (m machine) unitsAreRight(t *testing.T) {
	units := []string{"tokenagent.service", "tokenagent@ten.service"}
	// Its exit code is 0 whatever it finds.
	if found := m.run(t, slices.Concat([]string{"systemd-analyze", "verify", "--man=no"}, units)...); found != "" {
		t.Errorf("systemd-analyze verify:\n%s", found)
	}
	for _, unit := range units {
		m.run(t, "systemd-analyze", "security", "--offline=true", "--threshold="+strconv.Itoa(mostExposure), unit)
	}
	m.unitSays(t)
}

// unitSays compares what the other parts do not see, or hurry: what is shipped, as
// systemd reads it. The template is the same unit (TestTheTemplateIsTheUnitForAnInstance).
func (m machine) unitSays(t *testing.T) {
	for name, want := range map[string]string{
		"Type": "notify", "Restart": "always", "RestartUSec": "10s", "StartLimitIntervalUSec": "0",
		"PrivateTmp": "no", "CapabilityBoundingSet": "cap_chown cap_setgid cap_setuid",
		"ReadWritePaths": "-/tmp -/etc/condor/tokens.d -/etc/condor-ce/tokens.d", "Wants": "network-online.target",
	} {
		if got := m.property(t, "tokenagent", name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	for name, units := range map[string]string{
		"Before": "condor.service condor-ce.service gwms-frontend.service",
		"After":  "network-online.target time-sync.target nss-user-lookup.target",
	} {
		for unit := range strings.FieldsSeq(units) {
			if got := m.property(t, "tokenagent", name); !slices.Contains(strings.Fields(got), unit) {
				t.Errorf("%s is %q, without %s", name, got, unit)
			}
		}
	}
}

func (m machine) dropinOpens(t *testing.T) {
	const folder = "/etc/systemd/system/tokenagent.service.d"
	m.run(t, "sh", "-c", "tokenagent systemd-dropin >"+folder+"/configuration.conf && systemctl daemon-reload")
	text := readFile(t, m.path(folder+"/configuration.conf"))
	for _, line := range []string{"ReadWritePaths=-/home/frontend/.condor/tokens.d", "CapabilityBoundingSet=CAP_KILL", "CapabilityBoundingSet=CAP_SETUID CAP_SETGID"} {
		if !strings.Contains(text, "\n"+line+"\n") {
			t.Errorf("%s is missing in\n%s", line, text)
		}
	}
	if found := m.run(t, "systemd-analyze", "verify", "--man=no", "tokenagent.service"); found != "" {
		t.Errorf("systemd-analyze verify:\n%s", found)
	}
}

func (m machine) orderedBehind(t *testing.T) {
	m.run(t, "systemctl", "start", "pool.target")
	for _, unit := range []string{"tokenagent.service", "condor.service"} {
		if state := m.property(t, unit, "ActiveState"); state != "active" {
			t.Errorf("%s is %s", unit, state)
		}
	}
	m.wantStatus(t, "tokenagent", `3 tokens valid; next renewal [0-9: -]+`)
	for path, owner := range map[string]uint32{
		"/etc/condor/tokens.d/10-pool":          0,
		"/home/frontend/.condor/tokens.d/own":   frontendID,
		"/tmp/copy":                             0,
		"/var/lib/tokenagent/records.jsonl":     0,
		"/run/tokenagent/control.sock":          0,
		"/run/credentials/tokenagent.service/.": 0,
	} {
		info, err := os.Stat(m.path(path))
		check(t, err)
		if uid := info.Sys().(*syscall.Stat_t).Uid; uid != owner || info.Mode()&0o077 != 0 {
			t.Errorf("%s belongs to %d and has the mode %v", path, uid, info.Mode())
		}
	}
	if limit := m.property(t, "tokenagent", "WatchdogUSec"); limit != "2min" { // before the start it is unknown
		t.Errorf("the watchdog waits for %s", limit)
	}
}

// wantStatus waits until systemctl status has that line.
func (m machine) wantStatus(t *testing.T, unit, pattern string) {
	t.Helper()
	var line string
	for end := time.Now().Add(longest); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if line = m.property(t, unit, "StatusText"); regexp.MustCompile("^(?:" + pattern + ")$").MatchString(line) {
			return
		}
	}
	t.Fatalf("the status of %s is %q, want %q", unit, line, pattern)
}

func (m machine) sandboxIsOn(t *testing.T) {
	for field, want := range map[string]string{
		"CapBnd":     "00000000000000e1", // CHOWN 0, KILL 5, SETGID 6, SETUID 7
		"CapEff":     "00000000000000e1",
		"CapAmb":     "0000000000000000",
		"NoNewPrivs": "1",
		"Seccomp":    "2",
	} {
		if got := m.status(t, "tokenagent", field); got != want {
			t.Errorf("%s is %s, want %s", field, got, want)
		}
	}
	pid := m.property(t, "tokenagent", "MainPID")
	if limits := m.run(t, "cat", "/proc/"+pid+"/limits"); !regexp.MustCompile(`Max core file size +0 +0 `).MatchString(limits) {
		t.Errorf("it may leave a core file:\n%s", limits)
	}
	for _, closed := range []string{"/etc", "/usr", "/var/lib", "/home/frontend", "/root"} {
		if out, err := m.try("nsenter", "--mount", "--target", pid, "touch", closed+"/by-tokenagent"); err == nil || !strings.Contains(out, "Read-only file system") {
			t.Errorf("it can write in %s: %s", closed, out)
		}
	}
}

func (m machine) hooksWork(t *testing.T) {
	eventually(t, "the hook of another user", func() bool {
		info, err := os.Stat(m.path("/tmp/frontend-was-here"))
		return err == nil && info.Sys().(*syscall.Stat_t).Uid == frontendID
	})
	eventually(t, "a restart of reader.service by a hook", func() bool {
		starts, err := os.ReadFile(m.path("/run/reader-starts"))
		return err == nil && strings.Count(string(starts), "start") == 2
	})
}

// more is a token that is in a folder which the first drop-in does not open.
const more = `
token "more" {
  source   = source.local_key.site
  subject  = "more"
  lifetime = "1h"
  sink "file" { path = "/srv/more than 1%/token" }
}
`

func (m machine) closedFolder(t *testing.T) {
	m.run(t, "mkdir", "-p", "/srv/more than 1%", "/etc/tokenagent/conf.d")
	put(t, m.path("/etc/tokenagent/conf.d/more.hcl"), more)
	m.run(t, "systemctl", "reload", "tokenagent")
	m.wantLogged(t, "tokenagent", "read-only file system")
	m.wantLogged(t, "tokenagent", "tokenagent systemd-dropin")
	m.dropinOpens(t)
	m.run(t, "systemctl", "restart", "tokenagent")
	m.wantStatus(t, "tokenagent", `4 tokens valid; .*`)
}

// others is a token of another user's.
const others = `
source "file" "upstream" {
  path = "/home/upstream/token"
}
token "copy" {
  source = source.file.upstream
  sink "file" { path = "/tmp/foreign" }
}
`

func (m machine) closedFile(t *testing.T) {
	put(t, m.path("/etc/tokenagent/foreign.hcl"), others)
	m.run(t, "systemctl", "start", "tokenagent@foreign")
	m.wantStatus(t, "tokenagent@foreign", `1 token valid; .*`)
	m.run(t, "systemctl", "stop", "tokenagent@foreign")
}

func (m machine) reloadVerdict(t *testing.T) {
	put(t, m.path("/etc/tokenagent/conf.d/more.hcl"), strings.Replace(more, `subject  = "more"`, `subject  = "another"`, 1))
	m.run(t, "systemctl", "reload", "tokenagent")
	m.wantLogged(t, "tokenagent", "reloaded: ")

	before := readFile(t, m.path("/etc/condor/tokens.d/10-pool"))
	put(t, m.path("/etc/tokenagent/conf.d/more.hcl"), strings.Replace(more, "subject", "subjekt", 1))
	if out, err := m.try("systemctl", "reload", "tokenagent"); err == nil {
		t.Errorf("systemctl reload takes a configuration with faults: %s", out)
	}
	const fault = "/etc/tokenagent/conf.d/more.hcl:4:3: error: unknown attribute subjekt"
	out, err := m.try("tokenagent", "reload")
	if codeOfCommand(err) != exitConfiguration || !strings.Contains(out, fault) {
		t.Errorf("tokenagent reload: %v\n%s", err, out)
	}
	m.wantLogged(t, "tokenagent", fault)
	m.wantStatus(t, "tokenagent", `4 tokens valid; .*; the configuration on disk is refused, tokenagent check says why`)
	if state := m.property(t, "tokenagent", "ActiveState"); state != "active" {
		t.Errorf("after a refused reload it is %s", state)
	}
	if after := readFile(t, m.path("/etc/condor/tokens.d/10-pool")); after != before {
		t.Error("a refused reload changes a token")
	}

	put(t, m.path("/etc/tokenagent/conf.d/more.hcl"), more)
	m.run(t, "systemctl", "reload", "tokenagent")
	m.wantStatus(t, "tokenagent", `4 tokens valid; next renewal [0-9: -]+`)
}

func codeOfCommand(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	return -1
}

// A process that does not run at all is the loop that hangs, for systemd.
func (m machine) watchdogKills(t *testing.T) {
	const unit = "tokenagent@stopped"
	m.run(t, "systemctl", "start", unit)
	before := m.property(t, unit, "MainPID")
	time.Sleep(12 * time.Second) // longer than WatchdogSec
	if restarts := m.number(t, unit, "NRestarts"); restarts != 0 {
		t.Errorf("an agent that runs was restarted %d times", restarts)
	}
	m.run(t, "kill", "-STOP", before)
	m.wantLogged(t, unit, "Watchdog timeout")
	eventually(t, "another agent", func() bool {
		return m.number(t, unit, "NRestarts") == 1 && m.property(t, unit, "ActiveState") == "active"
	})
	if after := m.property(t, unit, "MainPID"); after == before {
		t.Error("the stopped process goes on")
	}
	m.run(t, "systemctl", "stop", unit)
}

func (m machine) requireAllHolds(t *testing.T) {
	const unit = "tokenagent@all"
	m.run(t, "systemctl", "start", "--no-block", unit)
	m.wantStatus(t, unit, "waiting for 1 of 2 tokens: later is missing")
	time.Sleep(12 * time.Second) // longer than TimeoutStartSec, which is extended
	if state := m.property(t, unit, "ActiveState"); state != "activating" {
		t.Errorf("without its token it is %s", state)
	}
	m.run(t, "mkdir", "-m", "0700", "/tmp/later")
	m.wantStatus(t, unit, `2 tokens valid; .*`)
	if state := m.property(t, unit, "ActiveState"); state != "active" {
		t.Errorf("with its tokens it is %s", state)
	}
	m.run(t, "systemctl", "stop", unit)
}

func (m machine) faultyIsTriedAgain(t *testing.T) {
	const unit = "tokenagent@faulty"
	if out, err := m.try("systemctl", "start", unit); err == nil {
		t.Errorf("it starts: %s", out)
	}
	// Until it has ended, the next try has no status yet.
	eventually(t, "the exit code of a faulty configuration", func() bool { return m.number(t, unit, "ExecMainStatus") == exitConfiguration })
	m.wantLogged(t, unit, "unknown attribute sauce")
	put(t, m.path("/etc/tokenagent/faulty.hcl"), readFile(t, m.path("/etc/tokenagent/stopped.hcl")))
	eventually(t, "the agent with a mended configuration", func() bool { return m.property(t, unit, "ActiveState") == "active" })
	m.run(t, "systemctl", "stop", unit)
}

func (m machine) userUnit(t *testing.T) {
	m.run(t, "systemctl", "start", "manager-of-frontend")
	as := func(args ...string) string {
		return m.run(t, slices.Concat([]string{"setpriv", "--reuid=frontend", "--regid=frontend", "--clear-groups", "env", "XDG_RUNTIME_DIR=/run/frontend", "HOME=/home/frontend"}, args)...)
	}
	if found := as("systemd-analyze", "verify", "--man=no", "--user", "/usr/lib/systemd/user/tokenagent.service"); found != "" {
		t.Errorf("systemd-analyze verify --user:\n%s", found)
	}
	as("systemctl", "--user", "start", "tokenagent")
	eventually(t, "the status after the start", func() bool { // told right after READY=1
		return strings.HasPrefix(as("systemctl", "--user", "show", "--value", "--property=StatusText", "tokenagent"), "1 token valid; ")
	})
	if _, err := os.Stat(m.path("/run/frontend/bt_u" + strconv.Itoa(frontendID))); err != nil {
		t.Error(err)
	}
	as("systemctl", "--user", "reload", "tokenagent")
	as("systemctl", "--user", "stop", "tokenagent")
}

func (m machine) stopLeaves(t *testing.T) {
	m.run(t, "systemctl", "stop", "tokenagent")
	if result := m.property(t, "tokenagent", "Result"); result != "success" {
		t.Errorf("the stop ends with %s", result)
	}
	m.wantLogged(t, "tokenagent", "stopped; the tokens stay where they are")
	for _, path := range []string{"/etc/condor/tokens.d/10-pool", "/home/frontend/.condor/tokens.d/own"} {
		if _, err := os.Stat(m.path(path)); err != nil {
			t.Error(err)
		}
	}
	m.run(t, "tokenagent", "status", "--control", "/run/tokenagent/ten/control.sock")
}

// An agent must be quick at least once in a few times, as the host may be busy: as
// quick as promised with TOKENAGENT_FIGURES=1, which make figures sets.
func (m machine) tenTokensStart(t *testing.T) {
	const unit = "tokenagent@ten"
	best := time.Hour
	for range 5 {
		m.run(t, "systemctl", "stop", unit)
		m.run(t, "rm", "-rf", "/var/lib/tokenagent/ten")
		m.run(t, "systemctl", "start", unit)
		began, ready := m.number(t, unit, "ExecMainStartTimestampMonotonic"), m.number(t, unit, "ActiveEnterTimestampMonotonic")
		best = min(best, time.Duration(ready-began)*time.Microsecond)
	}
	m.wantStatus(t, unit, `10 tokens valid; .*`)
	t.Logf("from the start until READY: %v", best)
	if best > time.Duration(slack())*mostStart {
		t.Errorf("from the start until READY it takes %v", best)
	}
}

// slack is by how much a figure that a busy host makes worse may be worse than
// promised.
func slack() int {
	if os.Getenv("TOKENAGENT_FIGURES") == "1" {
		return 1
	}
	return 20
}

// tenTokens is the block of the ten tokens of an agent at rest.
const tenTokens = `
token "t" {
  for_each = toset([for n in range(10) : "t${n}"])
  source   = source.local_key.site
  subject  = "robot"
  lifetime = "1h"
  sink "file" { path = "${path.config}/tokens/${each.key}" }
}
`

// For a minute, in which each file is looked at once; at least once in a few times,
// as the host may be busy: a thread that waits for its turn goes to sleep more often.
// It keeps what is promised with TOKENAGENT_FIGURES=1, which make figures sets.
func TestAnAgentAtRestNeedsNextToNothing(t *testing.T) {
	requireLong(t)
	t.Parallel()
	s := newSiteIn(t, "/var/tmp", tenTokens) // as the agent looks up when something happens in /tmp
	s.mkdir(t, "tokens", os.Geteuid(), 0o700)
	listener, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: s.path("notify"), Net: "unixgram"})
	check(t, err)
	defer listener.Close()
	s.start(t, append(withoutRace(t), "env", "NOTIFY_SOCKET="+s.path("notify"), "WATCHDOG_USEC=120000000")...)
	s.settled(t)
	time.Sleep(15 * time.Second) // until what comes after a start is over: records, old temporary files
	most := mostWakes * float64(slack())
	least := most + 1
	for tries := 0; least > most && tries < 5; tries++ {
		began, before := time.Now(), wakes(t, s.agent.Process.Pid)
		time.Sleep(restsFor)
		perSecond := float64(wakes(t, s.agent.Process.Pid)-before) / time.Since(began).Seconds()
		t.Logf("%.2f wake-ups a second", perSecond)
		least = min(least, perSecond)
	}
	memory := memoryOf(t, s.agent.Process.Pid)
	t.Logf("%.1f MB", float64(memory)/(1<<20))
	if least > most || memory > mostMemory {
		t.Errorf("an agent at rest wakes up %.2f times a second and has %.1f MB", least, float64(memory)/(1<<20))
	}
}

// wakes is how often the threads of the process have gone to sleep so far.
func wakes(t *testing.T, pid int) (n int) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	check(t, err)
	for _, thread := range threads {
		text, err := os.ReadFile(thread)
		if errors.Is(err, os.ErrNotExist) {
			continue // it has ended
		}
		check(t, err)
		_, count, _ := strings.Cut(string(text), "\nvoluntary_ctxt_switches:")
		count, _, _ = strings.Cut(strings.TrimSpace(count), "\n")
		one, err := strconv.Atoi(count)
		check(t, err)
		n += one
	}
	return n
}
