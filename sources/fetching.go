package sources

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/sources/issuer"
	"github.com/tokenagent/tokenagent/sources/keys"
)

// A fetching is what the blocks of all kinds have in common that ask an OAuth 2.0
// issuer for their tokens, embedded in the structs that these are decoded into.
// The example of client_credentials shows all of it.
type fetching struct {
	Issuer        string `hcl:"issuer,optional"`
	TokenEndpoint string `hcl:"token_endpoint,optional"`
	JWKSURI       string `hcl:"jwks_uri,optional"`
	clientAttributes
	CAFile            string         `hcl:"ca_file,optional,path"`
	AudienceParameter string         `hcl:"audience_parameter,optional"`
	Parameters        map[string]any `hcl:"parameters,optional"`
	Verify            bool           `hcl:"verify,optional"`
	OnNarrowed        string         `hcl:"on_narrowed,optional"`
	taking

	signsGrant bool // the source signs what it asks with, so assertion_audience is its too
}

// clientAttributes say who the client is, and how it proves that to its issuer.
type clientAttributes struct {
	ClientID          string `hcl:"client_id,optional"`
	ClientAuth        string `hcl:"client_auth,optional"`
	ClientSecretFile  string `hcl:"client_secret_file,optional,path"`
	ClientKeyFile     string `hcl:"client_key_file,optional,path"`
	ClientKeyID       string `hcl:"client_key_id,optional"`
	ClientCertFile    string `hcl:"client_cert_file,optional,path"`
	ClientAssertion   string `hcl:"client_assertion_file,optional,path"`
	ClientAssertType  string `hcl:"client_assertion_type,optional"`
	AssertionAudience string `hcl:"assertion_audience,optional"`
}

// fetchingDefaults are the values of what a block leaves out.
func fetchingDefaults() fetching {
	return fetching{clientAttributes: clientAttributes{ClientAuth: "client_secret_basic"}, AudienceParameter: "audience", Verify: true, OnNarrowed: "refuse", taking: takingDefaults()}
}

// asker validates the attributes, which have been decoded, and returns what asks by
// them, after a fault too: so the tokens of the source are checked in the same run.
func (f *fetching) asker(b *config.Block) *asker {
	f.validateAddress(b)
	f.validateAnswer(b)
	f.selectAuth(b)
	f.validateClient(b)
	if !b.DefinitionsOnly() {
		f.inspect(b)
	}
	address := f.address()
	return &asker{
		server:     serverAt(b, address),
		client:     f.client(),
		issuer:     f.Issuer,
		audience:   f.AudienceParameter,
		parameters: f.parameters(b),
		verify:     f.Verify,
		lenient:    f.OnNarrowed == "warn",
		taking:     f.taking,
		files:      f.files(),
		asserted:   f.ClientAssertion,
	}
}

func (f *fetching) address() issuer.Address {
	return issuer.Address{Issuer: f.Issuer, TokenEndpoint: f.TokenEndpoint, JWKSURI: f.JWKSURI, CAFile: f.CAFile}
}

// A firstServer is the key of the first Server of an issuer in a load.
type firstServer string

// serverAt is the Server that all sources with that address share. Those that know
// the same issuer otherwise, such as by another ca_file, share its limits.
func serverAt(b *config.Block, address issuer.Address) *issuer.Server {
	return b.Shared(address, func() any {
		s := issuer.NewServer(address)
		s.ShareLimits(b.Shared(firstServer(s.Name()), func() any { return s }).(*issuer.Server))
		return s
	}).(*issuer.Server)
}

func (f *fetching) client() issuer.Client {
	c := issuer.Client{
		ID: f.ClientID, Auth: f.ClientAuth, SecretFile: f.ClientSecretFile, KeyFile: f.ClientKeyFile, CertFile: f.ClientCertFile,
		KeyID: f.ClientKeyID, Audience: f.AssertionAudience, AssertionType: f.ClientAssertType,
	}
	if f.ClientAssertion != "" {
		c.Asserted = presented{"client assertion", f.ClientAssertion, f.ClientAssertType == "" || strings.Contains(f.ClientAssertType, "jwt")}
	}
	return c
}

