package rotation

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// Settings are what an issuer block says.
type Settings struct {
	Name      string // as people write it: issuer.ospool
	URL       string // iss, byte for byte
	KeysDir   string // absolute
	Algorithm string // of new keys
	Policy    Policy
	Site      *Site

	Command   func(args ...string) string                    // what a person types to run this program on the same configuration
	Fetch     func(ctx context.Context) issuer.Report        // the published document, as verifiers get it
	OnPublish func(ctx context.Context, folder string) error // is told that the files of the Site have changed, until it succeeds; nil: nobody
}

// An Issuer is a simple issuer: keys that sign and follow each other, and the document
// that they are published in. Its methods may be called from any goroutine.
type Issuer struct {
	settings Settings
	folder   folder

	// of Step, which one goroutine calls
	left     Life      // as the last one left it
	looked   time.Time // when the document was fetched last
	unseen   error     // why that failed
	failures int       // in a row
	doubt    string    // of the clock, at the last look; "": none
	told     time.Time // when OnPublish was called last
	tried    string    // for that publication
	untold   error     // why that failed
	refusals int       // in a row

	longest atomic.Int64 // the longest lifetime of tokens asked for; see Expect

	mu      sync.Mutex
	agent   *os.File      // the lock that admits one agent
	refused error         // why Hold failed
	stepped chan struct{} // closed when the first Step after Keeps has ended; nil: nobody waits for that
	current *signing      // nil: look into the folder
	age     os.FileInfo   // of memoryFile when current was read
}

// A signing is the key that signs, and until when its tokens may live without a further
// write.
type signing struct {
	keys.Key
	until time.Time
}

// New returns the issuer of the settings. It reads and asks nothing yet.
func New(s Settings) *Issuer {
	return &Issuer{settings: s, folder: folder{path: s.KeysDir}}
}

// Settings are those that the Issuer was made of.
func (i *Issuer) Settings() Settings { return i.settings }

// Expect tells the Issuer that tokens of that lifetime are asked of it.
func (i *Issuer) Expect(lifetime time.Duration) {
	for {
		longest := i.longest.Load()
		if int64(lifetime) <= longest || i.longest.CompareAndSwap(longest, int64(lifetime)) {
			return
		}
	}
}

// Hold makes this process the one that keeps the keys, until Release. Its error names the
// process that does so already.
func (i *Issuer) Hold() error {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.agent != nil {
		return nil
	}
	if err := i.folder.ready(); err != nil {
		return err
	}
	path := i.folder.file(agentLock)
	lock, err := host.LockFile(path, func() error {
		return &Held{i.settings.KeysDir, host.Holder(path)}
	})
	if i.refused = err; err != nil {
		i.mayStep() // nobody is to wait for a Step that does not come
		return err
	}
	host.SignLock(lock)
	i.agent = lock
	return nil
}

// Keeps tells the Issuer that this process will keep its keys: a token waits a while for the
// first Step, which may find that a key is published.
func (i *Issuer) Keeps() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.stepped = make(chan struct{})
}

// Release ends Hold.
func (i *Issuer) Release() {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.agent != nil {
		i.agent.Close()
		i.agent = nil
	}
}

// A Held is the error of a keys folder that another process keeps.
type Held struct {
	KeysDir string
	PID     int // zero: not known
}

func (h *Held) Error() string {
	by := "another process"
	if h.PID != 0 {
		by = fmt.Sprintf("process %d", h.PID)
	}
	return fmt.Sprintf("keys_dir %s is kept by %s, and two agents cannot keep the same keys; end that one, or name another keys_dir", h.KeysDir, by)
}

// A Report is what a Step did, and found.
type Report struct {
	Before, Now Life     // after the Step before this one, and now
	Published   bool     // the files of the document were written
	Warnings    []string // what a person should know
	Unseen      error    // why the document could not be fetched the last time; nil: it was
	Untold      error    // why OnPublish failed; nil: it did not

	before Life   // as it was in the folder
	digest string // of the publication
}

// How often the published document is fetched.
const (
	lookWaiting = time.Minute     // while a key waits for something that it shows
	lookFailing = 5 * time.Minute // at most, while it cannot be fetched
	lookUsually = time.Hour
)

