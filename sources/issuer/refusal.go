package issuer

import (
	"cmp"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tokenagent/tokenagent/agent"
)

// An oauthError is what a code of RFC 6749 section 5.2, RFC 6750 section 3.1, RFC 8628
// section 3.5, RFC 8707 section 2, RFC 7009 section 2.2.1 or OpenID Connect Core section 3.1.2.6 means for us.
type oauthError struct {
	kind agent.Kind
	what string // has happened
	next string // what to do
}

// oauthErrors are the codes that an issuer may give for what we ask.
var oauthErrors = map[string]oauthError{
	"invalid_request":            {agent.Configuration, "the issuer misses something in the request, or does not understand it", "check scope, audience_parameter and parameters"},
	"invalid_client":             {agent.Configuration, "the issuer does not accept the client", "check client_id and client_auth"},
	"invalid_grant":              {agent.Configuration, "the issuer does not accept what was presented for the token", "check that it has not expired, and is for this client"},
	"invalid_token":              {agent.Configuration, "the issuer does not accept what was presented for the token", "check that it has not expired, and is for this client"},
	"insufficient_scope":         {agent.Configuration, "the issuer does not give this client that scope", "check scope, or have it allowed for the client at the issuer"},
	"interaction_required":       {agent.Configuration, "the issuer wants a person to log in or consent", "log in again"},
	"login_required":             {agent.Configuration, "the issuer wants a person to log in", "log in again"},
	"consent_required":           {agent.Configuration, "the issuer wants a person to consent", "log in again"},
	"account_selection_required": {agent.Configuration, "the issuer wants a person to choose an account", "log in again"},
	"unauthorized_client":        {agent.Configuration, "the client may not use this grant", "have it allowed for the client at the issuer"},
	"unsupported_token_type":     {agent.Configuration, "the issuer does not revoke tokens of this kind", "end it at the issuer's own pages"},
	"unsupported_grant_type":     {agent.Configuration, "the issuer does not know this grant", "see what its metadata offers with check --online, or use another kind of source"},
	"invalid_scope":              {agent.Configuration, "the issuer does not give this client that scope", "check scope, or have it allowed for the client at the issuer"},
	"invalid_target":             {agent.Configuration, "the issuer does not give tokens for that audience", "check audience and audience_parameter"},
	"access_denied":              {agent.Configuration, "the issuer, or a person whom it asked, said no", "have it allowed at the issuer"},
	"expired_token":              {agent.Configuration, "the device was not let in before its code expired", "begin again"},
	"authorization_pending":      {agent.Transient, "the device has not been let in yet", "open the address that was shown"},
	"slow_down":                  {agent.Transient, "the issuer wants to be asked less often", "wait"},
	"server_error":               {agent.Transient, "something went wrong at the issuer", "see its own log if it lasts"},
	"temporarily_unavailable":    {agent.Transient, "the issuer is overloaded or under maintenance", "wait"},
}

// sameAs are codes that no RFC knows, and the one that they mean: those of Spring and
// UAA, fosite (Ory Hydra), GitHub, Google, Microsoft and Auth0.
var sameAs = map[string]string{
	"unauthorized":                      "invalid_client",
	"request_unauthorized":              "invalid_client",
	"incorrect_client_credentials":      "invalid_client",
	"deleted_client":                    "invalid_client",
	"disabled_client":                   "invalid_client",
	"bad_refresh_token":                 "invalid_grant",
	"invalid_refresh_token":             "invalid_grant",
	"refresh_token_expired":             "invalid_grant",
	"token_expired":                     "invalid_grant",
	"token_inactive":                    "invalid_grant",
	"token_revoked":                     "invalid_grant",
	"invalid_resource":                  "invalid_target",
	"invalid_audience":                  "invalid_target",
	"invalid_scopes":                    "invalid_scope",
	"authorization_declined":            "access_denied",
	"mfa_required":                      "interaction_required",
	"insufficient_user_authentication":  "interaction_required",
	"unmet_authentication_requirements": "interaction_required",
}

