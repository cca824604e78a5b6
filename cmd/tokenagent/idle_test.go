package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/sources/issuer/issuertest"
)

// mostIdle is how many bytes of memory the agent may have in use while it has
// nothing to do, with a thousand tokens that it fetched.
const mostIdle = 60 << 20

// A thousand fetched tokens are kept in little memory. They are of several issuers,
// as one would be asked for 200 s: TOKENAGENT_IDLE_ISSUERS=1 does so.
func TestAThousandFetchedTokensAreKeptInLittleMemory(t *testing.T) {
	requireLong(t)
	t.Parallel()
	const tokens = 1000
	issuers := count(t, "TOKENAGENT_IDLE_ISSUERS", 50)
	s := newSite(t, "")
	put(t, s.path("secret"), "s3cret")
	ca := issuertest.NewCA(t)
	var text strings.Builder
	for n := range issuers {
		i := issuertest.StartWith(t, ca, nil)
		fmt.Fprintf(&text, `
source "client_credentials" "i%[1]d" {
  issuer             = %[2]q
  ca_file            = %[3]q
  client_id          = "robot"
  client_secret_file = "${path.config}/secret"
}
token "t%[1]d" {
  for_each = toset([for n in range(%[4]d) : "n${n}"])
  source   = source.client_credentials.i%[1]d
  audience = ["https://${each.key}.example.org"]
  scope    = ["storage.read:/"]

  sink "file" {
    path = "${path.config}/tokens/%[1]d-${each.key}"
  }
}
`, n, i.URL, ca.File, tokens/issuers)
	}
	check(t, os.Mkdir(s.path("tokens"), 0o700))
	put(t, s.path("site.hcl"), siteHead+text.String())
	s.start(t, withoutRace(t)...)
	eventuallyWithin(t, time.Duration(tokens/issuers)*300*time.Millisecond+5*time.Minute, "tokens in all files", func() bool {
		files, err := filepath.Glob(s.path("tokens/*"))
		return err == nil && len(files) == tokens
	})
	s.settled(t)
	var used int64
	eventuallyWithin(t, longest, "an agent at rest", func() bool {
		used = memoryOf(t, s.agent.Process.Pid)
		return used <= mostIdle
	})
	t.Logf("%d MB for %d tokens of %d issuers", used>>20, tokens, issuers)
}

// withoutRace has the program run without the race detector, which takes several
// times the memory: as it is shipped, where that of the tests has it.
func withoutRace(t *testing.T) (before []string) {
	t.Helper()
	info, _ := debug.ReadBuildInfo()
	if !slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"}) {
		return nil
	}
	folder := t.TempDir()
	build := exec.Command("go", "build", "-o", folder, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return []string{"env", "PATH=" + folder + ":" + os.Getenv("PATH")}
}

var resident = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// memoryOf is the resident memory of a process, in bytes (proc(5)).
func memoryOf(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	check(t, err)
	found := resident.FindSubmatch(status)
	if found == nil {
		t.Fatal("the kernel does not say how much memory the agent has in use")
	}
	kilobytes, err := strconv.ParseInt(string(found[1]), 10, 64)
	check(t, err)
	return kilobytes << 10
}