// Compared is how often Step should be called: each one compares the files of the document
// with what they should be.
const Compared = time.Minute

// Step moves the keys on: it fetches the document if that may tell something new, does
// what is due by Policy, and puts the files of the document in order. The caller has
// called Hold.
func (i *Issuer) Step(ctx context.Context) (Report, error) {
	defer i.hasStepped()
	var r Report
	var fetched *issuer.Report
	err := i.folder.ready()
	if err == nil {
		fetched, err = i.look(ctx, &r)
	}
	if err == nil {
		err = i.locked(ctx, func() error { return i.step(ctx, fetched, &r) })
	}
	if err == nil {
		err = i.tell(ctx, &r)
	}
	if r.Now.Keys == nil { // it did not come that far
		r.Before, r.Now = i.left, i.left
	}
	if i.left = r.Now; r.Published {
		i.looked = time.Time{}
	}
	return r, err
}

// hasStepped lets those sign who wait for the first Step.
func (i *Issuer) hasStepped() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.mayStep()
}

// mayStep is hasStepped with the lock.
func (i *Issuer) mayStep() {
	if i.stepped != nil {
		close(i.stepped)
		i.stepped = nil
	}
}

// firstLook is how long a token waits for the first Step of a process.
const firstLook = 15 * time.Second

// awaitStep waits for the first Step, which may find that a key is published.
func (i *Issuer) awaitStep(ctx context.Context) {
	i.mu.Lock()
	stepped := i.stepped
	i.mu.Unlock()
	if stepped == nil {
		return
	}
	select {
	case <-stepped:
	case <-ctx.Done():
	case <-time.After(firstLook):
	}
}

// tell calls OnPublish, where the publication is another than the one that it has heard of.
func (i *Issuer) tell(ctx context.Context, r *Report) error {
	onPublish, now := i.settings.OnPublish, agent.Now(ctx)
	if onPublish == nil || r.digest == "" || r.digest == r.Now.Told {
		return nil
	}
	if since := now.Sub(i.told); i.refusals > 0 && r.digest == i.tried && since >= 0 && since < backoff(i.refusals)-Compared/2 {
		r.Untold = i.untold
		return nil
	}
	if err := i.folder.step("tell", ""); err != nil {
		return err
	}
	i.told, i.tried = now, r.digest
	if i.untold = onPublish(ctx, i.settings.Site.Root); i.untold != nil {
		r.Untold = i.untold
		i.refusals++
		return nil
	}
	i.refusals = 0
	return i.locked(ctx, func() error {
		l, _, err := i.folder.load()
		if err != nil {
			return err
		}
		l.Told, r.Now.Told = r.digest, r.digest
		i.looked = time.Time{} // what verifiers see may be new
		return i.folder.save(l)
	})
}

// backoff is how long to wait after so many failures in a row.
func backoff(failures int) time.Duration { return min(lookFailing, lookWaiting<<min(failures-1, 10)) }

// look fetches the document; nil where it is not time to, or where that failed.
func (i *Issuer) look(ctx context.Context, r *Report) (*issuer.Report, error) {
	now := agent.Now(ctx)
	l, _, err := i.folder.load()
	if err != nil {
		return nil, err
	}
	strange, _, err := i.folder.strange(l)
	if err != nil {
		return nil, err
	}
	asIs := len(strange) == 0 && reflect.DeepEqual(l, i.left)
	if since := now.Sub(i.looked); asIs && since >= 0 && since < i.pause(l, now)-Compared/2 { // Step comes a little sooner or later
		r.Unseen = i.unseen
		return nil, nil
	}
	fetched := i.settings.Fetch(ctx)
	i.looked, i.unseen = now, errors.Join(fetched.MetadataErr, fetched.KeysErr)
	if r.Unseen = i.unseen; r.Unseen != nil {
		i.failures++
		return nil, nil
	}
	i.failures = 0
	return &fetched, nil
}

// pause is how long after the last look the next one is due.
func (i *Issuer) pause(l Life, now time.Time) time.Duration {
	switch {
	case i.failures > 0:
		return backoff(i.failures)
	case l.signing() < 0, l.Keys[l.signing()].Gone != (time.Time{}), i.settings.Policy.due(l, now):
		return lookWaiting
	}
	for _, k := range l.Keys {
		if k.Stage() == Created || i.settings.Policy.over(k, now) {
			return lookWaiting
		}
	}
	return lookUsually
}

