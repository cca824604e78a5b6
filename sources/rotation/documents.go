package rotation

import (
	"encoding/json"
	"strings"
)

// The files of an issuer, by their path below its URL.
const (
	OpenIDFile = ".well-known/openid-configuration"       // OpenID Connect Discovery 1.0 section 4
	OAuthFile  = ".well-known/oauth-authorization-server" // RFC 8414 section 3
	KeysFile   = "jwks.json"                              // RFC 7517 section 5
)

// Documents are the files that verifiers fetch from an issuer at the URL: two that say
// where the keys are, and the keys themselves, each a public JWK.
//
// The first two are the same. They have what OpenID Connect Discovery 1.0 section 3 and
// RFC 8414 section 2 require. There is nobody to ask for a token, and scitokens-cpp and
// go-oidc do without endpoints; what the standards require all the same lies below URL,
// where nothing answers.
func Documents(url string, algorithms []string, public []json.RawMessage) map[string][]byte {
	if len(public) == 0 { // null is no list
		algorithms, public = []string{}, []json.RawMessage{}
	}
	metadata := encode(map[string]any{
		"issuer":                                url,
		"jwks_uri":                              below(url, KeysFile),
		"authorization_endpoint":                below(url, "authorize"),
		"token_endpoint":                        below(url, "token"),
		"response_types_supported":              []string{"code"},
		"grant_types_supported":                 []string{"client_credentials"},
		"subject_types_supported":               []string{"public"},
		"id_token_signing_alg_values_supported": algorithms,
	})
	return map[string][]byte{
		OpenIDFile: metadata,
		OAuthFile:  metadata,
		KeysFile:   encode(map[string]any{"keys": public}),
	}
}

// below is a URL below another, which may end in a slash.
func below(url, path string) string { return strings.TrimSuffix(url, "/") + "/" + path }

func encode(v any) []byte {
	text, _ := json.MarshalIndent(v, "", "  ") // of strings, and of JSON
	return append(text, '\n')
}
