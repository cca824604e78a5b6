package tokendir

import "slices"

// A Pool is how a server presents itself to a client: what the client chooses its
// token by.
type Pool struct {
	TrustDomain string   `json:"trust_domain,omitempty"`
	Keys        []string `json:"keys,omitempty"` // the names of its signing keys; none where the server did not say
}

// SentTo is the token that a tool or a client sends to the pool; false for none.
// Daemons send the token that they made for themselves before it.
func (r Reading) SentTo(p Pool) (Entry, bool) {
	for _, e := range r.byBytes() {
		if e.Token == nil || e.Verdict != Sent || e.Only != "" {
			continue
		}
		if e.Token.Issuer == p.TrustDomain && (len(p.Keys) == 0 || slices.Contains(p.Keys, e.Token.KeyID)) {
			return *e, true
		}
	}
	return Entry{}, false
}
