package sources

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
	"github.com/tokenagent/tokenagent/sources/refresh"
)

// A refreshToken source has tokens in the name of a person or robot that let it
// in once, as at CILogon (RFC 6749 section 6):
//
//	source "refresh_token" "cilogon" {
//	  issuer             = "https://cilogon.org"
//	  client_id          = "cilogon:/client_id/0123456789abcdef"
//	  client_secret_file = "/etc/tokenagent/secrets/cilogon"
//	  refresh_token_file = "/etc/tokenagent/secrets/cilogon.refresh" # default: as tokenagent login cilogon stores it
//	}
//
// The refresh token is kept in the state folder, as the issuer rotates it. That
// one counts, unless refresh_token_file has changed since it was first read.
type refreshToken struct {
	*asker
	file  string         // refresh_token_file; "" for none
	store *refresh.Store // nil: there is no state folder
	login string         // the command that gets a new refresh token

	others func() []string // the state folders of other configurations

	turn     chan struct{} // one use at a time in this process
	unstored *unstored     // belongs to who has the turn
}

// An unstored refresh token came from the issuer when there was no room for it. Until it is
// stored, nobody else may use the one on the disk, which is used up.
type unstored struct {
	token refresh.Token

	mu   sync.Mutex
	lock *refresh.Lock // nil: it is stored by now
}

// store stores the token, and lets others use it.
func (u *unstored) store() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.lock == nil {
		return nil
	}
	if err := u.lock.Keep(u.token); err != nil {
		return err
	}
	u.lock.Release()
	u.lock = nil
	return nil
}

// insist stores the token as soon as there is room, even when a reload has removed its source:
// nobody else would. It ends when that is done, or with the process.
func (u *unstored) insist() {
	const shortest, longest = time.Second, 30 * time.Second
	for wait := shortest; ; wait = min(2*wait, longest) {
		time.Sleep(wait)
		if u.store() == nil {
			return
		}
	}
}

func decodeRefreshToken(b *config.Block) config.Source {
	set := struct {
		fetching
		RefreshTokenFile string `hcl:"refresh_token_file,optional,path"`
	}{fetching: fetchingDefaults()}
	b.Decode(&set)
	state := b.State()
	s := &refreshToken{asker: set.asker(b), file: set.RefreshTokenFile, login: b.Command("login", b.Name()), others: state.Others, turn: make(chan struct{}, 1)}
	if state.Dir != "" {
		s.store = refresh.NewStore(state.Dir, b.Name())
		s.store.Inherit(refresh.Former{Dirs: state.Former, Lock: state.Lock, Ours: s.gave})
	}
	facts := s.facts(s)
	facts.Ends = s.ends
	if s.file != "" { // the stored refresh token changes with each use
		facts.Files = append(slices.Clone(s.files), s.file)
	}
	s.validateFile(b)
	if problem := refresh.CheckName(b.Name()); problem != "" {
		b.Fault("", "no file can have the name of this source", "its refresh token is kept in a file of that name; "+problem)
	}
	switch {
	case b.DefinitionsOnly():
	case !b.Faulty():
		s.inspect(b)
	case s.file != "":
		s.inspectFile(b)
	}
	return facts
}

// A refreshFile is the path of a refresh_token_file.
type refreshFile string

// validateFile warns of a file that another source begins with too.
func (s *refreshToken) validateFile(b *config.Block) {
	if s.file == "" {
		return
	}
	first := b.Shared(refreshFile(filepath.Clean(s.file)), func() any { return b.Name() })
	if first != b.Name() {
		b.Warn("refresh_token_file", "two sources begin with one refresh token",
			fmt.Sprintf("source.refresh_token.%s begins with it too, and an issuer that rotates them takes the second use for theft and ends both; let one source serve the tokens of both, or log in for each", first))
	}
}

// inspectFile reports a refresh_token_file that cannot be used, where nothing else of
// the source can be looked at. One that is missing may be stored already.
func (s *refreshToken) inspectFile(b *config.Block) {
	if _, err := readRefreshToken(s.file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		b.Fault("refresh_token_file", "no usable refresh token", err.Error())
	}
}

// inspect reports why the source could issue no token now.
func (s *refreshToken) inspect(b *config.Block) {
	if s.store == nil {
		b.Fault("", "no folder for the refresh token", errNoFolder.Error())
		return
	}
	stored, err := s.store.Read()
	if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		b.Warn("", "the stored refresh token cannot be read", fmt.Sprintf("%v; to get a new one: %s", err, s.login))
		return
	}
	used, err := s.counts(stored)
	if text := s.endsSoon(used.Token, time.Now()); err == nil && text != "" {
		b.Warn("", "the refresh token ends", text)
	}
	switch unread, ok := errors.AsType[*unreadFile](err); {
	case ok:
		b.Fault("refresh_token_file", "no usable refresh token", unread.Error()+s.instead(unread))
	case err != nil:
		b.Warn("", "no refresh token yet", err.Error())
	}
}