// files are those that are read for each request.
func (f *fetching) files() []string {
	return present(f.ClientSecretFile, f.ClientKeyFile, f.ClientCertFile, f.CAFile)
}

func (f *fetching) validateURLs(b *config.Block) {
	validateURL(b, "issuer", f.Issuer)
	validateURL(b, "token_endpoint", f.TokenEndpoint)
	validateURL(b, "jwks_uri", f.JWKSURI)
}

// validateAddress reports what is wrong with where the issuer is.
func (f *fetching) validateAddress(b *config.Block) {
	f.validateURLs(b)
	switch {
	case !b.Has("issuer") && !b.Has("token_endpoint"):
		b.Fault("", "missing attribute issuer", `write issuer = "https://…", whose metadata tells the rest, or where it has none token_endpoint`)
	case !b.Has("issuer") && !b.Has("jwks_uri") && f.Verify && !b.Wrong("verify") && !f.opaque():
		b.Fault("token_endpoint", "nothing tells the issuer's keys",
			`write issuer, whose metadata names them, or jwks_uri, or verify = false, or token_format = "opaque" if the tokens are not JWTs`)
	case f.opaque() && b.Has("jwks_uri"):
		b.Warn("jwks_uri", "the keys are not used", `token_format = "opaque" says that the tokens have no signature; leave one of both out`)
	case f.opaque() && b.Has("verify") && f.Verify:
		b.Warn("verify", "nothing is verified", `token_format = "opaque" says that the tokens have no signature; leave one of both out`)
	case !f.Verify && f.JWKSURI != "":
		b.Warn("jwks_uri", "the keys are not used", "verify = false has no signature held against them; leave one of both out")
	}
	if !f.Verify && !f.opaque() {
		b.Warn("verify", "signatures are not verified", "a token is installed whoever signed it; leave verify out where the issuer publishes its keys")
	}
}

// validateURL reports an attribute that is set to something else than the https URL
// of a server.
func validateURL(b *config.Block, attr, text string) {
	if text == "" {
		return
	}
	err := issuer.CheckURL(text)
	if attr == "issuer" && err == nil && strings.Contains(text, "?") {
		err = errors.New("it has a query (?…), which no issuer's identifier has (RFC 8414 section 2)")
	}
	if err != nil {
		b.Fault(attr, fmt.Sprintf("%s is not an https URL", attr), err.Error())
	}
}

// clientFiles says which files belong to each way of client authentication.
var clientFiles = map[string][]string{
	"client_secret_basic": {"client_secret_file"},
	"client_secret_post":  {"client_secret_file"},
	"private_key_jwt":     {"client_key_file"},
	"tls_client_auth":     {"client_key_file", "client_cert_file"},
	"none":                {},
	issuer.AuthAsserted:   {"client_assertion_file"}, // which selects it
}

// clientOptions says for which way each further attribute of a client is.
var clientOptions = []struct{ attr, auth string }{
	{"client_key_id", "private_key_jwt"}, {"assertion_audience", "private_key_jwt"}, {"client_assertion_type", issuer.AuthAsserted},
}

// selectAuth lets client_assertion_file select the way, which client_auth has no word for.
func (f *fetching) selectAuth(b *config.Block) {
	switch {
	case b.Has("client_assertion_file") && b.Has("client_auth"):
		b.Fault("client_auth", "client_auth is not used", "client_assertion_file says how the client proves who it is; leave one of both out")
	case f.ClientAuth == issuer.AuthAsserted && b.Has("client_auth"):
		b.Fault("client_auth", fmt.Sprintf("unknown client_auth %q", f.ClientAuth), "write the attribute client_assertion_file, and leave client_auth out")
	}
	if b.Has("client_assertion_file") {
		f.ClientAuth = issuer.AuthAsserted
	}
	if f.ClientAssertion != "" {
		inspectFollowed(b, "client_assertion_file", f.ClientAssertion)
	}
}

