package profile

import (
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode"
)

// A Difference is how what came differs from what was asked for, by what it lets a bearer do.
// storage.read:/ and storage.read:/data together allow no more than storage.read:/ alone, and
// nothing is missing where storage.read:/ came for storage.read:/data.
type Difference struct {
	Missing []string // was asked for, and nothing that came covers it
	Wider   []string // came, grants something, and nothing that was asked for covers it
	Beside  []string // came, was not asked for, and grants nothing that this package knows, such as openid
}

// CompareScope compares the words of two scopes. A word grants something if it begins with
// storage., compute. or condor:, or is read, write, queue or execute, with a path or without.
// read:org grants something too, though its issuer knows no paths: a reader of SciTokens takes
// it for the path /org.
//
// The words of the WLCG profile 1.3 (section 2.2.1) and of SciTokens 2.0 mean what their
// documents say. HTCondor's levels imply each other as its DCpermissionHierarchy has it. Where
// readers differ, a word that came counts as widely as any of them takes it, and for Missing as
// narrowly.
//
// Nothing is Wider or Beside where the request lets the issuer decide: without any scope, with
// wlcg.capabilityset or .default, or with wlcg.groups and no word that grants something.
func CompareScope(asked, got []string) Difference {
	var d Difference
	wanted, came := grantsOf(asked), grantsOf(got)
	for _, a := range wanted {
		if !a.turnsInto(came) && !slices.ContainsFunc(came, func(c grant) bool { return c.covers(a, supersets) }) {
			d.Missing = append(d.Missing, a.word)
		}
	}
	if leavesOpen(wanted) {
		return d
	}
	for _, c := range came {
		switch {
		case slices.ContainsFunc(wanted, func(a grant) bool { return a.covers(c, implied) }):
		case c.grants():
			d.Wider = append(d.Wider, c.word)
		default:
			d.Beside = append(d.Beside, c.word)
		}
	}
	return d
}

// CompareAudience compares the entries of two claims aud. Only an entry that means every service
// is Wider, unless such an entry was asked for. Where none was asked for, none is too much.
func CompareAudience(asked, got []string) Difference {
	d := Difference{Missing: missing(asked, got)}
	if len(asked) == 0 || slices.ContainsFunc(asked, isEverybody) {
		return d
	}
	for _, entry := range unique(missing(got, asked)) {
		if isEverybody(entry) {
			d.Wider = append(d.Wider, entry)
		} else {
			d.Beside = append(d.Beside, entry)
		}
	}
	return d
}

// isEverybody reports whether the entry of an aud means every service, in any profile.
func isEverybody(entry string) bool { return entry == anyWLCG || entry == anySciTokens }

// unique are the words in the order in which each comes first.
func unique(words []string) []string {
	seen := make(map[string]bool, len(words))
	return slices.DeleteFunc(slices.Clone(words), func(w string) bool {
		was := seen[w]
		seen[w] = true
		return was
	})
}

// A grant is one word of a scope.
type grant struct {
	word string
	name string // what may be done, such as storage.read; with the level of condor:/LEVEL
	path string // below which, without escapes, . and a slash at its end; "/": everywhere
	odd  bool   // readers may take the path for another one: the word covers only itself
}

func grantsOf(words []string) (all []grant) {
	for _, word := range unique(words) {
		all = append(all, parseGrant(word))
	}
	return all
}

func parseGrant(word string) grant {
	name, target, _ := strings.Cut(word, ":")
	if name == "condor" || !grantsByName(name) {
		return grant{word: word, name: word, path: "/"}
	}
	plain, odd := plainPath(target)
	return grant{word: word, name: name, path: plain, odd: odd}
}

// turnsInto reports whether g is a word that an issuer turns into something else, and
// need not give back. Of a wlcg.capabilityset one of the scopes that it stands for must
// have come.
func (g grant) turnsInto(came []grant) bool {
	if IsCapabilitySet(g.word) {
		return slices.ContainsFunc(came, grant.grants)
	}
	return isRequest(g.word)
}

// IsCapabilitySet reports whether an issuer turns the word into scopes of its choice (WLCG
// profile 1.3, section 3.3).
func IsCapabilitySet(word string) bool {
	name, _, _ := strings.Cut(word, ":")
	return name == "wlcg.capabilityset"
}

// requests are words that ask an issuer for claims, for another token or for a profile: of
// OpenID Connect Core sections 5.4 and 11, the WLCG profile 1.3 (sections 3.1 and 3.4),
// INDIGO IAM, CILogon, EGI Check-in and Keycloak.
var requests = []string{
	"openid", "offline_access", "profile", "email", "address", "phone", "wlcg", "wlcg.groups",
	"aarc", "iam", "attr", "ssh-keys", "org.cilogon.userinfo", "edu.uiuc.ncsa.myproxy.getcert",
	"orcid", "ssh_public_key", "cert_entitlement", "acr", "basic", "microprofile-jwt", "roles", "service_account", "web-origins",
}

