package sources

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/agent/program"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// An htcondorFetch source asks a daemon of an HTCondor pool for IDTOKENs, with
// condor_token_fetch, on a host without the pool's key:
//
//	source "htcondor_fetch" "pool" {
//	  token_dir = "/etc/tokenagent/condor/pool" # where the long-lived token lies that `tokenagent login pool` has asked for
//	  pool      = "cm.example.org"              # default: the pool of this host's HTCondor
//	  type      = "COLLECTOR"                   # the daemon that is asked; default: SCHEDD
//	  name      = "schedd@ap.example.org"       # default: the one of the pool, or of this host
//	  key_id    = "POOL"                        # default: as the daemon likes
//	}
//
// A daemon never gives a token that outlives the one it is asked with. So each
// token is asked for with the long-lived one, never with the one before it.
type htcondorFetch struct {
	dir     string
	target  []string // of condor_token_fetch and condor_token_request: which daemon
	keyID   string
	fetcher program.Program
	env     []string
	login   string // the command that gets a long-lived token
}

const (
	// HTCondor finds its daemons, connects and authenticates in the time of its own
	// limits, of which the longest is 20 s.
	fetchTimeout = time.Minute
	// lastMonth is how long before its end a long-lived token is warned of.
	lastMonth = 30 * 24 * time.Hour
	// heldName is the file of the long-lived token.
	heldName = "requested"
	// clockSlack is how much shorter a token may be than asked, for seconds are whole.
	clockSlack = 5 * time.Second
)

// subsystems are the daemons that give tokens.
var subsystems = []string{"SCHEDD", "COLLECTOR", "MASTER", "STARTD", "NEGOTIATOR", "CREDD"}

func decodeHTCondorFetch(b *config.Block) config.Source {
	set := struct {
		TokenDir string `hcl:"token_dir,path"`
		Pool     string `hcl:"pool,optional"`
		Name     string `hcl:"name,optional"`
		Type     string `hcl:"type,optional"`
		KeyID    string `hcl:"key_id,optional"`
	}{Type: "SCHEDD"}
	b.Decode(&set)
	s := &htcondorFetch{dir: filepath.Clean(set.TokenDir), keyID: set.KeyID, login: b.Command("login", b.Name())}
	s.target = s.targetOf(b, set.Type, set.Pool, set.Name)
	if filepath.Base(s.dir) == "tokens.d" {
		s.refuseFolder(b, "")
	}
	for _, problem := range profile.Check(condorProfile, profile.Token{Header: condorHeader(s.keyID)}) {
		if problem.Claim == "kid" && s.keyID != "" {
			b.Fault("key_id", "not the name of a key", problem.Text)
		}
	}
	b.Reserve("token_dir", s.heldPath()) // HTCondor's client presents the first token of its folder
	if !b.DefinitionsOnly() {
		s.env = condorEnvironment(b, s.dir)
		s.inCondorsFolder(b)
		if s.tools(b) && b.Checking() { // else the first attempt tells
			s.inspect(b)
		}
	}
	facts := config.Source{
		Source:   s,
		Profile:  condorProfile,
		Lifetime: condorLifetime,
		Files:    []string{s.heldPath()}, // its change lets failing tokens be asked for again
		Check:    s.check,
		Ends:     s.heldEnds,
	}
	facts.Issuer.Name = "condor_token_fetch " + strings.Join(s.target, " ")
	return facts
}

// heldEnds says when the long-lived token expires.
func (s *htcondorFetch) heldEnds() []config.End {
	held, err := s.held()
	return []config.End{{What: "token", At: held.Time, Err: err}}
}

// targetOf are the options that name the daemon.
func (s *htcondorFetch) targetOf(b *config.Block, kind, pool, name string) (options []string) {
	kind = strings.ToUpper(kind)
	b.OneOf("type", kind, subsystems...)
	options = []string{"-type", kind}
	for _, o := range []struct{ attr, value string }{{"pool", pool}, {"name", name}} {
		switch {
		case o.value == "":
		case strings.HasPrefix(o.value, "-") || strings.ContainsAny(o.value, " \t\r\n\x00"):
			b.Fault(o.attr, "no "+o.attr+" of HTCondor's", "it is the name or address of a host, as cm.example.org or cm.example.org:9618, with schedd@ before it for a daemon; no blanks")
		default:
			options = append(options, "-"+o.attr, o.value)
		}
	}
	return options
}

// noKeys is a path at which no file can ever be.
const noKeys = "/dev/null/no-keys"

// condorEnvironment has HTCondor's tools present the tokens in the folder and
// nothing else: another method, or a signing key of this host, would give them
// another identity.
func condorEnvironment(b *config.Block, dir string) []string {
	env := knobs(
		"SEC_TOKEN_DIRECTORY="+dir,
		"SEC_CLIENT_AUTHENTICATION=REQUIRED",
		"SEC_CLIENT_AUTHENTICATION_METHODS=IDTOKENS",
		"SEC_PASSWORD_DIRECTORY="+noKeys,
		"SEC_PASSWORD_FILE="+noKeys,
		"SEC_TOKEN_POOL_SIGNING_KEY_FILE="+noKeys,
	)
	if file := b.Getenv("CONDOR_CONFIG"); file != "" {
		env = append(env, "CONDOR_CONFIG="+file)
	}
	return env
}