// A Denied is an answer with an error code of RFC 6749 section 5.2, of an RFC that
// adds to it, or with one that means the same. It lies within the Fault.
type Denied struct {
	Code string // by an RFC, such as invalid_grant
	Said string // as the issuer called it
	More string // what it says about that, in brackets after a space; "" for nothing
	Else string // what else the code may mean, after "; "; "" for nothing
	text string
}

// EndsGrant reports whether the code says that what was presented for the token, such as
// a refresh token, is no longer good: a person must log in again.
func (d *Denied) EndsGrant() bool {
	switch d.Code {
	case "invalid_grant", "invalid_token", "interaction_required", "login_required", "consent_required", "account_selection_required":
		return true
	}
	return false
}

// MayEndGrant reports whether some issuers say the code of a refresh token that is no
// longer good, and others of something else.
func (d *Denied) MayEndGrant() bool {
	switch d.Code {
	case "invalid_request", "unauthorized_client", "access_denied":
		return true
	}
	return false
}

// Error says in one line what the code means here, and what to do.
func (d *Denied) Error() string { return d.text }

// classify says what an answer without a token means for the next attempt, by its status and its
// OAuth error code ("" for none). A busy or broken server recovers by itself, whatever code it
// sends. So may one that sends a code that no RFC knows.
func classify(status int, code string) agent.Kind {
	if unavailable(status) {
		return agent.Transient
	}
	return oauthErrors[canonical(code)].kind // Transient where it is unknown
}

// canonical is the code by which an RFC knows it.
func canonical(code string) string { return cmp.Or(sameAs[code], code) }

// errorCode is what the member error says. Some issuers have an object there, with the
// code in it, or write it in capitals.
func errorCode(object map[string]any) string {
	inner, _ := object["error"].(map[string]any)
	for _, value := range []any{object["error"], inner["error"], inner["code"], inner["status"], inner["type"]} {
		if text, ok := value.(string); ok {
			return strings.ToLower(strings.TrimSpace(text))
		}
	}
	return ""
}

// codeIn finds the error code of an answer that is not the JSON of RFC 6749: in its
// header (RFC 6750 section 3), or the only one on its page. It is "" where there is none,
// and never one that may be said of something else than the request.
func codeIn(resp *http.Response, body []byte) string {
	if unavailable(resp.StatusCode) {
		return ""
	}
	found := authenticateError.FindStringSubmatch(strings.Join(resp.Header.Values("WWW-Authenticate"), " "))
	if found != nil && oauthErrors[canonical(found[1])].kind == agent.Configuration {
		return found[1]
	}
	on := map[string]bool{}
	for _, word := range codeWord.FindAll(body, -1) {
		on[string(word)] = true
	}
	if len(on) != 1 {
		return ""
	}
	return slices.Collect(maps.Keys(on))[0]
}

var (
	authenticateError = regexp.MustCompile(`\berror="?([a-z_]+)`)
	codeWord          = regexp.MustCompile(`\b(invalid_(grant|token|client|scope|target)|unauthorized_client|unsupported_grant_type|(interaction|login|consent)_required)\b`)
)

// unavailable reports whether the status is about the server, and not about the request (RFC 9110
// section 15, RFC 6585, RFC 8470).
func unavailable(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return true
	}
	return status >= 500
}

// longestRetryAfter is the longest Retry-After that counts.
const longestRetryAfter = 24 * time.Hour

// parseRetryAfter reads a Retry-After in seconds or as a date (RFC 9110 section 10.2.3). now is
// the time by the clock of whoever wrote the date. It is 0 for any other text, and for a time
// that has passed.
func parseRetryAfter(text string, now time.Time) time.Duration {
	text = strings.TrimSpace(text)
	if text == "" {
		return 0
	}
	if !strings.ContainsFunc(text, func(r rune) bool { return r < '0' || r > '9' }) {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil || seconds > int64(longestRetryAfter/time.Second) {
			return longestRetryAfter
		}
		return time.Duration(seconds) * time.Second
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), longestRetryAfter)
}

