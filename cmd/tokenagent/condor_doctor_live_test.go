package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// doctor runs doctor on a side of the pool, and returns what it printed and its
// exit code.
func (p *pool) doctor(t *testing.T, side string, args ...string) (string, int) {
	t.Helper()
	c := exec.CommandContext(t.Context(), "tokenagent", append([]string{"doctor"}, args...)...)
	c.Env = p.environment(side)
	out, err := c.Output()
	failed, isExit := errors.AsType[*exec.ExitError](err)
	if err != nil && !isExit {
		t.Fatal(err)
	}
	if isExit {
		return string(out) + string(failed.Stderr), failed.ExitCode()
	}
	return string(out), 0
}

// mint makes a token with HTCondor's own tool.
func (p *pool) mint(t *testing.T, knobs []string, args ...string) string {
	t.Helper()
	c := p.command("manager", "condor_token_create", args...)
	c.Env = append(c.Env, knobs...)
	out, err := c.Output()
	if err != nil {
		t.Fatalf("condor_token_create %q: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

// hear asks the pool with the tokens of a folder.
func (p *pool) hear(t *testing.T, folder string, more ...string) (poolReply, int) {
	t.Helper()
	out, code := p.doctor(t, "client", append([]string{folder, "--pool", p.address(), "--json"}, more...)...)
	var h poolReply
	if err := json.Unmarshal([]byte(out), &h); err != nil {
		t.Fatalf("doctor --pool: %v\n%s", err, out)
	}
	return h, code
}

func (p *pool) address() string { return fmt.Sprintf("localhost:%d", p.port) }

func (h poolReply) authorised() (levels []string) {
	for _, l := range h.Levels {
		if l.Authorised {
			levels = append(levels, l.Level)
		}
	}
	return levels
}

func (h poolReply) says(text string) bool {
	return slices.ContainsFunc(h.Findings, func(f tokendir.Finding) bool { return strings.Contains(f.Text+"\n"+f.Remedy, text) })
}

// folderOf is a token directory of root's with one file.
func (p *pool) folderOf(t *testing.T, name, token string) string {
	t.Helper()
	folder := p.path(name)
	check(t, os.Mkdir(folder, 0o700))
	if token != "" {
		put(t, filepath.Join(folder, "10-pool"), token+"\n")
		check(t, os.Chmod(filepath.Join(folder, "10-pool"), 0o600))
	}
	return folder
}

func TestDoctorAsksAPoolWhatItAllows(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	who := []string{"-identity", "schedd@pool.example", "-lifetime", "3600"}
	limited := p.mint(t, nil, append(who, "-authz", "READ", "-authz", "ADVERTISE_SCHEDD")...)
	good := p.folderOf(t, "good", limited)
	check(t, os.Mkdir(p.path("keys"), 0o700))
	key, err := os.ReadFile(p.path("manager/passwords.d/POOL"))
	check(t, err)
	put(t, p.path("keys/POOL"), string(key))
	check(t, os.Chmod(p.path("keys/POOL"), 0o600))

	t.Run("a token's rights, and no key's", func(t *testing.T) {
		config := readFile(t, p.path("client/config"))
		put(t, p.path("client/config"), config+fmt.Sprintf("SEC_PASSWORD_DIRECTORY = %[1]s\nTOOL.SEC_PASSWORD_DIRECTORY = %[1]s\nSEC_TOKEN_POOL_SIGNING_KEY_FILE = %[1]s/POOL\nTOOL.SEC_CLIENT_AUTHENTICATION_METHODS = FS, IDTOKENS\n", p.path("keys")))
		defer put(t, p.path("client/config"), config)
		h, code := p.hear(t, good)
		if got := h.authorised(); code != 0 || !slices.Equal(got, []string{"READ", "ADVERTISE_SCHEDD"}) || h.Levels[0].Identity != "schedd@pool.example" || h.Sent != "10-pool" || !h.Replay.Agrees {
			t.Errorf("exit %d: %+v", code, h)
		}
		if out, code := p.doctor(t, "client", good); code != 0 || strings.Contains(out, "condor@password") {
			t.Errorf("on a manager: exit %d\n%s", code, out)
		}
		put(t, p.path("client/config"), readFile(t, p.path("client/config"))+"DAEMON_LIST = MASTER, SCHEDD\n")
		if out, code := p.doctor(t, "client", good); code != 0 || !strings.Contains(out, "the key POOL") || !strings.Contains(out, "install -D -m 0600 "+p.path("keys/POOL")+" /etc/tokenagent/keys/POOL") {
			t.Errorf("on an access point: exit %d\n%s", code, out)
		}
		if h, code := p.hear(t, p.folderOf(t, "none", "")); code != 1 || h.authorised() != nil || !h.says("and the pool has a key of that name") {
			t.Errorf("without a token, and a key in reach: exit %d, %+v", code, h)
		}
	})
	for _, c := range []struct{ name, token, says string }{
		{"foreign", p.mint(t, []string{"_condor_TRUST_DOMAIN=other.example"}, who...), `write trust_domain = "pool.example"`},
		{"expired", p.mint(t, nil, "-identity", "schedd@pool.example", "-lifetime", "1"), "the token expired"},
		{"forged", limited[:len(limited)-6] + "AAAAAA", "the replay knows no reason"},
		{"denied", p.mint(t, nil, "-identity", "schedd@elsewhere.example", "-lifetime", "3600", "-authz", "ADVERTISE_SCHEDD"), "add schedd@elsewhere.example to ALLOW_ADVERTISE_SCHEDD"},
	} {
		t.Run(c.name, func(t *testing.T) {
			folder := p.folderOf(t, c.name, c.token)
			if c.name == "expired" {
				eventually(t, "it expires", func() bool { h, _ := p.hear(t, folder); return h.authorised() == nil })
			}
			h, code := p.hear(t, folder)
			if code != 1 || !h.says(c.says) || !h.Replay.Agrees {
				t.Errorf("exit %d: %+v", code, h)
			}
		})
	}
	t.Run("another method", func(t *testing.T) {
		if h, code := p.hear(t, good, "--method", "scitokens"); code != 1 || !h.says("add SCITOKENS to the server's") {
			t.Errorf("exit %d: %+v", code, h)
		}
	})
	t.Run("as a user", func(t *testing.T) {
		check(t, errors.Join(os.Chmod(p.path("client"), 0o755), os.Chmod(p.path("client/config"), 0o644)))
		folder := p.folderOf(t, "nobody", limited)
		for _, path := range []string{folder, folder + "/10-pool"} {
			check(t, os.Chown(path, 65534, 65534))
		}
		if h, code := p.hear(t, folder, "--as", "nobody"); code != 0 || len(h.authorised()) != 2 || h.As != "nobody" {
			t.Errorf("exit %d: %+v", code, h)
		}
	})
	t.Run("nobody answers", func(t *testing.T) {
		for _, c := range [][]string{{"localhost:1", "see whether the server runs"}, {"no-host.example", "correct the name of the host"}} {
			if out, code := p.doctor(t, "client", "--pool", c[0]); code != 1 || !strings.Contains(out, c[1]) {
				t.Errorf("%s: exit %d\n%s", c[0], code, out)
			}
		}
	})
}

// A scatter lays files of all kinds into token directories, the same for each seed.
type scatter struct {
	*rand.Rand
	pool   *pool
	tokens map[string]string // by kind; a %d in their subject would need one signature each, so files share them
}

// scattered are kinds of content, with how condor_token_create is asked for them.
var scattered = map[string][]string{
	"one":     {"-identity", "one@pool.example", "-lifetime", "7200", "-authz", "READ"},
	"two":     {"-identity", "two@pool.example", "-lifetime", "7200"},
	"three":   {"-identity", "three@pool.example"},
	"expired": {"-identity", "expired@pool.example", "-lifetime", "1"},
	"other":   {"-identity", "other@pool.example", "-lifetime", "7200", "-key", "other"},
}

func newScatter(t *testing.T, p *pool) scatter {
	t.Helper()
	s := scatter{rand.New(rand.NewPCG(23, 9)), p, map[string]string{}}
	p.putKey(t, "other", []byte("a key that the pool loses"))
	for kind, args := range scattered {
		s.tokens[kind] = p.mint(t, nil, args...)
	}
	check(t, os.Remove(p.path("manager/passwords.d/other")))
	s.tokens["foreign"] = p.mint(t, []string{"_condor_TRUST_DOMAIN=other.example"}, "-identity", "foreign@pool.example")
	two := s.tokens["two"]
	s.tokens["forged"] = two[:len(two)-8] + "AAAAAAAA"
	s.tokens["cut"] = two[:len(two)-8]
	return s
}

// lay makes one directory.
func (s scatter) lay(t *testing.T, folder string) {
	t.Helper()
	check(t, os.Mkdir(folder, 0o700))
	names := []string{"10-pool", "Z", "a", "token9", "token10", ".hidden", "x~", "b.rpmsave", "c.sh", "z.new", "with blank", "#d", "ü"}
	s.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	for _, name := range names[:1+s.IntN(5)] {
		s.file(t, filepath.Join(folder, name))
	}
}

// file makes one entry: most are a file with a token.
func (s scatter) file(t *testing.T, path string) {
	t.Helper()
	switch s.IntN(16) {
	case 0:
		check(t, os.Mkdir(path, 0o755))
		return
	case 1:
		check(t, os.Symlink("nowhere", path))
		return
	case 2:
		target := path + ".target~" // a name that is passed over
		put(t, target, s.content())
		check(t, os.Chmod(target, 0o600))
		check(t, os.Symlink(filepath.Base(target), path))
		return
	}
	put(t, path, s.content())
	check(t, os.Chmod(path, []os.FileMode{0o600, 0o600, 0o400, 0o700, 0o640, 0o604}[s.IntN(6)]))
	if s.IntN(8) == 0 {
		check(t, os.Chown(path, 65534, 65534))
	}
}

func (s scatter) content() string {
	kinds := []string{"one", "two", "three", "expired", "other", "foreign", "forged", "cut"}
	pick := func() string { return s.tokens[kinds[s.IntN(len(kinds))]] }
	switch s.IntN(12) {
	case 0:
		return ""
	case 1:
		return "# made by hand\n\n" + pick() + "\n" + pick() + "\n"
	case 2:
		return "Bearer " + pick() + "\n"
	case 3:
		return `{"access_token": "` + pick() + `"}`
	case 4:
		return "  " + pick() + "\r\n"
	case 5:
		return pick()[:40] + "\n" + pick()
	}
	return pick() + "\n"
}

// What doctor says of a directory is what the real client does with it and what the
// real server answers.
func TestDoctorSaysWhatTheRealClientDoesIn60Directories(t *testing.T) {
	t.Parallel()
	p := newPool(t)
	s := newScatter(t, p)
	eventually(t, "the token of one second expires", func() bool {
		h, _ := p.hear(t, p.folderOf(t, fmt.Sprintf("expired%d", s.IntN(1<<30)), s.tokens["expired"]))
		return h.authorised() == nil
	})
	pool, tally := tokendir.Pool{TrustDomain: poolDomain, Keys: []string{"POOL"}}, map[string]int{}
	for i := range 60 {
		folder := p.path(fmt.Sprintf("dir%02d", i))
		s.lay(t, folder)
		out, _ := p.doctor(t, "manager", folder, "--json") // which has the key, so that it can tell a forged token
		var said diagnosis
		check(t, json.Unmarshal([]byte(out), &said))
		sent, identity := "", ""
		if e, found := (tokendir.Reading{Entries: said.Directories[0].Entries}).SentTo(pool); found {
			sent = e.Name
			if e.Token.State == tokendir.Valid {
				identity = e.Token.Subject
			}
		}
		h, _ := p.hear(t, folder)
		real := ""
		for _, l := range h.Levels {
			if l.Authorised {
				real = l.Identity
			}
		}
		if sent != h.Sent || identity != real || !h.Replay.Agrees {
			t.Errorf("%s: doctor says that %q is sent, as %q; the client sent %q, as %q\n%s", folder, sent, identity, h.Sent, real, out)
		}
		switch {
		case sent == "":
			tally["nothing sent"]++
		case identity == "":
			tally["sent and refused"]++
		default:
			tally["sent and accepted"]++
		}
		if said.Directories[0].Version != "23.9.6" {
			t.Errorf("doctor took version %q", said.Directories[0].Version)
		}
	}
	t.Logf("%v", tally)
	if len(tally) < 3 || min(tally["nothing sent"], tally["sent and refused"], tally["sent and accepted"]) < 5 {
		t.Errorf("the directories are too much alike: %v", tally)
	}
}