// knowsAuth reports a client_auth that there is not.
func (f *fetching) knowsAuth(b *config.Block) bool {
	_, known := clientFiles[f.ClientAuth]
	if !known {
		b.Fault("client_auth", fmt.Sprintf("unknown client_auth %q", f.ClientAuth), "it is "+quotedList(issuer.Auths()))
	}
	return known
}

// validateClient reports a client that is not what client_auth wants.
func (f *fetching) validateClient(b *config.Block) {
	if !f.knowsAuth(b) || b.Wrong("client_auth") {
		return // nobody knows what it wants
	}
	f.validateOptions(b)
	wanted := clientFiles[f.ClientAuth]
	if !b.Has("client_id") && f.ClientAuth != "none" && f.ClientAuth != issuer.AuthAsserted {
		b.Fault("", "missing attribute client_id", `write client_id = "…", as the issuer registered it`)
	}
	for _, attr := range []string{"client_secret_file", "client_key_file", "client_cert_file"} {
		switch needed := slices.Contains(wanted, attr); {
		case needed && !b.Has(attr) && b.Wrong(attr): // an unknown attribute is meant for it
		case needed && !b.Has(attr):
			b.Fault("", "missing attribute "+attr, fmt.Sprintf("client_auth %q needs it%s", f.ClientAuth, otherAuth(b)))
		case !needed && b.Has(attr):
			b.Fault(attr, attr+" is not used", fmt.Sprintf("%s has no use for it; it is for %s", f.way(), quotedList(authsWith(attr))))
		}
	}
}

// way names how the client proves who it is.
func (f *fetching) way() string {
	if f.ClientAuth == issuer.AuthAsserted {
		return "client_assertion_file"
	}
	return fmt.Sprintf("client_auth %q", f.ClientAuth)
}

// validateOptions reports what is wrong with the further attributes of the client.
func (f *fetching) validateOptions(b *config.Block) {
	for _, o := range clientOptions {
		if b.Has(o.attr) && o.auth != f.ClientAuth && !(f.signsGrant && o.attr == "assertion_audience") {
			needs := fetching{clientAttributes: clientAttributes{ClientAuth: o.auth}}
			b.Fault(o.attr, o.attr+" is not used", fmt.Sprintf("%s has no use for it; it is for %s", f.way(), needs.way()))
		}
	}
	if err := keys.CheckID(f.ClientKeyID); err != nil {
		b.Fault("client_key_id", "no usable client_key_id", err.Error())
	}
	if u, err := url.Parse(f.ClientAssertType); f.ClientAssertType != "" && (err != nil || !u.IsAbs()) {
		b.Fault("client_assertion_type", "client_assertion_type is not a URI", `it is such as "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"`)
	}
}

// otherAuth offers another client_auth where a block that names none has the
// files for it.
func otherAuth(b *config.Block) string {
	switch {
	case b.Has("client_auth"):
		return ""
	case b.Has("client_cert_file"):
		return `; with a certificate write client_auth = "tls_client_auth"`
	case b.Has("client_key_file"):
		return `; with a key write client_auth = "private_key_jwt"`
	}
	return `, which is the default; a client without a secret is client_auth = "none"`
}

// authsWith are the ways of client authentication that use the file.
func authsWith(attr string) []string {
	return slices.DeleteFunc(issuer.Auths(), func(auth string) bool { return !slices.Contains(clientFiles[auth], attr) })
}

// quoted is a text of an issuer's as an error shows it.
func quoted(text string) string { return strconv.Quote(shortened(text)) }

// shortened is a text of an issuer's, which may be of any length.
func shortened(text string) string {
	const most = 160 // characters
	if runes := []rune(text); len(runes) > most {
		text = string(runes[:most]) + "…"
	}
	return text
}

