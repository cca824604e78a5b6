package state

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/hooks"
)

// homes are three configurations with one base.
func homes(t *testing.T) (standard, a, b Home) {
	base := filepath.Join(t.TempDir(), "state")
	home := func(name, path string) Home {
		return Home{Base: base, Name: name, Paths: []string{path}, Typed: []string{path}}
	}
	return home("", "/etc/tokenagent/tokenagent.hcl"), home("a", "/c/a.hcl"), home("b", "/c/b.hcl")
}

// naming names tokens, each with the file of its name.
func naming(tokens ...string) Names {
	n := Names{Paths: map[string]bool{}}
	for _, name := range tokens {
		n.Paths["/t/"+name] = true
	}
	return n
}

func kept(token string) agent.Record {
	return agent.Record{Token: token, Name: "/t/" + token, Digest: "d", Issued: noon, Delete: true, Mark: []byte(`{}`)}
}

// leave leaves records and hooks in the folder as an older version does, which
// knows nothing of owners.
func leave(t *testing.T, dir string, tokens ...string) (key []byte) {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var all []agent.Record
	var due []byte
	for _, name := range tokens {
		all = append(all, kept(name))
		due = fmt.Appendf(due, `{"event":"on_change","notice":{"token":%q,"path":"/t/%s","expires":"2026-11-22T12:00:00Z"}}`+"\n", name, name)
	}
	must(t, s.Keep(all))
	must(t, os.WriteFile(filepath.Join(dir, oldHooks), due, 0o600))
	return s.DigestKey()
}