// instead says what else to do where the file is missing.
func (s *refreshToken) instead(unread error) string {
	if !errors.Is(unread, fs.ErrNotExist) {
		return ""
	}
	return "; write one there, or leave the attribute out and get one with " + s.login
}

var errNoFolder = errors.New("the issuer may replace it at each use, so it is kept in the state folder, and there is none; set state_dir in the agent block")

// Issue uses the refresh token once, and has stored what the issuer gave in its
// place before anybody sees the access token.
func (s *refreshToken) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	answer, next, err := s.use(ctx, req)
	if err != nil {
		return agent.Token{}, err
	}
	t, err := s.token(ctx, req, answer)
	if err == nil && !next.Expires.IsZero() {
		t.AskBy = agent.Schedule{}.Next(agent.Token{Issued: answer.Sent, Expires: next.Expires})
		if next.Fixed {
			t.Note = joined(t.Note, s.endsSoon(next, answer.Sent))
		}
	}
	return t, err
}

// use asks with the refresh token that counts, under its lock, and returns the one that
// counts next.
func (s *refreshToken) use(ctx context.Context, req agent.Request) (answer issuer.Answer, next refresh.Token, err error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return answer, next, fmt.Errorf("waiting for another use of the refresh token: %w", ctx.Err())
	}
	lock, err := s.hold(ctx)
	if err != nil {
		return answer, next, err
	}
	defer func() {
		if s.unstored == nil {
			lock.Release()
		}
	}()
	stored, used, err := s.ready(ctx, lock)
	if err != nil {
		return answer, next, err
	}
	answer, err = s.refresh(ctx, req, used)
	if err != nil {
		return answer, next, err
	}
	next = used.followed(answer)
	return answer, next, s.keep(lock, stored, next)
}

// hold waits for the lock. Before that it stores a token that could not be stored earlier.
func (s *refreshToken) hold(ctx context.Context) (*refresh.Lock, error) {
	if s.store == nil {
		return nil, configurationFault(errNoFolder)
	}
	if s.unstored != nil {
		if err := s.unstored.store(); err != nil {
			return nil, s.notKept(err)
		}
		s.unstored = nil
	}
	lock, err := s.store.Lock(ctx)
	return lock, writingFault(err)
}

// ready returns what is stored and the token that counts, once its successor can be stored: an
// issuer that rotates takes no token twice.
func (s *refreshToken) ready(ctx context.Context, lock *refresh.Lock) (stored refresh.Token, used usable, err error) {
	stored, err = lock.Read()
	if err != nil {
		return stored, used, configurationFault(fmt.Errorf("%w; to get a new refresh token: %s", err, s.login))
	}
	if used, err = s.counts(stored); err != nil {
		return stored, used, configurationFault(err)
	}
	if err := lock.Ready(); err != nil {
		return stored, used, writingFault(fmt.Errorf("the refresh token was not used, for its successor could not be stored: %w", err))
	}
	return stored, used, ctx.Err()
}

// A usable is the refresh token that counts, and the file it is from.
type usable struct {
	refresh.Token
	path string
}

// followed is the refresh token that counts after the answer: the issuer may give
// another, or leave the one that was used (RFC 6749 section 6).
func (u usable) followed(answer issuer.Answer) refresh.Token {
	next := u.Token
	if answer.Refresh.Reveal() != "" && !answer.Refresh.Equal(next.Text) {
		next.Text, next.Expires, next.Fixed = answer.Refresh, time.Time{}, false
	}
	end := answer.RefreshExpires
	if end.IsZero() {
		return next
	}
	if u.Expires.IsZero() {
		next.Expires = end
		return next
	}
	const slack = time.Minute
	passed, gained := answer.Sent.Sub(u.Stored), end.Sub(u.Expires)
	next.Fixed = u.Fixed
	if passed > 2*slack {
		next.Fixed = gained < passed/2
	}
	if next.Expires = u.Expires; gained.Abs() > slack {
		next.Expires = end
	}
	return next
}

// endsSoon says that the refresh token ends within a week, or has ended, and what to do;
// "" where it does not. One that lives shorter by nature is not told of.
func (s *refreshToken) endsSoon(t refresh.Token, now time.Time) string {
	if !t.Fixed && t.Expires.Sub(t.Stored) < lastWeek && t.Expires.After(now) {
		return ""
	}
	return endsSoon("the refresh token", t.Expires, now, "using it does not make it live longer; to get a new one: "+s.login)
}

// ends are those of what it asks with, as far as they are known.
func (s *refreshToken) ends() (all []config.End) {
	if s.store != nil {
		if t, err := s.store.Read(); err == nil && s.gave(t) && !t.Expires.IsZero() {
			all = append(all, config.End{What: "refresh token", At: t.Expires})
		}
	}
	return append(all, s.asker.ends()...)
}

