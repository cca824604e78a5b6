package rotation

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// calm is a world in which nothing happens by chance.
func calm(t *testing.T) *world { return newWorld(t, 0, t.TempDir()) }

// pass lets the time pass, with a Step every hour.
func (w *world) pass(d time.Duration) {
	w.t.Helper()
	for end := w.now.Add(d); w.now.Before(end); w.now = w.now.Add(time.Hour) {
		w.step()
	}
	w.step()
}

func (w *world) life() Life {
	w.t.Helper()
	l, err := w.issuer.Life()
	check(w.t, err)
	return l
}

// signer is the kid of the key that signs.
func (w *world) signer() string {
	w.t.Helper()
	key, err := w.issuer.Signer(w.ctx(), w.now.Add(time.Hour))
	check(w.t, err)
	return key.ID()
}

func (w *world) dir() string { return w.issuer.settings.KeysDir }

// put puts a new key into the keys folder, as PEM.
func (w *world) put(name string) keys.Key {
	w.t.Helper()
	key, err := keys.Generate("ES256")
	check(w.t, err)
	text, err := key.MarshalPEM()
	check(w.t, err)
	check(w.t, os.MkdirAll(w.dir(), 0o700))
	check(w.t, os.WriteFile(filepath.Join(w.dir(), name), text, 0o600))
	return key
}

// publish makes the document of somebody else.
func (w *world) publish(all ...keys.Key) {
	w.t.Helper()
	text, err := keys.JWKS(all...)
	check(w.t, err)
	check(w.t, os.MkdirAll(w.issuer.settings.Site.Root, 0o755))
	check(w.t, os.WriteFile(filepath.Join(w.issuer.settings.Site.Root, KeysFile), text, 0o644))
}

func TestNothingIsSignedBeforeTheDocumentHoldsTheKey(t *testing.T) {
	w := calm(t)
	w.outage = w.now.Add(day)
	for _, want := range []string{"has no key yet", "does not publish the key"} {
		_, err := w.issuer.Signer(w.ctx(), w.now.Add(time.Hour))
		if f, ok := errors.AsType[*agent.Fault](err); !ok || f.Kind != agent.Transient || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want a transient fault with %q", err, want)
		}
		w.step()
	}
	w.pass(2 * day)
	w.signer()
}

func TestAKeyThatIsPublishedAlreadySignsAtOnceUnderItsKid(t *testing.T) {
	w := calm(t)
	key := w.put("ospool.pem").WithID("key-es256")
	w.outage = w.now.Add(day)
	w.step()
	if l := w.life(); len(l.Keys) != 0 {
		t.Errorf("before the document was fetched nobody knows its kid, but there is %+v", l.Keys)
	}
	w.publish(key)
	w.now = w.outage
	w.step()
	if got := w.signer(); got != "key-es256" {
		t.Errorf("%s signs", got)
	}
	w.step()
	if l := w.life(); len(l.Keys) != 2 {
		t.Errorf("a successor is wanted: %+v", l.Keys)
	}
}

func TestADocumentWithOthersKeysIsNotReplaced(t *testing.T) {
	w := calm(t)
	other, err := keys.Generate("ES256")
	check(t, err)
	w.publish(other.WithID("theirs"))
	if _, err := w.issuer.Step(w.ctx()); err == nil || !strings.Contains(err.Error(), `"theirs"`) || !strings.Contains(err.Error(), "also_publish") {
		t.Errorf("got %v", err)
	}
	path := filepath.Join(t.TempDir(), "other.jwks")
	text, err := keys.JWKS(other.WithID("theirs"))
	check(t, err)
	check(t, os.WriteFile(path, text, 0o644))
	w.issuer.settings.Site.Also = []string{path}
	w.pass(time.Hour)
	w.signer()
	if found := w.fetch().Keys; len(found) != 3 {
		t.Errorf("the document is to hold the other key, ours and its successor: %+v", found)
	}
}

func TestLostMemoryChangesNothingThatVerifiersSee(t *testing.T) {
	w := calm(t)
	w.pass(91 * day)
	before, signs := w.fetch().Keys, w.signer()
	if len(before) != 3 {
		t.Fatalf("a retired key, one that signs and a successor are wanted: %+v", before)
	}
	check(t, os.Remove(filepath.Join(w.dir(), memoryFile)))
	w.start(filepath.Dir(w.dir()))
	w.pass(2 * time.Hour)
	if got := w.signer(); got != signs {
		t.Errorf("%s signs, and before it was %s", got, signs)
	}
	if after := w.fetch().Keys; len(after) != 3 {
		t.Errorf("the document holds %+v", after)
	}
}