func (i *Issuer) step(ctx context.Context, fetched *issuer.Report, r *Report) error {
	now := moment(ctx)
	l, _, err := i.folder.load()
	if err != nil {
		return err
	}
	if r.before, r.Before = l, l; i.left.Keys != nil {
		r.Before = i.left
	}
	l.Keys = slices.Clone(l.Keys)
	l.at(i.settings.URL, i.settings.Site.Root, now)
	waits, err := i.adopt(&l, fetched, now, r)
	if err != nil {
		return err
	}
	if fetched != nil {
		i.doubt = ""
		if fetched.Dated && fetched.Skew.Abs() >= clockDoubt {
			i.doubt = "the clock of this host differs by 5 minutes or more from that of the web server; until they agree no key takes turns, and none is removed. See which of both is right"
		}
	}
	if i.doubt != "" {
		r.Warnings = append(r.Warnings, i.doubt)
	}
	next, need := i.settings.Policy.Advance(l, sightOf(l, fetched), now)
	if need && !waits {
		k, err := i.folder.create(i.settings.Algorithm, now)
		if err != nil {
			return err
		}
		next.Keys = append(next.Keys, k)
	}
	if waits {
		r.Now = next
		return i.save(r.before, next) // what is published must not change before it is known
	}
	return i.settle(ctx, next, fetched, r)
}

// moment is the time as it is remembered: in whole seconds, of which none is yet to come.
func moment(ctx context.Context) time.Time { return agent.Now(ctx).UTC().Truncate(time.Second) }

// settle makes the folder and the document as next says. A key is forgotten after its files
// are gone, or they would be taken for a new key; it is revoked before its file is set
// aside, or it would be missing.
func (i *Issuer) settle(ctx context.Context, next Life, fetched *issuer.Report, r *Report) error {
	for _, k := range r.before.Keys {
		if next.key(k.ID) < 0 {
			if err := i.folder.remove(k); err != nil {
				return err
			}
		}
	}
	if err := i.save(r.before, next); err != nil {
		return err
	}
	r.Now = next
	return i.publish(ctx, fetched, r)
}

// save remembers next, where it is another life than before.
func (i *Issuer) save(before, next Life) error {
	if !reflect.DeepEqual(before, next) {
		if err := i.folder.save(next); err != nil {
			return err
		}
	}
	return i.folder.setAside(next)
}

// publish makes the files of the document as the keys of r.Now want them. What verifiers find in
// a document of somebody else is not taken from them.
func (i *Issuer) publish(ctx context.Context, fetched *issuer.Report, r *Report) error {
	site, ours := i.settings.Site, r.Now.Ours
	p, err := site.Prepare(r.Now.Keys)
	if err != nil && ours { // a key may have to be unpublished now
		kept, keepErr := site.Keep(r.Now.Keys)
		if keepErr != nil {
			return err
		}
		r.Warnings = append(r.Warnings, err.Error()+"; the keys of others that are published stay as they are until it is put right")
		p, err = kept, nil
	}
	if err != nil {
		return err
	}
	if !ours {
		if err := i.spare(p, fetched); err != nil {
			return err
		}
	}
	r.digest = p.Digest()
	if err := i.folder.step("publish", site.Root); err != nil {
		return err
	}
	if r.Published, err = site.Write(ctx, p); err != nil || ours {
		return err
	}
	r.Now.Ours = true
	return i.folder.save(r.Now)
}

// spare is an error where to publish p would take keys from verifiers that somebody else
// has published.
func (i *Issuer) spare(p Publication, fetched *issuer.Report) error {
	there, err := i.settings.Site.Published()
	if err != nil {
		return err
	}
	if fetched != nil {
		there = append(there, fetched.Keys...)
	}
	strange := p.Strange(there)
	if len(strange) == 0 {
		return nil
	}
	return fmt.Errorf("issuer %s: the published document holds %s, which neither keys_dir nor also_publish has, and tokens may be signed with that. Put the private keys into %s, or a set of the public halves into a file for also_publish; if no token needs them, remove them from %s",
		i.settings.Name, host.Few(strange, 5), i.settings.KeysDir, filepath.Join(i.settings.Site.Root, KeysFile))
}