func quotedList(words []string) string { return `"` + strings.Join(words, `", "`) + `"` }

// validateAnswer reports what is wrong with what is to be made of answers.
func (f *fetching) validateAnswer(b *config.Block) {
	refuseOrWarn(b, "on_narrowed", f.OnNarrowed)
	f.taking.validate(b)
}

// belongs says of parameters of a request that are set elsewhere, where.
var belongs = map[string]string{
	"grant_type":            "the kind of the source says it",
	"client_id":             "write the attribute client_id",
	"client_secret":         "write it into a file, and that into client_secret_file",
	"client_assertion":      `a new one is made for each request with client_auth = "private_key_jwt" and client_key_file; one that others keep is read from client_assertion_file`,
	"client_assertion_type": `it goes with client_auth = "private_key_jwt" and client_assertion_file`,
	"scope":                 "write the attribute scope in the token block",
	"refresh_token":         `source "refresh_token" reads it from a file`,
	"subject_token":         `source "token_exchange" reads it from subject_token_file`,
	"subject_token_type":    `write the attribute subject_token_type of source "token_exchange"`,
	"requested_token_type":  `write the attribute requested_token_type of source "token_exchange"`,
	"actor_token":           `source "token_exchange" reads it from actor_token_file`,
	"actor_token_type":      `write the attribute actor_token_type of source "token_exchange"`,
	"password":              "it would be a secret in the configuration",
	"assertion":             `source "jwt_bearer" reads it from assertion_file, or signs it`,
}

// parameters are the further ones of a request, a list as several of one name.
func (f *fetching) parameters(b *config.Block) url.Values {
	if why := belongs[f.AudienceParameter]; why != "" {
		b.Fault("audience_parameter", fmt.Sprintf("the audience cannot go as %s", f.AudienceParameter), `it is a name such as "audience", "resource" or "aud"`)
	}
	values := url.Values{}
	for _, name := range slices.Sorted(maps.Keys(f.Parameters)) {
		why := belongs[name]
		if name == f.AudienceParameter {
			why = "write the attribute audience in the token block"
		}
		texts, fits := parameterTexts(f.Parameters[name])
		switch {
		case why != "":
			b.Fault("parameters", fmt.Sprintf("the parameter %s is set elsewhere", name), why)
		case !fits:
			b.Fault("parameters", fmt.Sprintf("wrong value of the parameter %s", name), "it is a string, or a list of strings for one that is repeated; write a number in quotes")
		default:
			values[name] = texts
		}
	}
	return values
}

func parameterTexts(v any) (texts []string, ok bool) {
	list, isList := v.([]any)
	if !isList {
		list = []any{v}
	}
	for _, e := range list {
		text, isText := e.(string)
		if !isText {
			return nil, false
		}
		texts = append(texts, text)
	}
	return texts, true
}

// inspect reports files of the client and a ca_file that cannot be used. A file that is
// not named has been reported.
func (f *fetching) inspect(b *config.Block) {
	for _, err := range f.client().Check() {
		if attr := f.fileIn(err.Error()); attr != "" {
			b.Fault(keyAttr(b, err, "client_key_id", attr), "no usable client", err.Error())
		}
	}
	if err := f.address().Check(); err != nil {
		b.Fault("ca_file", "no usable CA", err.Error())
	}
	f.inspectEnds(b, time.Now())
}

// fileIn is the attribute of the client's file that the text names first; "" where that
// is not named.
func (f *fetching) fileIn(text string) string {
	attr, first, longest := "", len(text), 0
	for name, path := range map[string]string{
		"client_secret_file": f.ClientSecretFile, "client_key_file": f.ClientKeyFile, "client_cert_file": f.ClientCertFile,
	} {
		at := strings.Index(text, path)
		if path != "" && at >= 0 && (at < first || at == first && len(path) > longest) { // /x/robot is in /x/robot.pem
			attr, first, longest = name, at, len(path)
		}
	}
	return attr
}
