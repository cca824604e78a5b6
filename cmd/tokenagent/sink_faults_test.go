package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
)

// A diskFault is what can befall the folder of a token.
type diskFault struct {
	prepare func(t *testing.T, dir string) // before the agent starts; nil: nothing
	begin   func(t *testing.T, s *site, dir string)
	end     func(t *testing.T, s *site, dir string)
	owner   int
	blind   bool     // nobody can read the folder until the end
	mute    bool     // the agent cannot answer until the end
	words   []string // of the error
}

var diskFaults = map[string]diskFault{
	"no space": {
		prepare: tmpfs("size=64k"),
		begin: func(t *testing.T, _ *site, dir string) {
			if err := os.WriteFile(filepath.Join(dir, "full"), make([]byte, 1<<20), 0o600); !errors.Is(err, unix.ENOSPC) {
				t.Fatalf("the disk takes too much: %v", err)
			}
		},
		end:   func(t *testing.T, _ *site, dir string) { check(t, os.Remove(filepath.Join(dir, "full"))) },
		words: []string{"write the temporary file: no space left on device; free some space or inodes in "},
	},
	"no inodes": {
		prepare: tmpfs("nr_inodes=3"), // of the folder, the token, and what is written beside it
		begin: func(t *testing.T, _ *site, dir string) {
			check(t, os.WriteFile(filepath.Join(dir, "last"), nil, 0o600))
		},
		end:   func(t *testing.T, _ *site, dir string) { check(t, os.Remove(filepath.Join(dir, "last"))) },
		words: []string{"make a temporary file: no space left on device; free some space or inodes in "},
	},
	"over quota": {
		prepare: func(t *testing.T, dir string) {
			whole := dir + ".whole" // which has no quota, so that one can be changed
			check(t, os.Mkdir(whole, 0o700))
			diskOf(128<<20, "mkfs.btrfs")(t, whole)
			mustRun(t, "btrfs", "quota", "enable", whole)
			mustRun(t, "btrfs", "subvolume", "create", whole+"/part")
			check(t, os.Chmod(whole+"/part", 0o700))
			check(t, unix.Mount(whole+"/part", dir, "", unix.MS_BIND, ""))
			t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
		},
		begin: func(t *testing.T, _ *site, dir string) {
			mustRun(t, "btrfs", "qgroup", "limit", "1K", "0/256", dir+".whole")
		},
		end: func(t *testing.T, _ *site, dir string) {
			mustRun(t, "btrfs", "qgroup", "limit", "none", "0/256", dir+".whole")
		},
		words: []string{"disk quota exceeded; raise the quota in "},
	},
	"read-only": {
		prepare: tmpfs("size=64k"),
		begin: func(t *testing.T, _ *site, dir string) {
			check(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
		},
		end: func(t *testing.T, _ *site, dir string) {
			check(t, unix.Mount("", dir, "", unix.MS_REMOUNT, ""))
		},
		words: []string{"make a temporary file: read-only file system; mount it writable, or, under systemd, open it to the service: ReadWritePaths="},
	},
	"errors of the disk": {
		prepare: diskOf(300<<20, "mkfs.xfs"),
		begin: func(t *testing.T, _ *site, dir string) {
			mustRun(t, "xfs_io", "-x", "-c", "shutdown", dir)
		},
		end: func(t *testing.T, _ *site, dir string) {
			check(t, unix.Unmount(dir, unix.MNT_DETACH))
			mustRun(t, "mount", "-o", "loop", dir+".img", dir)
		},
		blind: true,
		words: []string{"input/output error; the disk or its server fails, see the kernel's log"},
	},
	"closed by its owner": {
		owner: somebody,
		begin: func(t *testing.T, _ *site, dir string) { check(t, os.Chmod(dir, 0o500)) },
		end:   func(t *testing.T, _ *site, dir string) { check(t, os.Chmod(dir, 0o700)) },
		words: []string{"make a temporary file: permission denied for uid 54321 with the group gid 54321 alone in ", "let that user write there"},
	},
	"immutable": {
		prepare: tmpfs("size=64k"),
		begin: func(t *testing.T, _ *site, dir string) {
			requirePart(t, "chattr", "+i", filepath.Join(dir, "t")) // a tmpfs knows it since Linux 6.6
		},
		end:   func(t *testing.T, _ *site, dir string) { mustRun(t, "chattr", "-i", filepath.Join(dir, "t")) },
		words: []string{"replace it: operation not permitted; look for an immutable flag (lsattr)"},
	},
	"no descriptors": {
		begin: func(t *testing.T, s *site, _ string) { s.limitDescriptors(t, 3) },
		end:   func(t *testing.T, s *site, _ string) { s.limitDescriptors(t, 1024) },
		mute:  true,
		words: []string{"too many open files; raise the limit on open files of the agent (LimitNOFILE= of its unit, or ulimit -n)"},
	},
}

// Whatever befalls the disk, readers keep the old token, the agent says once what
// to do, goes on trying with pauses, and writes when it can.
func TestAFaultOfTheDiskLeavesTheOldTokenAndEnds(t *testing.T) {
	t.Parallel()
	needRoot(t)
	for name, fault := range diskFaults {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			befall(t, fault)
		})
	}
}

