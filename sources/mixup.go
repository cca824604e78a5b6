package sources

import (
	"net/url"
	"strings"

	"github.com/tokenagent/tokenagent/sources/issuer"
)

// mixedUp warns of metadata that sends a client of one issuer to another issuer of the
// configuration. That other one would be shown the secrets and refresh tokens of the
// first, or its keys would vouch for the tokens of the first: the mix-up of RFC 9207
// section 1. It is no fault, since some issuers have several names on purpose.
func (q *Inquiry) mixedUp(own string, m issuer.Metadata) (found []Finding) {
	for _, e := range []struct{ name, address string }{
		{"token_endpoint", m.TokenEndpoint}, {"jwks_uri", m.JWKSURI}, {"device_authorization_endpoint", m.DeviceEndpoint},
	} {
		if other := issuerAt(e.address, own, q.Issuers); other != "" {
			found = append(found, warned("mix-up", "the metadata of %s names the %s %s, which lies at another issuer of this configuration, %s; see whether that is meant, for one would learn or vouch for what is the other's",
				own, e.name, shortened(e.address), other))
		}
	}
	return found
}

// issuerAt is the other issuer that the address lies at; "" where it is at own, or at
// none that is known. Of several it is the one with the longest path. One that has no
// path is not told from own on the same host.
func issuerAt(address, own string, known []string) string {
	at, longest := "", lengthWithin(own, address)
	for _, other := range known {
		u, err := url.Parse(other)
		o, errOwn := url.Parse(own)
		if err != nil || errOwn != nil || u.Host == o.Host && strings.Trim(u.Path, "/") == strings.Trim(o.Path, "/") {
			continue
		}
		n := lengthWithin(other, address)
		if u.Host == o.Host && strings.Trim(u.Path, "/") == "" || n <= longest {
			continue
		}
		at, longest = other, n
	}
	return at
}

// lengthWithin is how many characters of the address the issuer is the beginning of;
// 0 where the address does not lie below it.
func lengthWithin(issuer, address string) int {
	base := strings.TrimSuffix(issuer, "/")
	if issuer == "" || !strings.HasPrefix(address+"/", base+"/") {
		return 0
	}
	return len(base)
}