// A demand is what was asked for. The words about its refusal depend on it.
type demand struct {
	endpoint string
	client   Client
	grant    Grant
	proof    proof
}

// refuses reports whether the answer gives no token. Some servers say so with status
// 200, and others give tokens beside an error that is null or false.
func (r *reply) refuses() bool {
	code := r.object["error"]
	return !r.ok() || code != nil && code != "" && code != false
}

// refusal is the fault of an answer that gives no token.
func (r *reply) refusal(d demand) *agent.Fault {
	said := errorCode(r.object)
	code := canonical(said)
	kind, status := classify(r.status, code), statusText(r.status)
	meaning, known := oauthErrors[code]
	var why error
	switch {
	case known && kind == meaning.kind:
		meaning = d.precise(code, meaning)
		denied := &Denied{Code: code, Said: said, More: d.quote(r.object), Else: d.client.doubt(code)}
		denied.text = fmt.Sprintf("%s: %s%s; %s%s", said, meaning.what, denied.More, meaning.next, denied.Else)
		why = denied
	case known:
		why = &Denied{Code: code, Said: said, text: fmt.Sprintf("%s with the error %s; %s", status, said, nextAfter(r.status))}
	case isCode(code) && !d.holdsSecret(code):
		why = fmt.Errorf("%s with the error %s, which no RFC knows%s; see the issuer's documentation", status, code, d.quote(r.object))
	case r.object["error"] != nil:
		why = fmt.Errorf("%s at %s with an error that no RFC knows%s; see the issuer's documentation", status, d.endpoint, d.quote(r.object))
	default:
		why = fmt.Errorf("%s at %s without an OAuth error; %s%s", status, d.endpoint, nextAfter(r.status), d.relogin(r.status))
	}
	return &agent.Fault{Kind: kind, RetryAfter: r.retryAfter, Err: why}
}

// relogin is what else to do about a status that some issuers have for a refresh token
// that is no longer good.
func (d demand) relogin(status int) string {
	if d.grant.Type == "refresh_token" && (status == http.StatusBadRequest || status == http.StatusUnauthorized || status == http.StatusForbidden) {
		return ", and log in again for a new refresh token if it lasts"
	}
	return ""
}

// precise has the words for the client's way to prove itself, and for the grant.
func (d demand) precise(code string, e oauthError) oauthError {
	switch code {
	case "invalid_client":
		e.what, e.next = d.client.refused()
	case "invalid_grant", "invalid_token":
		switch d.grant.Type {
		case "refresh_token":
			e.what, e.next = "the refresh token has expired, was revoked or used before, or is another client's", "log in again for a new one"
		case GrantTokenExchange:
			e.what, e.next = "the issuer does not accept the subject token", "check that subject_token_file is kept fresh, and is for this issuer"
		case revocation:
			e.what, e.next = "the issuer does not know the refresh token", "see whether it has expired or was revoked before, and is this client's"
		case GrantJWTBearer:
			e.what, e.next = "the issuer does not accept the assertion", "check that it trusts the signer, and that the assertion is for this issuer (its aud)"
		}
	case "invalid_request":
		if d.grant.Type == revocation {
			e.next = "end it at the issuer's own pages"
		}
	case "unauthorized_client", "unsupported_grant_type":
		e.what += " (" + d.grant.Type + ")"
	}
	return e
}

// doubt is what else the code may mean for a client that shows an assertion. For one that
// is not accepted RFC 7521 section 4.2.1 has invalid_client, but Zitadel says invalid_grant.
func (c Client) doubt(code string) string {
	if code != "invalid_grant" || c.Auth != "private_key_jwt" && c.Auth != AuthAsserted {
		return ""
	}
	_, next := c.refused()
	return "; some issuers also say this of a client assertion that they do not accept: " + next
}