func befall(t *testing.T, fault diskFault) {
	s := newSite(t, fmt.Sprintf(`
token "t" {
  source   = source.local_key.site
  subject  = "t"
  lifetime = "3m"
  sink "file" {
    path  = "${path.config}/tokens/t"
    owner = "%[1]d"
    group = "%[1]d"
  }
  renew {
    min_remaining = "170s" # so it is renewed after 10 s, which is the least
  }
}`, fault.owner))
	dir := s.mkdir(t, "tokens", fault.owner, 0o700)
	if fault.prepare != nil {
		fault.prepare(t, dir)
	}
	s.start(t)
	t.Cleanup(s.kill) // before the disk goes
	s.settled(t)
	old := s.mustLook(t, "tokens/t")

	begun := time.Now()
	fault.begin(t, s, dir)
	eventually(t, "a failed write", func() bool { return strings.Contains(s.log(t), "token not written") })
	if !fault.mute {
		eventually(t, "two more", func() bool { return failures(t, s) >= 3 })
		if took := time.Since(begun); took < 2*time.Second {
			t.Errorf("three writes failed within %v", took)
		}
	}
	if !fault.blind {
		wantOldToken(t, s, old)
	}
	fault.end(t, s, dir)
	if fault.blind {
		wantOldToken(t, s, old)
	}
	eventually(t, "a new token", func() bool {
		now, err := look(s.path("tokens/t"))
		return err == nil && now.Text != old.Text
	})
	s.settled(t)
	s.stop(t)
	wantNoTemporary(t, s)
	fault.wantLog(t, s.log(t))
}

// failures are how often the write has failed.
func failures(t *testing.T, s *site) int {
	t.Helper()
	all, err := s.client().Status(t.Context())
	check(t, err)
	if len(all) == 0 || len(all[0].Sinks) == 0 || all[0].Sinks[0].Failing == nil {
		return 0
	}
	failing := all[0].Sinks[0].Failing
	if failing.Kind != agent.Writing.String() || strings.Contains(failing.Error, "\n") {
		t.Errorf("status says %+v", failing)
	}
	return failing.Failures
}

// wantLog demands one line when the writes begin to fail, and one when they do no more.
func (f diskFault) wantLog(t *testing.T, log string) {
	t.Helper()
	var failed, recovered []string
	for line := range strings.Lines(log) {
		switch {
		case strings.Contains(line, "token not written"):
			failed = append(failed, line)
		case strings.Contains(line, "works again"):
			recovered = append(recovered, line)
		}
	}
	if len(failed) != 1 || len(recovered) != 1 {
		t.Fatalf("it says %d times that the write fails, and %d times that it does no more:\n%s", len(failed), len(recovered), log)
	}
	for _, w := range f.words {
		if !strings.Contains(failed[0], w) {
			t.Errorf("%q does not say %q", failed[0], w)
		}
	}
}

func wantOldToken(t *testing.T, s *site, old seen) {
	t.Helper()
	if now := s.mustLook(t, "tokens/t"); now.Text != old.Text || now.Mode != old.Mode {
		t.Errorf("the token is %+v, want the old one", now)
	}
	wantNoTemporary(t, s)
}

func wantNoTemporary(t *testing.T, s *site) {
	t.Helper()
	eventually(t, "the end of temporary files", func() bool { return len(temporary(t, s)) == 0 }) // a write may be under way
}

// limitDescriptors sets how many descriptors the running agent may have.
func (s *site) limitDescriptors(t *testing.T, most uint64) {
	t.Helper()
	check(t, unix.Prlimit(s.agent.Process.Pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: most, Max: 1024}, nil))
}

// tmpfs mounts a small disk in memory.
func tmpfs(options string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "mode=0700,"+options))
		t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	}
}

// diskOf mounts a disk of that size, made by that program.
func diskOf(size int64, mkfs string) func(t *testing.T, dir string) {
	return func(t *testing.T, dir string) {
		t.Helper()
		requirePart(t, mkfs, "-V")
		image := dir + ".img"
		check(t, os.WriteFile(image, nil, 0o600))
		check(t, os.Truncate(image, size))
		mustRun(t, mkfs, "-q", image)
		requirePart(t, "mount", "-o", "loop", image, dir) // for which the kernel needs the file system
		t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
		check(t, os.Chmod(dir, 0o700))
	}
}

func mustRun(t *testing.T, program string, args ...string) {
	t.Helper()
	if out, err := exec.Command(program, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %q: %v\n%s", program, args, err, out)
	}
}