// requestsFor are what words begin with that ask for a certain value, and for attributes by
// the schemas of REFEDS and AARC.
var requestsFor = []string{"wlcg:", "wlcg.groups:", "entitlements", "eduperson_", "voperson_", "schac_", "https://www.googleapis.com/auth/userinfo."}

// isRequest reports whether the word asks for something that does not come back as scope.
// So does .default of Microsoft's, which asks for all that the client has been given.
func isRequest(word string) bool {
	return slices.Contains(requests, word) || isDefault(word) ||
		slices.ContainsFunc(requestsFor, func(begin string) bool { return strings.HasPrefix(word, begin) })
}

func isDefault(word string) bool { return word == ".default" || strings.HasSuffix(word, "/.default") }

// grants reports whether the word lets a bearer do something, as far as is known.
func (g grant) grants() bool {
	name, _, _ := strings.Cut(g.word, ":")
	return grantsByName(name)
}

func grantsByName(name string) bool {
	switch name {
	case "read", "write", "queue", "execute", "condor":
		return true
	}
	return strings.HasPrefix(name, "storage.") || strings.HasPrefix(name, "compute.")
}

// covers reports whether g lets a bearer do all that other does, where a word
// allows what the table says beside itself.
func (g grant) covers(other grant, allows map[string][]string) bool {
	switch {
	case g.word == other.word, isOfResource(g.word, other.word), isOfResource(other.word, g.word):
		return true
	case g.odd || other.odd:
		return false
	}
	return isBelow(g.path, other.path) && (g.name == other.name || slices.Contains(allows[g.name], other.name))
}

// isOfResource reports whether the long word is the short one with the resource before it
// that it belongs to: Microsoft's issuers are asked for api://app/Files.Read, and their
// tokens say Files.Read.
func isOfResource(long, short string) bool {
	resource, ok := strings.CutSuffix(long, "/"+short)
	return ok && short != "" && strings.Contains(resource, "://") && !strings.ContainsAny(short, "/:")
}

// supersets are the words that allow what others do, for every reader: WLCG
// profile 1.3, section 2.2.1.
var supersets = map[string][]string{
	"storage.modify": {"storage.create"},
	"storage.stage":  {"storage.poll"},
}

// implied are the rights that a word also grants for some reader. Who asked for the word accepts
// them: the words of the other profile that mean the same (scitokens-cpp takes one for the
// other), where a file is (WLCG profile 1.3: part of "stat"), and the lower levels of HTCondor.
// Since version 1.3 storage.stage does not allow reading.
var implied = map[string][]string{
	"storage.read":   {"read", "storage.poll"},
	"storage.create": {"storage.poll"},
	"storage.modify": {"storage.create", "storage.poll", "storage.write", "write"},
	"storage.stage":  {"storage.poll"},
	"storage.write":  {"storage.create", "storage.modify", "storage.poll", "write"}, // which older libraries know
	"read":           {"storage.read", "storage.poll"},
	"write":          {"storage.create", "storage.modify", "storage.poll", "storage.write"},

	"condor:/ADMINISTRATOR":    {"condor:/WRITE", "condor:/READ"},
	"condor:/DAEMON":           {"condor:/WRITE", "condor:/READ"},
	"condor:/WRITE":            {"condor:/READ"},
	"condor:/NEGOTIATOR":       {"condor:/READ"},
	"condor:/CONFIG":           {"condor:/READ"},
	"condor:/ADVERTISE_MASTER": {"condor:/READ"},
	"condor:/ADVERTISE_STARTD": {"condor:/READ"},
	"condor:/ADVERTISE_SCHEDD": {"condor:/READ"},
}

// leavesOpen reports whether the request lets the issuer decide what it grants. Nobody knows the
// scopes of a wlcg.capabilityset beforehand (WLCG profile 1.3, section 3.3).
func leavesOpen(asked []grant) bool {
	groups, granting := false, false
	for _, a := range asked {
		name, _, _ := strings.Cut(a.word, ":")
		if IsCapabilitySet(a.word) || isDefault(a.word) {
			return true
		}
		groups = groups || name == "wlcg.groups"
		granting = granting || a.grants()
	}
	return len(asked) == 0 || groups && !granting
}

// escape is what percent-encoding looks like (RFC 3986 section 2.1).
var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// plainPath is the path behind a word as RFC 3986 section 6 normalises it; "/"
// where there is none. It is odd where two readers may take it for two paths.
func plainPath(target string) (plain string, odd bool) {
	plain, err := url.PathUnescape(target)
	upper := strings.ToUpper(target)
	odd = err != nil || strings.Contains(upper, "%2F") || strings.Contains(plain, `\`) ||
		strings.ContainsFunc(plain, unicode.IsControl) || escape.MatchString(plain) ||
		slices.Contains(strings.Split(plain, "/"), "..")
	return path.Clean("/" + plain), odd
}

// isBelow reports whether the path lies below the other, or is it.
func isBelow(above, path string) bool {
	return above == "/" || path == above || strings.HasPrefix(path, above+"/")
}
