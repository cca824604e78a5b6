package main

import (
	"net/url"
	"os/user"
	"path"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/pflag"
)

// objectFlags are those of "pelican token create", which names an object of a federation by
// its URL and says by switches what may be done with it.
type objectFlags struct {
	read, write, modify, stage bool
	scopePath                  string
	expiration                 string
	rawClaims, rawScopes       []string
}

func (o *objectFlags) add(flags *pflag.FlagSet) {
	flags.BoolVarP(&o.read, "read", "r", false, "of a Pelican URL: the token may read")
	flags.BoolVarP(&o.write, "write", "w", false, "of a Pelican URL: it may create")
	flags.BoolVarP(&o.modify, "modify", "m", false, "of a Pelican URL: it may change and delete")
	flags.BoolVarP(&o.stage, "stage", "s", false, "of a Pelican URL: it may stage")
	flags.StringVar(&o.scopePath, "scope-path", "", "of a Pelican URL: the `path` in the scopes, which is that of the object without its namespace")
	flags.StringVar(&o.expiration, "expiration", "", "when the token expires, as RFC 3339, in place of --lifetime: a `time` such as 2026-12-31T23:59:59Z")
	flags.StringArrayVar(&o.rawClaims, "raw-claim", nil, "as --claim, and a comma is a part of it: `CLAIM=VALUE`")
	flags.StringArrayVar(&o.rawScopes, "raw-scope", nil, "as --scope: `words` of the claim scope")
}

// objectScopes are the words for the switches, by profile: read, write, modify, stage.
var objectScopes = map[string][4]string{
	"wlcg":      {"storage.read:", "storage.create:", "storage.modify:", "storage.stage:"},
	"scitokens": {"read:", "write:", "write:", "write:"},
}

// anyAudience is what every service of the profile accepts.
var anyAudience = map[string]string{"wlcg": "https://wlcg.cern.ch/jwt/v1/any", "scitokens": "ANY"}

// isObjectURL reports whether an argument names an object as pelican does.
func isObjectURL(arg string) bool {
	scheme, _, found := strings.Cut(arg, "://")
	return found && (scheme == "pelican" || scheme == "osdf" || scheme == "stash" || scheme == "https")
}

// asObject fills the flags as "pelican token create URL" has them. What Pelican's director
// knows has to be given here: the issuer, and which part of the path is the namespace.
func (f *tokenFlags) asObject(object string) error {
	u, err := url.Parse(object)
	if err != nil || u.Path == "" {
		return usage("%s: it names no object; write pelican://FEDERATION/NAMESPACE/PATH", object)
	}
	name, err := profileNamed(f.profile)
	if err != nil {
		return err
	}
	words, known := objectScopes[name]
	if !known {
		return usage("--profile %s: the scopes of a Pelican URL are those of wlcg and scitokens2", f.profile)
	}
	if f.issuer == "" {
		return usage("--issuer is missing: which issuer the namespace of %s has only Pelican's director knows; write --issuer URL, as pelican takes it too", object)
	}
	switches := [4]bool{f.object.read, f.object.write, f.object.modify, f.object.stage}
	if f.object.scopePath == "" && switches != [4]bool{} {
		return usage("--scope-path is missing: which part of %s is the namespace only Pelican's director knows; write what comes after it, such as --scope-path %s", u.Path, path.Join("/", path.Base(u.Path)))
	}
	if strings.ContainsFunc(f.object.scopePath, unicode.IsSpace) {
		return usage("--scope-path %q: a path in a scope has no blank, which ends it and begins another scope; write %%20", f.object.scopePath)
	}
	at := path.Clean("/" + f.object.scopePath)
	for i, wanted := range switches {
		if scope := words[i] + at; wanted && !strings.Contains(" "+strings.Join(f.scope, " ")+" ", " "+scope+" ") {
			f.scope = append(f.scope, scope)
		}
	}
	f.anyAudience = anyAudience[name]
	if f.subject == "" {
		f.subject = pelicanSubject()
	}
	return nil
}

// withoutObject is an error for a flag that says something of a Pelican URL, where there is none.
func (f *tokenFlags) withoutObject() error {
	for _, name := range []string{"read", "write", "modify", "stage", "scope-path"} {
		if f.all.Changed(name) {
			return usage("--%s needs a Pelican URL, such as pelican://FEDERATION/NAMESPACE/PATH; without one write --scope", name)
		}
	}
	return nil
}

// pelicanSubject is the subject that pelican gives a token by default.
func pelicanSubject() string {
	u, err := user.Current()
	if err != nil || u.Username == "" || u.Username == "root" {
		return "pelican_client"
	}
	return u.Username
}

// untilExpiration sets the lifetime by --expiration.
func (f *tokenFlags) untilExpiration(now time.Time) error {
	if f.object.expiration == "" {
		return nil
	}
	if f.all.Changed("lifetime") {
		return usage("--lifetime and --expiration say the same; write one of them")
	}
	at, err := time.Parse(time.RFC3339, f.object.expiration)
	if err != nil {
		return usage("--expiration %s: write the time as RFC 3339, such as 2026-12-31T23:59:59Z", f.object.expiration)
	}
	left := at.Sub(now)
	if left < time.Second {
		return usage("--expiration %s: that is in the past", f.object.expiration)
	}
	f.lifetime = lifetime(left)
	return nil
}

// listClaims are claims that a profile wants as a list, though a command line gives them as
// text: each word is an entry.
var listClaims = map[string]string{"roles": "clustercockpit", "wlcg.groups": "wlcg"}

// addFurther adds a claim that was given as text. One that is given twice gets both values.
func addFurther(further map[string]any, name, value, profile string) {
	if listClaims[name] == profile && profile != "" {
		list, _ := further[name].([]any)
		for _, word := range strings.Fields(value) {
			list = append(list, word)
		}
		further[name] = list
		return
	}
	if before, repeated := further[name].(string); repeated {
		value = before + " " + value
	}
	further[name] = value
}