// knobs are the variables that set KNOB=value for HTCondor's tools, whatever this
// host's configuration says of KNOB and of TOOL.KNOB.
func knobs(set ...string) (env []string) {
	for _, knob := range set {
		env = append(env, "_condor_"+knob, "_condor_TOOL."+knob)
	}
	return env
}

// inCondorsFolder faults a token_dir that HTCondor's configuration names for tokens.
// Only check asks for that; others go by what a source had to ask for.
func (s *htcondorFetch) inCondorsFolder(b *config.Block) {
	if !b.Checking() && !b.Asked() {
		return
	}
	for _, knob := range []string{"SEC_TOKEN_DIRECTORY", "SEC_TOKEN_SYSTEM_DIRECTORY"} {
		if folder, err := b.Knob(knob); err == nil && (filepath.Clean(folder) == s.dir || sameFile(folder, s.dir)) {
			s.refuseFolder(b, " ("+knob+")")
		}
	}
}

// refuseFolder faults a token_dir that every client of this host reads.
func (s *htcondorFetch) refuseFolder(b *config.Block, why string) {
	b.Fault("token_dir", "HTCondor reads this folder"+why, "every client on this host would send the long-lived token, whatever it needs; name a folder of its own, such as /etc/tokenagent/condor/"+b.Name())
}

// tools finds condor_token_fetch.
func (s *htcondorFetch) tools(b *config.Block) bool {
	path, err := b.LookPath("condor_token_fetch")
	if err != nil {
		b.Fault("", "HTCondor's tools are missing", "there is no condor_token_fetch in the agent's PATH; install HTCondor (package condor)")
		return false
	}
	p, ok := program.New(b, append([]string{path}, s.target...), fetchTimeout, "")
	if s.keyID != "" {
		p.Args = append(p.Args, "-key", s.keyID)
	}
	s.fetcher = p
	return ok
}

// inspect warns of a long-lived token that is missing, or ends soon, and of files
// that HTCondor's client may present in its place.
func (s *htcondorFetch) inspect(b *config.Block) {
	entries, _ := os.ReadDir(s.dir) // of a folder that is missing, the token is missing too
	for _, e := range entries {
		if e.Name() != heldName && !e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			b.Warn("token_dir", "another file lies there", fmt.Sprintf("HTCondor reads all files of the folder, and may ask with the token in %s; only %s belongs there, move the other away", filepath.Join(s.dir, e.Name()), heldName))
		}
	}
	held, err := s.held()
	switch {
	case err != nil:
		b.Warn("token_dir", "no token to ask with", err.Error())
	case held.Until(time.Now()) < lastMonth:
		b.Warn("token_dir", "the token to ask with ends soon", s.ends(held))
	}
}

// heldPath is the file of the long-lived token.
func (s *htcondorFetch) heldPath() string { return filepath.Join(s.dir, heldName) }

// held is when the long-lived token ends. Its error says how to get one.
func (s *htcondorFetch) held() (ends endOf, err error) {
	path := s.heldPath()
	data, err := keys.ReadSecretFile(path)
	if err != nil {
		return endOf{}, fmt.Errorf("%w; to ask an administrator of the pool for one: %s", err, s.login)
	}
	text, err := taking{}.tokenIn(data)
	if err != nil {
		return endOf{}, fmt.Errorf("%s: %w; to ask for another: %s", path, err, s.login)
	}
	decoded, err := profile.Decode(text.Reveal())
	if err != nil {
		return endOf{}, fmt.Errorf("%s: %w; to ask for another: %s", path, err, s.login)
	}
	at, err := expiryClaim(decoded.Claims)
	return endOf{at}, err
}

// An endOf is when a token ends; the zero time: never.
type endOf struct{ time.Time }

// Until is how long that is from now.
func (e endOf) Until(now time.Time) time.Duration {
	if e.IsZero() {
		return 1<<63 - 1
	}
	return e.Sub(now)
}

// ends says when the long-lived token ends, and what to do.
func (s *htcondorFetch) ends(held endOf) string {
	return fmt.Sprintf("the token in %s ends %s, and no token is given that outlives it; to ask for another: %s", s.dir, held.UTC().Format(time.RFC3339), s.login)
}

// ended says the same of a token that has ended.
func (s *htcondorFetch) ended(held endOf) string {
	return strings.Replace(s.ends(held), " ends ", " ended ", 1)
}