// start is the start of an agent; the folder is its own until it is closed.
func start(t *testing.T, h Home, tokens ...string) *State {
	t.Helper()
	s, err := OpenHome(h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Claim(h, naming(tokens...)); err != nil {
		t.Fatal(err)
	}
	return s
}

// tokensOf are the tokens that the folder has records and hooks of.
func tokensOf(s *State) string {
	var all []string
	for _, r := range s.Recall() {
		if r.Mark != nil {
			all = append(all, r.Token)
		}
		for range r.Hooks.Due() {
			all = append(all, "hook:"+r.Token)
		}
	}
	slices.Sort(all)
	return strings.Join(all, " ")
}

func expectTokens(t *testing.T, s *State, want string) {
	t.Helper()
	if got := tokensOf(s); got != want {
		t.Errorf("%s has %q, want %q", s.dir, got, want)
	}
}

func TestEachConfigurationTakesFromTheSharedFolderWhatItNames(t *testing.T) {
	for name, order := range map[string][]string{
		"default first": {"", "a", "b"}, "default last": {"a", "b", ""}, "default between": {"b", "", "a"},
	} {
		t.Run(name, func(t *testing.T) {
			standard, a, b := homes(t)
			key := leave(t, standard.Base, "d", "a", "b", "nobody")
			all := map[string]Home{"": standard, "a": a, "b": b}
			for round := range 2 { // the second finds what the first has left
				for _, one := range order {
					token := one
					if one == "" {
						token = "d"
					}
					s := start(t, all[one], token)
					expectTokens(t, s, token+" hook:"+token)
					if string(s.DigestKey()) != string(key) {
						t.Errorf("round %d: %q has another digest key, and all its definitions would have changed", round, one)
					}
					s.Close()
				}
			}
			expectTokens(t, Read(filepath.Join(standard.Base, "unclaimed")), "hook:nobody nobody")
			if view := Look(standard, naming("d")); len(view.Records) != 1 || len(view.Unknown) != 1 || view.Unknown[0].Token != "nobody" {
				t.Errorf("status shows %+v", view)
			}
			if view := Look(a, naming("a")); len(view.Records) != 1 || len(view.Unknown) != 0 {
				t.Errorf("status of a shows %+v", view)
			}
		})
	}
}

// What the default configuration records after the upgrade is its own, also when
// another configuration names the same file.
func TestNobodyTakesWhatTheDefaultConfigurationHasRecorded(t *testing.T) {
	standard, a, _ := homes(t)
	s := start(t, standard, "d")
	if err := errors.Join(s.Keep([]agent.Record{kept("d"), kept("gone")}), s.Begin(t.Context(), begins(hooks.OnChange, "d"))); err != nil {
		t.Fatal(err)
	}
	expectTokens(t, start(t, a, "d", "gone"), "") // beside the running agent
	s.Close()
	s = start(t, standard, "d")
	expectTokens(t, s, "d gone hook:d") // gone is its own: on_remove holds
}

func TestWhatAnAgentOfAnOlderVersionWorksWithStaysUntilItHasStopped(t *testing.T) {
	standard, a, _ := homes(t)
	leave(t, standard.Base, "a", "x")
	older, err := Open(standard.Base)
	if err != nil {
		t.Fatal(err)
	}
	defer older.Close()
	s, err := OpenHome(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, locked := errors.AsType[*Locked](s.Claim(a, naming("a"))); !locked {
		t.Error("it was not said that the folder is in use")
	}
	expectTokens(t, s, "")
	if err := s.Claim(a, naming("other")); err != nil {
		t.Errorf("nothing in there is named, and yet: %v", err)
	}
	expectTokens(t, older, "a hook:a hook:x x")
	older.Close()
	if err := s.Claim(a, naming("a")); err != nil {
		t.Fatal(err)
	}
	expectTokens(t, s, "a hook:a")
}

// What this configuration has recorded meanwhile counts, and not what an older
// version has.
func TestARecordOfTheOlderVersionReplacesNoNewerOne(t *testing.T) {
	standard, a, _ := homes(t)
	leave(t, standard.Base, "a")
	s, err := OpenHome(a)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	newer := kept("a")
	newer.Digest = "newer"
	if err := s.Keep([]agent.Record{newer}); err != nil {
		t.Fatal(err)
	}
	s.records = []agent.Record{newer}
	if err := s.Claim(a, naming("a")); err != nil {
		t.Fatal(err)
	}
	if all := s.Recall(); len(all) != 1 || all[0].Digest != "newer" {
		t.Errorf("the records are %+v", all)
	}
	expectTokens(t, Read(standard.Base), "")
}

// Two configurations with one name share a folder, one after the other: neither
// takes the other's tokens for its own old ones.
func TestAFolderThatChangesHandsKeepsWhatIsAnothers(t *testing.T) {
	_, a, b := homes(t)
	b.Name = a.Name
	s := start(t, a, "a", "same")
	if err := s.Keep([]agent.Record{kept("a"), kept("same")}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	s = start(t, b, "b", "same")
	expectTokens(t, s, "same")
	s.Close()
	if view := Look(b, naming("b", "same")); len(view.Unknown) != 1 || view.Unknown[0].Token != "a" {
		t.Errorf("status shows %+v", view)
	}
	expectTokens(t, start(t, a, "a", "same"), "a same")
}

// Version 0.1 knows nothing of owners: after a downgrade it may have run with
// another configuration in the folder of the default one.
func TestWhatTheOlderVersionRecordsAfterADowngradeIsOfAnUnknownConfiguration(t *testing.T) {
	standard, a, _ := homes(t)
	s := start(t, standard, "d")
	if err := s.Keep([]agent.Record{kept("d")}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	text, err := json.Marshal(oldDocument{version, []agent.Record{kept("d"), kept("a"), kept("nobody")}})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(standard.Base, oldRecords), text, 0o600); err != nil {
		t.Fatal(err)
	}
	if view := Look(standard, naming("d")); len(view.Records) != 1 || len(view.Unknown) != 2 {
		t.Errorf("status shows %+v", view)
	}
	expectTokens(t, start(t, standard, "d"), "d")
	expectTokens(t, start(t, a, "a"), "a")
	expectTokens(t, Read(filepath.Join(standard.Base, "unclaimed")), "nobody")
}

// A folder that is deleted under the agent is made again, with its owner.
func TestAFolderThatIsMadeAgainHasItsOwner(t *testing.T) {
	_, a, _ := homes(t)
	s := start(t, a, "a")
	if err := os.RemoveAll(a.Dir()); err != nil {
		t.Fatal(err)
	}
	if err := s.Keep([]agent.Record{kept("a"), kept("gone")}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	expectTokens(t, start(t, a, "a"), "a gone")
}

func TestAConfigurationKeepsItsFolderUnderAnotherName(t *testing.T) {
	_, a, _ := homes(t)
	s := start(t, a, "a")
	if err := s.Keep([]agent.Record{kept("a"), kept("gone")}); err != nil {
		t.Fatal(err)
	}
	named := a
	named.Name = "site"
	if _, err := OpenHome(named); !isLocked(err) {
		t.Errorf("while the agent runs under the old name: %v", err)
	}
	s.Close()
	switched := named
	switched.Paths = []string{"/releases/2/a.hcl"} // a deployment has switched the link
	for _, h := range []Home{named, switched} {
		s = start(t, h, "a")
		expectTokens(t, s, "a gone")
		s.Close()
	}
	if _, err := os.Stat(a.Dir()); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the old folder is still there: %v", err)
	}
}

func isLocked(err error) bool { _, is := errors.AsType[*Locked](err); return is }

// A killed agent leaves, between any two changes of a file, a state in which the
// next starts find everything.
func TestAKillDuringTheMoveLosesNothing(t *testing.T) {
	standard, a, _ := homes(t)
	kills := 0
	for killed := true; killed; kills++ {
		base := filepath.Join(t.TempDir(), "state")
		standard.Base, a.Base = base, base
		leave(t, base, "d", "a", "nobody")
		left := kills
		killed = dies(t, standard, naming("d"), &left) || dies(t, a, naming("a"), &left)
		first, second := start(t, a, "a"), start(t, standard, "d")
		expectTokens(t, first, "a hook:a")
		expectTokens(t, second, "d hook:d")
		expectTokens(t, Read(filepath.Join(base, "unclaimed")), "hook:nobody nobody")
		first.Close()
		second.Close()
	}
	if kills < 7 {
		t.Errorf("only %d kills", kills)
	}
}

// dies starts an agent, and ends it as a kill does after some steps of the claim:
// the locks are given back, and nothing else is done.
func dies(t *testing.T, h Home, n Names, left *int) (killed bool) {
	type kill struct{}
	n.step = func() {
		if *left--; *left < 0 {
			panic(kill{})
		}
	}
	s, err := OpenHome(h)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	defer func() {
		r := recover()
		if _, killed = r.(kill); r != nil && !killed {
			panic(r)
		}
	}()
	if err := s.Claim(h, n); err != nil {
		t.Error(err)
	}
	return false
}

func TestWhatCannotBeReadLeavesTheOwnerUnknown(t *testing.T) {
	_, a, b := homes(t)
	s := start(t, a, "a")
	if err := s.Keep([]agent.Record{kept("a"), kept("gone")}); err != nil {
		t.Fatal(err)
	}
	s.Close()
	for _, content := range []string{"", "x", "{}", `{"paths":[],"typed":[]}`} {
		if err := os.WriteFile(filepath.Join(a.Dir(), "owner.json"), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if ownerOf(a.Dir()).known() || ownerOf(a.Dir()).is(b) || ownerOf(a.Dir()).is(Home{}) {
			t.Errorf("%q names an owner", content)
		}
	}
	expectTokens(t, start(t, a, "a"), "a")
	expectTokens(t, Read(filepath.Join(a.Dir(), "unclaimed")), "gone")
}

// After the upgrade of a host all agents start at once: nobody gives up because
// another one is claiming.
func TestAllThatStartAtOnceFindWhatIsTheirs(t *testing.T) {
	standard, _, _ := homes(t)
	var tokens []string
	for _, r := range "abcdefgh" {
		tokens = append(tokens, string(r))
	}
	leave(t, standard.Base, tokens...)
	type found struct{ token, has string }
	all := make(chan found)
	for _, token := range tokens {
		h := Home{Base: standard.Base, Name: token, Paths: []string{"/c/" + token}}
		if token == "a" {
			h.Name = ""
		}
		go func() {
			s, err := OpenHome(h)
			for end := time.Now().Add(time.Minute); isLocked(err) && time.Now().Before(end); s, err = OpenHome(h) {
			}
			if err == nil {
				err = s.Claim(h, naming(token))
			}
			if err != nil {
				all <- found{token, err.Error()}
				return
			}
			defer s.Close()
			all <- found{token, tokensOf(s)}
		}()
	}
	for range tokens {
		if f := <-all; f.has != f.token+" hook:"+f.token {
			t.Errorf("%s has %q", f.token, f.has)
		}
	}
}

// A full disk at the first start after the upgrade must not make another
// configuration's tokens this one's, whose on_remove would delete them.
func TestAClaimThatFailsActsOnNothingOfOthers(t *testing.T) {
	standard, _, _ := homes(t)
	leave(t, standard.Base, "d", "nobody")
	pool := filepath.Join(standard.Base, unclaimedName)
	must(t, os.WriteFile(pool, nil, 0o600)) // no folder can be made there
	s, err := OpenHome(standard)
	must(t, err)
	if s.Claim(standard, naming("d")) == nil {
		t.Fatal("the claim did not fail")
	}
	expectTokens(t, s, "d hook:d")
	newer := kept("d")
	newer.Digest = "d2"
	must(t, s.Keep([]agent.Record{newer}))
	must(t, s.Close())

	must(t, os.Remove(pool))
	expectTokens(t, start(t, standard, "d"), "d")
	expectTokens(t, Read(pool), "hook:nobody nobody")
}

// 100,000 records took a minute of the processor.
func TestManyRecordsMoveWithoutComparingEachWithAll(t *testing.T) {
	const many = 100_000
	var all []agent.Record
	for i := range many {
		all = append(all, agent.Record{Name: fmt.Sprintf("/t/a-path-of-usual-length-%06d", i)})
	}
	began := time.Now()
	if n := len(addMissing(nil, all)); n != many {
		t.Fatal(n)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it takes %v", took)
	}
}