// counts says which refresh token counts: the stored one, unless it is another
// issuer's or client's, or refresh_token_file has changed since it was first read.
func (s *refreshToken) counts(stored refresh.Token) (usable, error) {
	ours := s.gave(stored)
	if s.file != "" {
		content, err := readRefreshToken(s.file)
		switch unread := (&unreadFile{err}); {
		case err == nil && !(ours && stored.From.Is([]byte(content))):
			if spent := refresh.Spent(s.others(), []byte(content)); spent != "" {
				return usable{}, fmt.Errorf("refresh token %s: another configuration has used it, and its issuer has replaced it by the one in %s; an issuer that sees the first one again ends both; to get one for this configuration: %s", s.file, spent, s.login)
			}
			fresh := refresh.Token{Text: agent.NewSecret(content), Issuer: s.server.Name(), ClientID: s.client.ID, From: refresh.FingerprintOf([]byte(content))}
			return usable{fresh, s.file}, nil
		case err != nil && !(ours && errors.Is(err, fs.ErrNotExist)): // it may go when its token is stored
			return usable{}, unread
		}
	}
	switch {
	case ours:
		return usable{stored, s.store.Path()}, nil
	case stored.IsZero():
		return usable{}, fmt.Errorf("there is no refresh token yet; to get one: %s", s.login)
	}
	return usable{}, fmt.Errorf("%s: the refresh token is of the issuer %s for the client %q, and this source asks %s as %q; to get one: %s",
		s.store.Path(), stored.Issuer, stored.ClientID, s.server.Name(), s.client.ID, s.login)
}

// gave reports whether the token is of the issuer and client of this source.
func (s *refreshToken) gave(t refresh.Token) bool {
	return t.Issuer == s.server.Name() && t.ClientID == s.client.ID
}

// KeepsRefreshToken reports whether the token of that name in the state folder is
// that of the source.
func KeepsRefreshToken(of agent.Source, name string, t refresh.Token) bool {
	s, ok := of.(*refreshToken)
	return ok && s.store != nil && s.store.Is(name) && s.gave(t)
}

// An unreadFile is the error of a refresh_token_file that cannot be used.
type unreadFile struct{ error }

func (u *unreadFile) Unwrap() error { return u.error }

// readRefreshToken is the text in the file, without the end of its line.
func readRefreshToken(path string) (string, error) {
	data, err := keys.ReadSecretFile(path)
	if err != nil {
		return "", fmt.Errorf("refresh token %w", err)
	}
	text := strings.TrimRight(string(data), "\r\n")
	if text == "" || len(text) > agent.MaxText || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return "", fmt.Errorf("refresh token %s: one line of printable ASCII characters is wanted, at most %d (RFC 6749 appendix A.17)", path, agent.MaxText)
	}
	return text, nil
}

// grace is how long the agent waits for an answer when it stops: a token that the issuer has
// rotated meanwhile would be lost. The agent waits a little longer than that.
const grace = 5 * time.Second

// refresh makes the request.
func (s *refreshToken) refresh(ctx context.Context, req agent.Request, used usable) (issuer.Answer, error) {
	ctx, cancel := withGrace(ctx)
	defer cancel()
	answer, err := s.grant(ctx, req, "refresh_token", url.Values{"refresh_token": {used.Text.Reveal()}})
	return answer, s.namingLogin(err, used)
}

// namingLogin is the error with the command that gets a new refresh token, where the issuer
// no longer takes the one that was used. What a busy issuer says does not count.
func (s *refreshToken) namingLogin(err error, used usable) error {
	f, _ := errors.AsType[*agent.Fault](err)
	denied, ok := errors.AsType[*issuer.Denied](err)
	switch {
	case !ok || f.Kind != agent.Configuration:
		return err
	case denied.EndsGrant():
		err = fmt.Errorf("refresh token %s: the issuer refused it (%s), it is expired, revoked or used up, or a person must log in again%s%s; to get a new one: %s",
			used.path, denied.Said, denied.More, denied.Else, s.login)
	case denied.MayEndGrant():
		err = fmt.Errorf("%w; if it has worked before, the refresh token %s may be expired or revoked; to get a new one: %s", err, used.path, s.login)
	default:
		return err
	}
	return &agent.Fault{Kind: f.Kind, RetryAfter: f.RetryAfter, Err: err}
}

// withGrace is ctx that ends a while later.
func withGrace(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() { time.AfterFunc(grace, cancel) })
	return longer, func() { stop(); cancel() }
}

// keep stores the token that is to be used next, unless it is stored already.
func (s *refreshToken) keep(lock *refresh.Lock, stored, next refresh.Token) error {
	if stored.Same(next) {
		return nil
	}
	if err := lock.Keep(next); err != nil {
		s.unstored = &unstored{token: next, lock: lock}
		go s.unstored.insist()
		return s.notKept(err)
	}
	return nil
}

// notKept is the error of a token that could not be stored.
func (s *refreshToken) notKept(err error) error {
	return writingFault(fmt.Errorf("the issuer gave a new refresh token, which this process has only in memory until it can be stored, so let it run: %w", err))
}

func writingFault(err error) error {
	if err == nil {
		return nil
	}
	return &agent.Fault{Kind: agent.Writing, Err: err}
}