func TestARevokedKeyStaysRevokedWhenTheMemoryIsLost(t *testing.T) {
	w := calm(t)
	w.pass(5 * day)
	old := w.signer()
	check(t, w.issuer.Revoke(w.ctx(), old))
	w.step()
	successor := w.signer()
	if successor == old {
		t.Fatal("the revoked key signs")
	}
	check(t, os.Remove(filepath.Join(w.dir(), memoryFile)))
	w.pass(2 * time.Hour)
	for _, k := range w.fetch().Keys {
		if k.ID == old {
			t.Error("the revoked key is published again")
		}
	}
	if err := w.issuer.Revoke(w.ctx(), "unknown"); err == nil || !strings.Contains(err.Error(), successor) {
		t.Errorf("got %v, want the names of the keys that there are", err)
	}
}

func TestOneAgentKeepsAFolder(t *testing.T) {
	w := calm(t)
	check(t, w.issuer.Hold())
	other := New(w.issuer.settings)
	var held *Held
	if err := other.Hold(); !errors.As(err, &held) || held.PID != os.Getpid() {
		t.Errorf("got %v", err)
	}
	w.issuer.Release()
	check(t, other.Hold())
	other.Release()
}

// A disk that is full, or a process that is killed, at any change.
func TestEachChangeMayFail(t *testing.T) {
	full := errors.New("no space left on device")
	for at := range 25 {
		if at%4 != 0 && os.Getenv("TOKENAGENT_LONG") == "" {
			continue
		}
		w := calm(t)
		n := 0
		w.issuer.folder.fault = func(string, string) error {
			if n++; n > at && n < at+5 {
				return full
			}
			return nil
		}
		for w.day() < 100 {
			_, err := w.issuer.Step(w.ctx())
			if err != nil && !errors.Is(err, full) {
				t.Fatalf("change %d, day %.1f: %v", at, w.day(), err)
			}
			w.sign()
			w.verify()
			w.now = w.now.Add(12 * time.Hour)
		}
		if len(w.signs) != 2 {
			t.Errorf("change %d: %d keys signed in 100 days", at, len(w.signs))
		}
		w.signer()
	}
}

// Two agents that list each other's document would keep a leaked key alive for ever.
func TestARevokedKeyDoesNotComeBackThroughTheKeysOfOthers(t *testing.T) {
	w := calm(t)
	w.pass(time.Hour)
	old := w.signer()
	theirs := filepath.Join(t.TempDir(), "theirs.jwks")
	text, err := os.ReadFile(filepath.Join(w.issuer.settings.Site.Root, KeysFile))
	check(t, err)
	check(t, os.WriteFile(theirs, text, 0o644))
	w.issuer.settings.Site.Also = []string{theirs}
	w.pass(time.Hour)
	check(t, w.issuer.Revoke(w.ctx(), old))
	w.pass(time.Hour)
	for _, k := range w.fetch().Keys {
		if k.ID == old {
			t.Error("the revoked key is published")
		}
	}
}

func TestAnotherFolderOrURLIsNotTakenForTheOneBefore(t *testing.T) {
	w := calm(t)
	w.pass(time.Hour)
	signs := w.signer()
	other, err := keys.Generate("ES256")
	check(t, err)
	w.issuer.settings.Site.Root = filepath.Join(filepath.Dir(w.dir()), "another")
	w.issuer.settings.Site.files = nil
	w.publish(other.WithID("theirs"))
	if _, err := w.issuer.Step(w.ctx()); err == nil || !strings.Contains(err.Error(), `"theirs"`) {
		t.Errorf("the document of another would be replaced: %v", err)
	}
	check(t, os.Remove(filepath.Join(w.issuer.settings.Site.Root, KeysFile)))
	w.pass(time.Hour)
	if got := w.signer(); got != signs {
		t.Errorf("%s signs", got)
	}
	w.issuer.settings.URL = "https://another.example.org"
	w.outage = w.now.Add(day)
	w.step()
	if _, err := w.issuer.Signer(w.ctx(), w.now.Add(time.Hour)); err == nil {
		t.Error("a key signs that nobody has seen at the new URL")
	}
	w.now = w.outage
	w.pass(time.Hour)
	w.signer()
}