// refused says what an issuer did not accept of the client, and what to check.
func (c Client) refused() (what, next string) {
	switch c.Auth {
	case "client_secret_basic", "client_secret_post":
		return "the issuer does not accept the client id or secret", "check client_id and client_secret_file, and whether it wants another client_auth than " + c.Auth
	case "private_key_jwt":
		return "the issuer does not accept the client id or what its key signed", "check client_id, whether the public half of client_key_file is registered for it, and this host's clock"
	case AuthAsserted:
		return "the issuer does not accept the client assertion", "check that the token in client_assertion_file is for this issuer (its aud), that the issuer trusts its signer, and client_id"
	case "tls_client_auth":
		return "the issuer does not accept the client id or certificate", "check client_id, and whether the certificate in client_cert_file is registered for it"
	default:
		return "the issuer does not know the client id, or wants more than that", "check client_id and client_auth"
	}
}

func statusText(status int) string {
	return strings.TrimSpace(fmt.Sprint(status, " ", http.StatusText(status)))
}

// nextAfter is what to do about a status that says all there is.
func nextAfter(status int) string {
	switch {
	case status == http.StatusProxyAuthRequired:
		return "check https_proxy in the agent's environment"
	case unavailable(status):
		return "the issuer or something before it is overloaded or down"
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return "check client_id, client_auth and whether this host may ask there"
	case status == http.StatusNotFound || status == http.StatusMethodNotAllowed || status == http.StatusGone:
		return "check the address"
	default:
		return "see whether the issuer works, and whether the address is right"
	}
}

var codePattern = regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)

// isCode reports whether it looks like an error code, so that it can be shown.
func isCode(code string) bool { return len(code) <= 40 && codePattern.MatchString(code) }

const mostQuoted = 160 // characters

// quote is the error_description of the issuer, to be shown behind our own words; "" when there
// is none. It may repeat anything that was sent, or name a token. So only plain words are
// shown, and words of the request that are not secret.
func (d demand) quote(object map[string]any) string {
	text, _ := object["error_description"].(string)
	words := strings.Fields(text)
	for i, word := range words {
		if !d.harmless(strings.Trim(word, `.,:;!?()[]"'`)) {
			words[i] = "…"
		}
	}
	words = slices.CompactFunc(words, func(a, b string) bool { return a == "…" && b == "…" })
	text = strings.Join(words, " ")
	if runes := []rune(text); len(runes) > mostQuoted {
		text = string(runes[:mostQuoted]) + "…"
	}
	if strings.Trim(text, "… ") == "" {
		return ""
	}
	return fmt.Sprintf(" (it says: %s)", text)
}

// plain words are those that people write: of letters in one case, short numbers,
// and names of parameters.
var plain = regexp.MustCompile(`^(|[A-Z]?[a-z']{1,19}|[A-Z]{1,12}|[a-z]{1,19}([_-][a-z]{1,19}){1,3}|[0-9]{1,3})$`)

// harmless reports whether the word of an answer can be shown.
func (d demand) harmless(word string) bool {
	if d.holdsSecret(word) {
		return false
	}
	return plain.MatchString(word) || slices.Contains(d.shown(), word)
}

// open are the parameters whose words are no secret.
var open = []string{"scope", "audience", "resource", "grant_type", "requested_token_type", "subject_token_type", "actor_token_type", "token_type_hint"}

// shown are the words of what was asked that may be repeated.
func (d demand) shown() []string {
	words := []string{d.client.ID, d.grant.Type}
	for _, name := range open {
		for _, value := range d.grant.Parameters[name] {
			words = append(words, strings.Fields(value)...)
		}
	}
	return words
}

// leastPart is how many characters a word must have for a secret that has it
// within to be its source.
const leastPart = 4

// holdsSecret reports whether the word is a part of a secret that was sent, or
// has one within.
func (d demand) holdsSecret(word string) bool {
	return slices.ContainsFunc(d.secrets(), func(secret string) bool {
		return len(word) >= leastPart && strings.Contains(secret, word) || secret != "" && strings.Contains(word, secret)
	})
}

// secrets are those that were sent: all but the parameters known to be open.
func (d demand) secrets() []string {
	all := d.proof.secrets()
	for name, values := range d.grant.Parameters {
		if !slices.Contains(open, name) {
			all = append(all, values...)
		}
	}
	return all
}