// adopt takes in the keys in the folder that life does not know: an administrator has put
// them there, or keysFile was lost. It waits for the document where only that tells under
// which kid verifiers know the key.
func (i *Issuer) adopt(l *Life, fetched *issuer.Report, now time.Time, r *Report) (waits bool, err error) {
	strange, warnings, err := i.folder.strange(*l)
	r.Warnings = append(r.Warnings, warnings...)
	if err != nil || len(strange) == 0 {
		return false, err
	}
	there, err := i.settings.Site.Published()
	if err != nil {
		return false, err
	}
	if fetched != nil {
		there = append(there, fetched.Keys...)
	}
	for _, s := range strange {
		id, known := kidIn(there, s)
		if !known && s.Unnamed() && fetched == nil {
			r.Warnings = append(r.Warnings, fmt.Sprintf("key %s waits until %s can be fetched, which may know it by another kid; if nothing is published there yet, put a JWK with a kid in its place", i.folder.file(s.file), i.settings.URL))
			waits = true
			continue
		}
		if at := l.key(id); at >= 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("key %s has the kid %q, as another key has; it is not used", i.folder.file(s.file), id))
			continue
		}
		k, err := newKey(s.WithID(id), s.file, s.changed)
		if err != nil {
			return false, err
		}
		k.Until = now.Add(time.Duration(i.longest.Load())) // it may have signed already
		l.Keys = append(l.Keys, k)
	}
	return waits, nil
}

// kidIn is the kid under which a document has the key; else the key's own.
func kidIn(document []issuer.Key, s strangeKey) (id string, known bool) {
	for _, k := range document {
		if k.ID != "" && keys.CheckID(k.ID) == nil && samePublic(k.Public, s.Public()) {
			return k.ID, true
		}
	}
	return s.ID(), false
}

// sightOf are the keys of ours that the document holds; nil where it was not fetched.
func sightOf(l Life, fetched *issuer.Report) *Sight {
	if fetched == nil {
		return nil
	}
	s := &Sight{ClockSure: !fetched.Dated || fetched.Skew.Abs() < clockDoubt}
	for _, k := range l.Keys {
		if InDocument(k, fetched.Keys) {
			s.IDs = append(s.IDs, k.ID)
		}
	}
	return s
}

// InDocument reports whether the document with those keys holds the key, under its ID.
func InDocument(k Key, document []issuer.Key) bool {
	jwk, _ := k.jwk() // was read when it was loaded
	return slices.ContainsFunc(document, func(p issuer.Key) bool { return p.ID == k.ID && samePublic(p.Public, jwk.Public) })
}

// clockDoubt is the difference between two clocks that nobody can take for a delay.
const clockDoubt = 5 * time.Minute

// locked calls do while no other process reads and writes what is remembered.
func (i *Issuer) locked(ctx context.Context, do func() error) error {
	if err := i.folder.ready(); err != nil {
		return err
	}
	path := i.folder.file(keysLock)
	lock, err := host.LockFile(path, func() error {
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waiting for process %d, which holds the lock: %w", path, host.Holder(path), ctx.Err())
		case <-time.After(10 * time.Millisecond):
			return nil
		}
	})
	if err != nil {
		return err
	}
	defer lock.Close()
	host.SignLock(lock)
	return do()
}

// change has do change what is remembered, and sees to the document.
func (i *Issuer) change(ctx context.Context, do func(*Life) error) (Report, error) {
	var r Report
	err := i.locked(ctx, func() error {
		l, _, err := i.folder.load()
		if err != nil {
			return err
		}
		r.before, l.Keys = l, slices.Clone(l.Keys)
		if err := do(&l); err != nil {
			return err
		}
		return i.settle(ctx, l, nil, &r)
	})
	return r, err
}

// Rotate asks for the successor to sign: as soon as verifiers must have seen it, or with
// atOnce as soon as the document holds it. The next Step does it.
func (i *Issuer) Rotate(ctx context.Context, atOnce bool) error {
	_, err := i.change(ctx, func(l *Life) error {
		if l.signing() < 0 {
			return fmt.Errorf("issuer %s: no key signs yet, so there is nothing to rotate; see %s", i.settings.Name, i.settings.Command("issuer", "status"))
		}
		l.Asked, l.AtOnce = moment(ctx), atOnce
		return nil
	})
	return err
}