func TestAClockInDoubtIsTold(t *testing.T) {
	w := calm(t)
	w.pass(time.Hour)
	w.wrong = time.Hour
	r, err := w.issuer.Step(w.ctx())
	if err != nil || !strings.Contains(strings.Join(r.Warnings, ""), "clock") {
		t.Errorf("%v, %q", err, r.Warnings)
	}
}

func TestAStepThatFailsReportsNoChange(t *testing.T) {
	w := calm(t)
	w.pass(time.Hour)
	full := errors.New("no space left on device")
	w.issuer.folder.fault = func(string, string) error { return full }
	check(t, os.WriteFile(filepath.Join(w.dir(), memoryFile), []byte("{"), 0o600))
	for _, memory := range []string{"{", ""} {
		if memory == "" {
			check(t, os.Remove(filepath.Join(w.dir(), memoryFile)))
		}
		r, err := w.issuer.Step(w.ctx())
		if err == nil || len(r.Changes()) > 0 || r.Now.Signing() == "" {
			t.Errorf("%v; the report says %q of %+v", err, r.Changes(), r.Now)
		}
	}
}

func TestFilesOfThePublicationAreRestored(t *testing.T) {
	w := calm(t)
	w.pass(time.Hour)
	for _, name := range []string{KeysFile, OpenIDFile, OAuthFile} {
		path := filepath.Join(w.issuer.settings.Site.Root, name)
		before, err := os.ReadFile(path)
		check(t, err)
		check(t, os.WriteFile(path, []byte("{}"), 0o600))
		check(t, os.Chmod(path, 0o600))
		w.step()
		after, err := os.ReadFile(path)
		check(t, err)
		info, err := os.Stat(path)
		check(t, err)
		if string(after) != string(before) || info.Mode() != 0o644 {
			t.Errorf("%s: %v, %s", name, info.Mode(), after)
		}
		folder, err := os.Stat(filepath.Dir(path))
		check(t, err)
		if folder.Mode().Perm()&0o055 != 0o055 {
			t.Errorf("%s: %v", filepath.Dir(path), folder.Mode())
		}
	}
}

func TestTheHookIsRunUntilItSucceedsForEachPublication(t *testing.T) {
	w := calm(t)
	var told []time.Time
	fails := true
	w.onPublish = func(_ context.Context, folder string) error {
		told = append(told, w.now)
		if _, err := os.Stat(filepath.Join(folder, KeysFile)); err != nil {
			t.Error(err)
		}
		if fails {
			return errors.New("no network")
		}
		return nil
	}
	w.start(filepath.Dir(w.dir()))
	for range 30 { // minutes
		r, err := w.issuer.Step(w.ctx())
		check(t, err)
		if len(told) > 0 && told[len(told)-1].Equal(w.now) && r.Untold == nil {
			t.Error("the failure is not reported")
		}
		w.now = w.now.Add(time.Minute)
	}
	if len(told) < 4 || len(told) > 8 {
		t.Errorf("%d attempts in 30 minutes: %v", len(told), told)
	}
	fails = false
	w.now = w.now.Add(10 * time.Minute)
	w.step()
	before := len(told)
	w.start(filepath.Dir(w.dir()))
	w.pass(day)
	if len(told) != before {
		t.Errorf("nothing has changed, and the hook ran %d times more", len(told)-before)
	}
	w.pass(91 * day) // a rotation: a successor, and the removal of the old key
	w.pass(10 * day)
	if n := len(told) - before; n != 2 {
		t.Errorf("the document has changed twice, and the hook ran %d times", n)
	}
}

func FuzzParseLife(f *testing.F) {
	f.Add([]byte(`{"keys": [{"id": "a", "file": "a.jwk", "public": {"kty": "OKP", "crv": "Ed25519", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}}]}`))
	f.Add([]byte(`{"keys": [{"id": "a", "file": "../a.jwk"}]}`))
	f.Fuzz(func(t *testing.T, content []byte) {
		l, err := parseLife(content)
		if err != nil {
			return
		}
		for _, k := range l.Keys {
			if filepath.Base(k.File) != k.File {
				t.Errorf("a file outside of the folder: %q", k.File)
			}
		}
		Policy{}.Advance(l, seen("a"), day0)
	})
}