// check returns what no token can have of what is asked for. A daemon takes over
// neither claims nor an identity, and a token without authorisations has all.
func (s *htcondorFetch) check(req agent.Request) []profile.Problem {
	var problems []profile.Problem
	if req.Unlimited {
		problems = append(problems, profile.Problem{Claim: "scope", Text: "a token without limit is not asked for; write what it may do, such as condor:/READ"})
	}
	if len(req.Claims) > 0 {
		problems = append(problems, profile.Problem{Text: "a daemon of HTCondor gives a token no further claims; leave claims out"})
	}
	if !req.Unlimited && len(req.Scope) == 0 {
		problems = append(problems, profile.Problem{Claim: "scope", Text: "it is missing, and a token without it may do everything; write what it may do, such as condor:/READ"})
	}
	for _, p := range unattainable("", req) {
		if p.Claim != "scope" || len(req.Scope) > 0 {
			problems = append(problems, p)
		}
	}
	return problems
}

// Issue asks for a token, with a lifetime and with the authorisations of the scope.
func (s *htcondorFetch) Issue(ctx context.Context, req agent.Request) (agent.Token, error) {
	held, err := s.held()
	sent := agent.Now(ctx)
	switch {
	case err != nil:
		return agent.Token{}, configurationFault(err)
	case held.Until(sent) <= 0:
		return agent.Token{}, configurationFault(errors.New(s.ended(held)))
	}
	p := s.fetcher
	p.Args = append(append([]string{}, p.Args...), askedOf(req)...)
	printed, err := p.Output(ctx, program.Input{Env: s.env})
	if err != nil {
		return agent.Token{}, s.understood(err)
	}
	text, err := taking{}.printedToken(printed.Reveal())
	if err != nil {
		return agent.Token{}, transientFault(fmt.Errorf("what %s printed: %w", p.Args[0], err))
	}
	expires, err := taking{}.expiryIn(text, agent.Now(ctx))
	switch {
	case err != nil:
		return agent.Token{}, about("what "+p.Args[0]+" printed", err)
	case expires.IsZero():
		return agent.Token{}, configurationFault(fmt.Errorf("%s printed a token that never expires, though %s was asked for", p.Args[0], req.Lifetime))
	}
	if err := s.asAsked(text, req); err != nil {
		return agent.Token{}, configurationFault(err)
	}
	return agent.Token{Secret: text, Issued: sent, Expires: expires, Note: s.note(held, sent, expires, req.Lifetime)}, nil
}

// asAsked holds the token against what was asked for. A daemon gives the identity of
// the long-lived token, and cuts the authorisations to its own without a word.
func (s *htcondorFetch) asAsked(text agent.Secret, req agent.Request) error {
	decoded, err := profile.Decode(text.Reveal())
	if err != nil {
		return err
	}
	for _, p := range profile.Matches(decoded, agent.Request{Profile: condorProfile, Subject: req.Subject, Scope: req.Scope}) {
		if !p.Warning {
			return fmt.Errorf("the token is not as asked: %s; it can have only the identity and the scope of the token in %s; correct the token block, or ask for another with what it says now: %s", p, s.dir, s.login)
		}
	}
	return nil
}

// note says that the life of a token was cut, or soon will be.
func (s *htcondorFetch) note(held endOf, sent, expires time.Time, wanted time.Duration) string {
	switch {
	case expires.Before(sent.Add(wanted-clockSlack)) && held.Until(expires) < clockSlack:
		return "the server gives no more life than the token it was asked with has: " + s.ends(held)
	case held.Until(sent) < lastMonth:
		return s.ends(held)
	}
	return ""
}

// askedOf are the options of condor_token_fetch and condor_token_request that say
// how long the token lives and what it may do. Without them it lives for ever and
// may do everything.
func askedOf(req agent.Request) []string {
	options := []string{"-lifetime", strconv.FormatInt(int64(req.Lifetime/time.Second), 10)}
	for _, word := range req.Scope {
		options = append(options, "-authz", strings.TrimPrefix(word, "condor:/"))
	}
	return options
}

// refusals are what HTCondor's tools say of failures that do not go by themselves,
// and what to do.
var refusals = []struct{ said, do string }{
	{"will not sign with requested key", "the daemon signs with no key of that name; leave key_id out, or have SEC_TOKEN_FETCH_ALLOWED_SIGNING_KEYS name it there"},
	{"did not successfully authenticate", "the daemon let the client in without knowing who it is; have it demand authentication, and accept IDTOKENS"},
	{"Failed to authenticate", "the daemon does not accept the token in token_dir: see that it is of that pool's trust domain and not revoked, and the clocks are right; doctor TOKEN_DIR tells more"},
	{"security policy is invalid", "this host's HTCondor has no way to authenticate that the daemon accepts; see SEC_CLIENT_AUTHENTICATION_METHODS, and that token_dir holds a token of that pool"},
	{"Unknown subsystem", "correct type in the source"},
}

// understood adds to the error of condor_token_fetch what to do, where waiting is
// of no use.
func (s *htcondorFetch) understood(err error) error {
	f, ok := errors.AsType[*agent.Fault](err)
	if !ok || f.Kind != agent.Transient {
		return err
	}
	for _, r := range refusals {
		if strings.Contains(f.Error(), r.said) {
			return configurationFault(fmt.Errorf("%w; %s; to ask for another token: %s", f.Err, r.do, s.login))
		}
	}
	return err
}