// Revoke takes the key out of the document, and never signs with it again. The next Step
// has the successor sign. An unknown key is an error.
func (i *Issuer) Revoke(ctx context.Context, id string) error {
	_, err := i.change(ctx, func(l *Life) error {
		at := l.key(id)
		if at < 0 {
			return fmt.Errorf("issuer %s has no key %q; it has %s", i.settings.Name, id, host.Few(l.ids(), 10))
		}
		if l.Keys[at].Revoked.IsZero() {
			l.Keys[at].Revoked = moment(ctx)
		}
		return nil
	})
	return err
}

// Life is what is remembered of the keys.
func (i *Issuer) Life() (Life, error) {
	l, _, err := i.folder.load()
	return l, err
}

// Signer returns the key that signs a token which expires at that time. No token is signed
// before it is on the disk that the key is needed until then. Its errors are faults.
func (i *Issuer) Signer(ctx context.Context, expires time.Time) (keys.Key, error) {
	i.awaitStep(ctx)
	i.mu.Lock()
	defer i.mu.Unlock()
	if c := i.current; c != nil && !c.until.Before(expires) && i.unchanged() {
		return c.Key, nil
	}
	err := i.refused
	if i.current = nil; err != nil {
		return keys.Key{}, &agent.Fault{Kind: agent.Configuration, Err: err}
	}
	if lockErr := i.locked(ctx, func() error { err = i.lease(ctx, expires); return nil }); lockErr != nil {
		return keys.Key{}, &agent.Fault{Kind: agent.Transient, Err: lockErr}
	}
	if err != nil {
		return keys.Key{}, err
	}
	return i.current.Key, nil
}

// unchanged reports whether memoryFile is the one that current was read from.
func (i *Issuer) unchanged() bool {
	info, err := os.Stat(i.folder.file(memoryFile))
	return err == nil && i.age != nil && os.SameFile(info, i.age) && info.ModTime().Equal(i.age.ModTime())
}

// lease remembers that the key which signs has a token that expires then, and some more
// time, so that not every token costs a write.
func (i *Issuer) lease(ctx context.Context, expires time.Time) error {
	const ahead = 24 * time.Hour
	l, _, err := i.folder.load()
	if err != nil {
		return &agent.Fault{Kind: agent.Configuration, Err: err}
	}
	at := l.signing()
	if err := i.mute(l, at); err != nil {
		return &agent.Fault{Kind: agent.Transient, Err: err}
	}
	k := &l.Keys[at]
	private, err := i.folder.private(*k)
	if err != nil {
		return &agent.Fault{Kind: agent.Configuration, Err: err}
	}
	if k.Until.Before(expires) {
		k.Until = expires.Add(ahead).UTC().Round(time.Second)
		if err := i.folder.save(l); err != nil {
			return &agent.Fault{Kind: agent.Transient, Err: err}
		}
	}
	if i.age, err = os.Stat(i.folder.file(memoryFile)); err != nil {
		return &agent.Fault{Kind: agent.Transient, Err: err}
	}
	i.current = &signing{private, k.Until}
	return nil
}

// mute says why no key may sign; nil where one may.
func (i *Issuer) mute(l Life, signing int) error {
	name, url := i.settings.Name, i.settings.URL
	switch waiting := slices.IndexFunc(l.Keys, Key.waiting); {
	case signing >= 0 && !l.Keys[signing].Gone.IsZero():
		return fmt.Errorf("issuer %s: what %s publishes does not hold the key %q, which signs; nothing is signed until it does. See what is published there: %s", name, url, l.Keys[signing].ID, i.settings.Command("issuer", "status"))
	case signing >= 0:
		return nil
	case waiting >= 0:
		return fmt.Errorf("issuer %s: %s does not publish the key %q yet, and nothing is signed before it does; see %s", name, url, l.Keys[waiting].ID, i.settings.Command("issuer", "status"))
	}
	return fmt.Errorf("issuer %s has no key yet; this makes one: %s", name, i.settings.Command("issuer", "publish"))
}
